//! The plain death of a host, and its return.

use crate::scenario::{EVERYWHERE, Failure, Scenario};
use crate::stage::Stage;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "power-off",
    "loses its power: both others say so, the guest starts once, and the host comes back under a new generation",
    play,
)
.in_ci(EVERYWHERE);

pub(super) fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.power_off()?;
    let seen = stage.sees_takeover();
    stage.power_on()?;
    seen?;
    stage.sees_return()
}
