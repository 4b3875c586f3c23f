//! All hosts lose the storage at once. Nobody can take over, all fence, and all come back.

use crate::lab::Directions;
use crate::machine::{Network, STORAGE};
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::switch::Effect;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "all-cut",
    "and all others lose their storage for two ttls: all come back when it does, and the guest runs once",
    play,
);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.impair(
        STORAGE,
        Network::Storage,
        Directions::Both,
        Effect::Drop,
        "the storage falls silent for all",
    )?;
    stage.wait_ttl(2.0)?;
    stage.heal()?;
    stage.sees_all_return()
}
