//! A host that cannot show itself fenced resets itself. Its fencer is left without its hands for the storage: on iSCSI its guest
//! waits for its disk and cannot be killed, on NFS what that had in flight is not shown quiet.

use crate::cluster::WATCHDOG;
use crate::resets::By;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;

/// Of the fencer's unit, until the next boot.
const DROP_IN: &str = "/run/systemd/system/leasefence-fencer.service.d";
/// How the unit starts it.
const FENCER: &str = "/usr/sbin/leasefence-fencer --allow-initial-pid-namespace --allow-reset";

pub(super) const SYSRQ: Scenario = Scenario::new(
    "reset-sysrq",
    "has no watchdog and fence.reset on, and is cut off with a guest that its fencer cannot end: it resets itself in time, the guest starts once elsewhere, and it comes back",
    |stage| {
        without_quiescence(stage)?;
        stage.uses_reset(("none", "none"), true)?;
        play(stage, By::Kernel)
    },
);

/// As in a container. Its record does not say that it resets itself, and its watchdog does.
pub(super) const DISABLED: Scenario = Scenario::new(
    "reset-sysrq-disabled",
    "has fence.reset on and nothing to reset itself with, and is cut off with a guest that its fencer cannot end: its watchdog resets it in time, the guest starts once elsewhere, and it comes back",
    |stage| {
        stage.on_victim("mount --bind /dev/null /proc/sysrq-trigger")?;
        without_quiescence(stage)?;
        stage.uses_reset(WATCHDOG, false)?;
        play(stage, By::Watchdog)
    },
);

/// From its next start on: while the host is in maintenance. A busy emulated machine may take longer to start it than its watchdog waits.
fn without_quiescence(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.on_victim(&format!(
        "mkdir -p {DROP_IN} && \
         printf '[Service]\\nExecStart=\\nExecStart={FENCER} --no-quiesce\\n' >{DROP_IN}/lab.conf && \
         systemctl daemon-reload"
    ))?;
    Ok(())
}

/// The reset takes the guest and what it had in flight with it, so the path may heal at once.
fn play(stage: &mut Stage<'_>, by: By) -> Result<(), Failure> {
    stage.cut_storage()?;
    stage.sees_reset(by)?;
    stage.heal()?;
    stage.sees_takeover()?;
    stage.sees_return()?;
    stage.sees_guest_on_one_host()
}
