//! The in-flight trap: the victim is cut off until the guest runs elsewhere, and then the cut heals. What its dead guest had
//! in flight must not land over what the new one has written.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "cut-past-verdict",
    "is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands, and the host comes back",
    play,
);

pub(super) fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.cut_storage()?;
    stage.sees_takeover()?;
    // The new guest writes over what the old one had in flight.
    stage.wait_ttl(0.5)?;
    stage.heal()?;
    // Late writes land some seconds after the heal.
    stage.wait_ttl(1.0)?;
    stage.sees_return()
}
