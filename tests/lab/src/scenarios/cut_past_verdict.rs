//! The in-flight trap: the victim is cut off until the guest runs elsewhere, and then the cut heals. What its dead guest had
//! in flight must not land over what the new one has written.

use crate::lab::Directions;
use crate::machine::Network;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::switch::Effect;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "cut-past-verdict",
    "is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands, and the host comes back",
    play,
);

pub(super) fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
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
    stage.heal()?;
    // Late writes land some seconds after the heal.
    stage.wait_ttl(1.0)?;
    stage.sees_return()
}
