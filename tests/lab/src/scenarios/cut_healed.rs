//! A cut of the storage network that heals within the ttl: the promise is that the host survives it. What makes it hard is not
//! the cut but what follows: TCP doubles its pauses, so a connection may stay silent for as long again after the heal.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;

pub(super) const AFTER_0_3: Scenario =
    Scenario::new("cut-0.3", "is cut off from its storage for 0.3 of the ttl: nobody is fenced", |stage| {
        play(stage, 0.3)
    })
    .in_ci(&[Storage::Iscsi]);

pub(super) const AFTER_0_6: Scenario =
    Scenario::new("cut-0.6", "is cut off from its storage for 0.6 of the ttl: nobody is fenced", |stage| {
        play(stage, 0.6)
    });

pub(super) const AFTER_0_9: Scenario =
    Scenario::new("cut-0.9", "is cut off from its storage for 0.9 of the ttl: nobody is fenced", |stage| {
        play(stage, 0.9)
    })
    .alone();

fn play(stage: &mut Stage<'_>, share: f64) -> Result<(), Failure> {
    stage.cut_storage()?;
    stage.wait_ttl(share)?;
    stage.heal()?;
    stage.sees_nobody_fenced()
}
