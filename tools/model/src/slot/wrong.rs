//! Which wrong rules the slot model must refute, each with the smallest numbers that are known to show it.

use leasefence_core::planted::Bug;

use super::{Bounds, Slots, scenario};
use crate::scenario::Scenario;

/// Each bug with its scenario.
pub(super) fn rules() -> Vec<(Bug, Scenario<Slots>)> {
    let once = Bounds { starts: 1, ..Bounds::default() };
    let freed = Bounds { starts: 1, power_offs: 1, frees: 1, ..Bounds::default() };
    vec![
        at(Bug::ClaimWithoutWait, 2, once),
        at(Bug::ClaimWaitTooShort, 2, once),
        at(Bug::ClaimNeverAbandoned, 2, once),
        at(Bug::ClaimInRecord, 2, once),
        at(Bug::ForeignClaimSuperseded, 2, once),
        at(Bug::OwnClaimFree, 2, Bounds { starts: 2, crashes: 1, ..Bounds::default() }),
        at(Bug::FreeResetsGeneration, 2, freed),
        at(Bug::FreedTwice, 3, Bounds { freed_before: true, ..freed }),
    ]
}

fn at(bug: Bug, machines: u16, bounds: Bounds) -> (Bug, Scenario<Slots>) {
    (bug, scenario(bug.word(), machines, 1, bounds))
}
