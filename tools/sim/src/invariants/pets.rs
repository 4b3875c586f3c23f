//! Each pet keeps the promise: were it the last, the host would be reset by the lease's end + budget; or the host is clean.

use leasefence_core::terms::RESET_LATENCY;

use super::{Happened, Judge};
use crate::world::World;

/// Looks at each pet.
#[derive(Debug)]
pub(super) struct Pets;

impl Judge for Pets {
    fn sentence(&self) -> &'static str {
        "Each pet keeps the promise."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Petted { host } = *happened else { return None };
        let this = &world.hosts[host];
        let half = &this.fencer.half;
        let free = !half.armed_since_boot || (!half.armed && half.latched.is_none());
        let clean = half.clean.is_some() && this.guests.iter().all(|run| world.runs[*run].killed.is_some());
        if free || clean {
            return None;
        }
        let end = half.latched.unwrap_or(half.lease_end);
        let now = this.clock.now(world.at).instant;
        let reset = now.plus(half.terms.watchdog_actual + RESET_LATENCY);
        let by = end.0.plus(half.terms.fence_budget);
        let late = reset.boot_ns > by.boot_ns || reset.raw_ns > by.raw_ns;
        late.then(|| {
            format!("host-{host} pets its watchdog, which would bite after the lease's end + budget")
        })
    }
}
