//! The network between the hosts fails. Leasefence does not use it.

use crate::lab::Directions;
use crate::machine::Network;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::switch::Effect;

pub(super) const SCENARIO: Scenario =
    Scenario::new("cluster-cut", "is cut off from the network between the hosts: nobody is fenced", play);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let victim = stage.victim();
    let text = "the network between the hosts falls silent";
    stage.impair(victim, Network::Cluster, Directions::Both, Effect::Drop, text)?;
    let seen = stage.wait_ttl(1.5).and_then(|()| stage.sees_nobody_fenced());
    stage.heal()?;
    seen
}
