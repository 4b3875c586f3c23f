//! What an operator does: a planned fence, and maintenance.

use crate::cluster::WATCHDOG;
use crate::scenario::{EVERYWHERE, Scenario};
use leasefence_demo::story::Kind;

/// With a receipt the peers need not wait for the ttl.
pub(super) const PLANNED_FENCE: Scenario = Scenario::new(
    "planned-fence",
    "is fenced by an operator on another host: it proves it by a receipt, and the guest runs elsewhere",
    |stage| {
        stage.asks_fence("--wait --timeout 50s")?;
        stage.sees_takeover()?;
        stage.sees_evidence("fenced")?;
        stage.sees_return()
    },
)
.in_ci(EVERYWHERE);

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
