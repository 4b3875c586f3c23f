//! libvirtd hangs. Neither renewal nor fence needs it.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario =
    Scenario::new("libvirtd-hung", "has its libvirtd stopped for two ttls: nobody is fenced", play);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.note(Kind::Fault, "SIGSTOP to libvirtd");
    stage.on_victim("systemctl kill --kill-whom=main --signal=STOP libvirtd")?;
    let seen = stage.wait_ttl(1.5).and_then(|()| stage.sees_nobody_fenced());
    stage.note(Kind::Mended, "SIGCONT to libvirtd");
    stage.on_victim("systemctl kill --kill-whom=main --signal=CONT libvirtd")?;
    seen
}
