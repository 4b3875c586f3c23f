//! The package is upgraded under a running guest. Both processes are new afterwards; the incarnation is the old one.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "upgrade",
    "gets its package upgraded under the running guest: both processes are new, and nobody is fenced",
    play,
)
.in_ci(&[Storage::Nfs]);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let before = pids(stage)?;
    stage.note(Kind::Fault, "dpkg -i leasefence.deb");
    stage.on_victim("dpkg -i /lab/leasefence.deb")?;
    stage.note(Kind::Mended, "dpkg is done");
    stage.sees_nobody_fenced()?;
    let after = pids(stage)?;
    let new = before.lines().zip(after.lines()).all(|(before, after)| before != after);
    if new { Ok(()) } else { Err(Failure::Unmet("the upgrade left an old process running".into())) }
}

fn pids(stage: &Stage<'_>) -> Result<String, Failure> {
    stage.on_victim("systemctl show --value -p MainPID leasefence-fencer leasefence-agent | grep .")
}
