//! The last resort: a host on which neither fencer nor agent runs any more is reset by its watchdog, which nobody pets. Its guest
//! and what that had in flight go with it, so the path may heal at once. It comes some 15 s before the verdict: a host that boots
//! faster than that holds a lease again first, and starts its guest itself.

use crate::cluster::WATCHDOG;
use crate::resets::By;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const FENCER: Scenario = Scenario::new(
    "watchdog-fencer",
    "is cut off from its storage with its fencer and agent stopped: its watchdog resets it in time, its guest starts once, and it comes back",
    |stage| play(stage, By::Watchdog),
);

/// Its kernel is well, so that a software watchdog does as much.
pub(super) const SOFTDOG: Scenario = Scenario::new(
    "watchdog-softdog",
    "has a softdog, and is cut off from its storage with its fencer and agent stopped: that resets it in time, its guest starts once, and it comes back",
    |stage| {
        let found = "grep -lx 'Software Watchdog' /sys/class/watchdog/watchdog*/identity";
        let path = stage.on_victim(found)?;
        let name =
            path.lines().next().and_then(|line| line.rsplit('/').nth(1)).unwrap_or_default().to_owned();
        stage.uses_watchdog(&format!("/dev/{name}"), "soft")?;
        let before = times_said(stage);
        play(stage, By::Kernel)?;
        stage.sees_watched(WATCHDOG.1)?;
        match times_said(stage) - before {
            1 => Ok(()),
            times => Err(Failure::Unmet(format!("its console names softdog for {times} resets"))),
        }
    },
);

/// How often softdog has said on the console that it resets the host.
fn times_said(stage: &Stage<'_>) -> usize {
    stage.lab().run_dir().console(stage.victim()).matches("softdog: Initiating system reboot").count()
}

fn play(stage: &mut Stage<'_>, by: By) -> Result<(), Failure> {
    stage.cut_storage()?;
    stage.note(Kind::Fault, "SIGSTOP to fencer and agent");
    stage.on_victim("systemctl kill --kill-whom=main --signal=STOP leasefence-agent leasefence-fencer")?;
    stage.sees_reset(by)?;
    stage.heal()?;
    stage.sees_verdicts()?;
    stage.sees_return()?;
    stage.sees_guest_on_one_host()
}
