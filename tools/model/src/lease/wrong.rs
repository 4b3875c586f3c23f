//! Which wrong rules the lease model must refute, each with the smallest numbers that are known to show it.

use leasefence_core::planted::Bug;

use super::{Bounds, Leases, in_order};
use crate::scenario::Scenario;

/// Each bug with its scenario.
pub(super) fn rules() -> Vec<(Bug, Scenario<Leases>)> {
    let none = Bounds::default();
    let death = Bounds { deaths: 1, ..none };
    let rejoin = Bounds { rejoins: 1, ..death };
    let stop_and_drops = Bounds { stops: 1, drops: 2, ..rejoin };
    vec![
        at(Bug::NoSecondScan, 3, death),
        at(Bug::WantIsNoConflict, 3, death),
        at(Bug::StartBeforeOwn, 3, Bounds { deaths: 2, ..none }),
        at(Bug::OrphansDroppedAtRejoin, 2, rejoin),
        at(Bug::PredOnOrphan, 2, rejoin),
        at(Bug::ReleaseBeforeStop, 2, Bounds { stops: 1, starts: 1, ..none }),
        at(Bug::LiveUnreadableSkipped, 2, Bounds { damages: 2, starts: 1, ..none }),
        at(Bug::GoneUnreadableSkipped, 2, Bounds { damages: 2, crashes: 1, stops: 1, ..death }),
        at(Bug::FailedStartStopped, 2, Bounds { failed_starts: 1, ..death }),
        at(Bug::OneCopyOfPage, 2, Bounds { damages: 1, ..death }),
        at(Bug::NoTombstone, 3, Bounds { stops: 1, ..rejoin }),
        at(Bug::NoSecondLookAtTop, 3, stop_and_drops),
        at(Bug::TermNotAboveDeadWants, 3, Bounds { deaths: 2, rejoins: 1, stops: 1, ..none }),
        at(Bug::OwnRolledBack, 2, Bounds { failures: 1, drops: 1, ..rejoin }),
        between(Bug::StoppedInOnePass, stop_and_drops),
        between(Bug::DropIgnoresWants, stop_and_drops),
        at(Bug::RewriteWhileUnknown, 2, Bounds { failures: 1, damages: 1, ..rejoin }),
    ]
}

fn at(bug: Bug, hosts: u16, bounds: Bounds) -> (Bug, Scenario<Leases>) {
    (bug, in_order(bug.word(), hosts, bounds))
}

/// Three hosts, and the first owner between the two others: a read of the page passes the one before it and the other after.
fn between(bug: Bug, bounds: Bounds) -> (Bug, Scenario<Leases>) {
    let (bug, mut scenario) = at(bug, 3, bounds);
    scenario.model.owner = 1;
    (bug, scenario)
}
