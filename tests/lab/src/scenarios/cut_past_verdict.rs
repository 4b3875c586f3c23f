//! The in-flight trap: the victim is cut off until the guest runs elsewhere, and then the cut heals. What its dead guest had
//! in flight must not land over what the new one has written.

use crate::lab::Directions;
use crate::machine::Network;
use crate::resets::By;
use crate::scenario::{Failure, KnownRed, Red, Scenario};
use crate::stage::Stage;
use crate::storage::{Storage, target};
use crate::switch::Effect;
use leasefence_demo::story::Kind;

/// Of the fencer's unit, until the next boot.
const DROP_IN: &str = "/run/systemd/system/leasefence-fencer.service.d";
/// How the unit starts it.
const FENCER: &str = "/usr/sbin/leasefence-fencer --allow-initial-pid-namespace";

pub(super) const SCENARIO: Scenario = Scenario::new(
    "cut-past-verdict",
    "is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands, and the host comes back",
    play,
);

/// What quiescence is for. On NFS 4.2 the server keeps a dead client's writes out as well, and nothing would be seen: there it is
/// shown on NFS 3 (`image_locks`). Nothing is taken back: such a host has no proof, and is rebooted.
pub(super) const NOT_QUIESCED: Scenario = Scenario::new(
    "trap-not-quiesced",
    "has no watchdog and a fencer with --no-quiesce, and is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands",
    |stage| {
        quiesces_nothing(stage)?;
        cut_until_taken_over(stage)?;
        // A busy machine may take longer to log in again than its status takes to ask for the reboot, which takes all away.
        let session = target("disks");
        stage.on_victim(&format!(
            "for second in $(seq 120); do for session in /sys/class/iscsi_session/*; do \
             test $(cat $session/targetname) = {session} && test $(cat $session/state) = LOGGED_IN && exit 0; \
             done; sleep 1; done; exit 1"
        ))?;
        stage.note(Kind::Mended, "its session with its disk's target works again");
        comes_back(stage)
    },
)
.only_on(&[Storage::Iscsi])
.known_red(&[KnownRed { on: Storage::Iscsi, red: Red::LateWrite, why: TRAP_WORKS }]);

pub(super) const TRAP_WORKS: &str = "what is not quiesced lands: the trap works";

/// The trap with nothing between it and the disk, on a storage that takes its sessions up again by itself.
pub(super) fn play_not_quiesced(stage: &mut Stage<'_>) -> Result<(), Failure> {
    quiesces_nothing(stage)?;
    cut_until_taken_over(stage)?;
    comes_back(stage)
}

fn quiesces_nothing(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.uses_watchdog("none", "none")?;
    stage.on_victim(&format!(
        "mkdir -p {DROP_IN} && \
         printf '[Service]\\nExecStart=\\nExecStart={FENCER} --no-quiesce\\n' >{DROP_IN}/lab.conf && \
         systemctl daemon-reload && systemctl restart leasefence-fencer"
    ))?;
    Ok(())
}

/// The storage of each host that plays this has its proof, in time for its watchdog.
pub(super) fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    cut_until_taken_over(stage)?;
    comes_back(stage)?;
    stage.sees_no_reset()
}

/// The storage has no proof, and the host its watchdog.
pub(super) fn play_unproven(stage: &mut Stage<'_>) -> Result<(), Failure> {
    cut_until_taken_over(stage)?;
    stage.sees_reset(By::Watchdog)?;
    comes_back(stage)
}

fn cut_until_taken_over(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let victim = stage.victim();
    // First one way: what is in flight now was written before, and its replies make room for writes that nobody has seen.
    stage.impair(
        victim,
        Network::Storage,
        Directions::Out,
        Effect::Drop,
        "nothing that it sends to its storage arrives",
    )?;
    stage.wait_ttl(0.1)?;
    stage.cut_storage()?;
    stage.sees_takeover()?;
    // The new guest writes over what the old one had in flight.
    stage.wait_ttl(0.5)?;
    stage.heal()
}

/// Late writes land some seconds after the heal.
fn comes_back(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.wait_ttl(1.0)?;
    stage.sees_return()
}
