//! The kernel of the host panics: nothing of it runs any more, and it boots again by itself.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "panic",
    "has a kernel panic and boots again: the guest starts once elsewhere or is recovered, and the host comes back",
    play,
);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let victim = stage.victim();
    let boots = stage.lab().boots(victim);
    stage.note(Kind::Fault, "kernel panic");
    // The answer never comes.
    stage.on_victim("echo 1 >/proc/sys/kernel/sysrq; (sleep 0.5; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")?;
    stage.lab().wait_for_boot(victim, boots + 1)?;
    stage.note(Kind::Mended, "it has booted");
    stage.sees_return()?;
    stage.sees_guest_on_one_host()
}
