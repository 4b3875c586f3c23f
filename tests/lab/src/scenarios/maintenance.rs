//! What an operator does: a planned fence, and maintenance.

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
        stage.sees_guest_unharmed()
    },
);
