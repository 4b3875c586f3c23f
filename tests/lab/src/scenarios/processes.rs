//! Our own processes die or stop.

use crate::cluster::WATCHDOG;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const AGENT_KILLED: Scenario = Scenario::new(
    "agent-killed",
    "loses its agent by SIGKILL: systemd starts it again, and nobody is fenced",
    |stage| killed(stage, "agent"),
);

pub(super) const FENCER_KILLED: Scenario = Scenario::new(
    "fencer-killed",
    "loses its fencer by SIGKILL: systemd starts it again with its page, and nobody is fenced",
    |stage| killed(stage, "fencer"),
);

/// Then systemd sets the fencer up again while the storage is dead, and its page says when the lease ends.
pub(super) const FENCER_KILLED_CUT: Scenario = Scenario::new(
    "fencer-killed-cut",
    "is cut off from its storage, and then loses its fencer by SIGKILL: its guest ends in time all the same, and it comes back",
    |stage| {
        stage.cut_storage()?;
        stage.wait_ttl(0.3)?;
        signal(stage, "fencer", "KILL")?;
        stage.sees_takeover()?;
        stage.sees_guest_ended()?;
        stage.heal()?;
        stage.sees_return()
    },
);

pub(super) const AGENT_STOPPED: Scenario = Scenario::new(
    "agent-stopped",
    "has its agent stopped until its guest runs elsewhere, and then let on: it comes back",
    |stage| stopped(stage, "agent"),
);

/// The second line of a host that nothing would reset. With a watchdog see `watchdog-fencer`.
pub(super) const FENCER_STOPPED: Scenario = Scenario::new(
    "fencer-stopped",
    "has no watchdog, and its fencer stopped: its agent renews no more and ends the guest itself, which runs elsewhere; it comes back",
    |stage| {
        stage.uses_watchdog("none", "none")?;
        stopped(stage, "fencer")?;
        let (device, class) = WATCHDOG;
        stage.uses_watchdog(device, class)
    },
);

fn killed(stage: &mut Stage<'_>, which: &str) -> Result<(), Failure> {
    signal(stage, which, "KILL")?;
    stage.wait_ttl(1.0)?;
    stage.sees_nobody_fenced()
}

fn stopped(stage: &mut Stage<'_>, which: &str) -> Result<(), Failure> {
    signal(stage, which, "STOP")?;
    stage.sees_takeover()?;
    stage.note(Kind::Mended, format!("SIGCONT to the {which}"));
    stage.undo_on_victim(&sends(which, "CONT"))?;
    stage.sees_return()
}

fn signal(stage: &mut Stage<'_>, which: &str, signal: &str) -> Result<(), Failure> {
    stage.note(Kind::Fault, format!("SIG{signal} to the {which}"));
    stage.on_victim(&sends(which, signal))?;
    Ok(())
}

fn sends(which: &str, signal: &str) -> String {
    format!("systemctl kill --kill-whom=main --signal={signal} leasefence-{which}")
}
