//! A storage network that comes and goes, never away for long.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "flapping",
    "loses its storage for two seconds out of four, eight times: nobody is fenced",
    play,
);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    for _ in 0..8 {
        stage.cut_storage()?;
        stage.wait_ttl(0.1)?;
        stage.heal()?;
        stage.wait_ttl(0.1)?;
    }
    stage.sees_nobody_fenced()
}
