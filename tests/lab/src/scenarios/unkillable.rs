//! A guest that cannot die: its disk is cut off, and a QEMU waits for its writes before it ends. The lease is well, on a session
//! of its own, so that nothing but an operator's fence ends it. What the old one has in
//! flight must not land once the peers have started it. What cannot be cut off is reset.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::{DISKS_PORTAL, Storage};
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "unkillable",
    "is fenced by an operator while its guest's disk is cut off, then the cut heals: nothing of the old guest lands",
    play,
)
.only_on(&[Storage::Iscsi]);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.note(Kind::Fault, "its guest's disk falls silent");
    // What it sends there goes to a card that nobody has.
    stage.on_victim(&format!(
        "ip neigh replace {DISKS_PORTAL} lladdr 52:54:00:ff:ff:ff dev storage nud permanent"
    ))?;
    stage.wait_ttl(0.3)?;
    let seen = stage.asks_fence("").and_then(|()| stage.sees_takeover());
    // The new guest writes over what the old one had in flight.
    stage.wait_ttl(0.5)?;
    stage.note(Kind::Mended, "the disk's path is whole again");
    stage.undo_on_victim(&format!("ip neigh del {DISKS_PORTAL} dev storage"))?;
    stage.wait_ttl(1.0)?;
    seen?;
    stage.sees_return()
}
