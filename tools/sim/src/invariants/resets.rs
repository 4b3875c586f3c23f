//! A host whose record says that it resets itself is clean or off by its lease's end + budget.

use leasefence_core::time::HolderDeadline;

use super::{Happened, Judge};
use crate::plan::Reset;
use crate::time::MS;
use crate::world::World;

/// Looks at each half that a fencer publishes. One that is off publishes none.
#[derive(Debug)]
pub(super) struct Resets;

impl Judge for Resets {
    fn sentence(&self) -> &'static str {
        "A host that resets itself is clean or off by its lease's end + budget."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Published { host } = *happened else { return None };
        let this = &world.hosts[host];
        let half = &this.fencer.half;
        let promised = half.latched.map(|end| HolderDeadline(end.0.plus(half.terms.fence_budget)))?;
        let over = promised.reached(this.clock.now(world.at.saturating_sub(MS)).instant);
        (world.plan.hosts[host].reset == Reset::On && half.clean.is_none() && over)
            .then(|| format!("host-{host} has no proof, and lives on after its lease's end + budget"))
    }
}
