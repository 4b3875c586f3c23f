//! What an operator does: a planned fence, and maintenance.

use crate::cluster::WATCHDOG;
use crate::guest;
use crate::resets::By;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;
use leasefence_demo::story::Kind;

/// With a receipt the peers need not wait for the ttl. On NFS 4 there is one only where the server answers in time, which a busy machine
/// cannot promise: CI plays it on iSCSI.
pub(super) const PLANNED_FENCE: Scenario = Scenario::new(
    "planned-fence",
    "is fenced by an operator on another host: it proves it by a receipt, and the guest runs elsewhere",
    play_planned_fence,
)
.in_ci(&[Storage::Iscsi]);

pub(super) fn play_planned_fence(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.asks_fence("--wait --timeout 50s")?;
    stage.sees_takeover()?;
    stage.sees_evidence("fenced")?;
    stage.sees_return()
}

pub(super) const DISARMED: Scenario = Scenario::new(
    "disarmed",
    "is in maintenance while its storage is away for two ttls: its guest lives on, and nobody starts it elsewhere",
    |stage| {
        stage.note(Kind::Fault, "leasefence disarm");
        stage.on_victim("leasefence disarm")?;
        stage.cut_storage()?;
        stage.wait_ttl(2.0)?;
        stage.heal()?;
        stage.wait_ttl(1.0)?;
        stage.on_victim("leasefence arm")?;
        stage.note(Kind::Mended, "leasefence arm");
        stage.sees_all_held()?;
        stage.sees_no_reset()?;
        stage.sees_guest_unharmed()
    },
);

/// The device is closed by the magic letter. It is opened again by the fencer that comes.
pub(super) const UNWATCHED: Scenario = Scenario::new(
    "disarmed-stopped",
    "is in maintenance and has its fencer stopped by systemctl for a ttl: its watchdog is let go and does not bite, its guest lives on",
    |stage| {
        stage.note(Kind::Fault, "leasefence disarm; systemctl stop leasefence-fencer");
        stage.on_victim("leasefence disarm && systemctl stop leasefence-fencer")?;
        stage.wait_ttl(1.0)?;
        stage.sees_no_reset()?;
        stage.note(Kind::Mended, "systemctl start leasefence-fencer; leasefence arm");
        stage.on_victim("systemctl start leasefence-fencer")?;
        stage.sees_watched(WATCHDOG.1)?;
        stage.on_victim("leasefence arm")?;
        stage.sees_all_held()?;
        stage.wait_ttl(1.0)?;
        stage.sees_no_reset()?;
        stage.sees_guest_unharmed()
    },
);

/// Libvirt-guests would shut the guest down, which this one does not hear.
pub(super) const REBOOTED: Scenario = Scenario::new(
    "reboot",
    "has its guest stopped by a user, and is rebooted in order: it releases its lease, its watchdog does not bite, and it comes back",
    |stage| {
        let guest = guest::NAME;
        stage.note(Kind::Fault, "virsh destroy; systemctl reboot");
        stage.on_victim(&format!("leasefence ha disable {guest} && virsh --quiet destroy {guest}"))?;
        reboots(stage)?;
        stage.cluster().start_guest(stage.victim())?;
        stage.sees_guest_on_one_host()
    },
);

/// What it shut down it would be restarted elsewhere; what it saves stays here, with its image.
pub(super) const SAVED: Scenario = Scenario::new(
    "reboot-saved",
    "has libvirt-guests save its guest as it is rebooted in order: it releases its lease, nobody starts the guest elsewhere, and the guest goes on where it was",
    |stage| {
        stage.note(Kind::Fault, "systemctl reboot, with ON_SHUTDOWN=suspend");
        // Once: it is not enabled, and so stopped after the reboot.
        stage.on_victim(&format!(
            "cp {GUESTS} {GUESTS}.lab && printf 'ON_BOOT=ignore\\nON_SHUTDOWN=suspend\\n' >>{GUESTS} && \
             systemctl start libvirt-guests"
        ))?;
        reboots(stage)?;
        stage.on_victim(&format!("mv {GUESTS}.lab {GUESTS}"))?;
        stage.cluster().start_guest(stage.victim())?;
        stage.note(Kind::Mended, "virsh start");
        stage.wait_ttl(0.5)?;
        stage.sees_guest_on_one_host()?;
        stage.sees_guest_unharmed()
    },
);

/// What libvirt-guests goes by.
const GUESTS: &str = "/etc/default/libvirt-guests";

/// The victim is rebooted in order, and holds a lease again.
fn reboots(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let victim = stage.victim();
    let boots = stage.lab().boots(victim);
    // The answer never comes.
    stage.on_victim("(sleep 1; systemctl reboot) >/dev/null 2>&1 </dev/null &")?;
    stage.sees_verdicts()?;
    stage.sees_evidence("released")?;
    stage.sees_reset(By::Kernel)?;
    stage.lab().wait_for_boot(victim, boots + 1)?;
    stage.note(Kind::Mended, "it has booted");
    stage.sees_return()
}
