//! Half a cut: the storage hears the host, or the host hears the storage, not both.

use crate::lab::Directions;
use crate::machine::Network;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::switch::Effect;

pub(super) const DEAF: Scenario = Scenario::new(
    "deaf",
    "hears nothing from its storage, which hears it: it is taken over once, and comes back",
    |stage| play(stage, Directions::In),
);

pub(super) const MUTE: Scenario = Scenario::new(
    "mute",
    "hears its storage, which does not hear it: it is taken over once, and comes back",
    |stage| play(stage, Directions::Out),
);

fn play(stage: &mut Stage<'_>, directions: Directions) -> Result<(), Failure> {
    let victim = stage.victim();
    stage.impair(
        victim,
        Network::Storage,
        directions,
        Effect::Drop,
        "half of its storage network falls silent",
    )?;
    stage.sees_takeover()?;
    stage.wait_ttl(0.5)?;
    stage.heal()?;
    stage.wait_ttl(1.0)?;
    stage.sees_return()
}
