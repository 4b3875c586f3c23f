//! The kernel of the host panics: nothing of it runs any more. It boots again by itself, or stays where it is until its watchdog
//! resets it.

use crate::resets::By;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "panic",
    "has a kernel panic and boots again: the guest starts once elsewhere or is recovered, and the host comes back",
    |stage| play(stage, 1, By::Kernel),
);

pub(super) const HANGS: Scenario = Scenario::new(
    "watchdog-panic",
    "has a kernel panic and hangs in it: its watchdog resets it in time, the guest starts once elsewhere or is recovered, and the host comes back",
    |stage| play(stage, 0, By::Watchdog),
);

/// After so many seconds its kernel reboots; after none, never.
fn play(stage: &mut Stage<'_>, seconds: u32, by: By) -> Result<(), Failure> {
    let victim = stage.victim();
    let boots = stage.lab().boots(victim);
    stage.note(Kind::Fault, format!("kernel panic with kernel.panic={seconds}"));
    stage.on_victim(&format!("echo {seconds} >/proc/sys/kernel/panic; echo 1 >/proc/sys/kernel/sysrq"))?;
    // The answer never comes.
    stage.on_victim("(sleep 0.5; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")?;
    stage.sees_reset(by)?;
    stage.lab().wait_for_boot(victim, boots + 1)?;
    stage.note(Kind::Mended, "it has booted");
    stage.sees_return()?;
    stage.sees_guest_on_one_host()
}
