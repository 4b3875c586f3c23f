//! A lease is never revived: what a fencer has latched stays latched, and an end that has passed is not moved.

use std::collections::BTreeMap;
use std::time::Duration;

use leasefence_core::ids::Incarnation;
use leasefence_core::time::HolderDeadline;

use super::{Happened, Judge};
use crate::world::World;

/// Remembers what each fencer of a boot has said. One that has lost its page has lost its memory: it waits a pet interval
/// for the agent's copy before it takes the lease for ended.
#[derive(Debug, Default)]
pub(super) struct NeverRevived {
    ended: BTreeMap<(usize, u32, u32), Vec<Incarnation>>,
    ends: BTreeMap<(usize, u32, u32, Incarnation), HolderDeadline>,
}

impl Judge for NeverRevived {
    fn sentence(&self) -> &'static str {
        "A lease is never revived."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        if let Happened::Revived { host } = *happened {
            return Some(format!("the agent of host-{host} moved the end in its page after it had passed"));
        }
        let Happened::Published { host } = *happened else { return None };
        let this = &world.hosts[host];
        let half = &this.fencer.half;
        if half.incarnation.generation.0 == 0 {
            return None;
        }
        let ended = self.ended.entry((host, this.boot, this.fencer.pages_lost)).or_default();
        if half.latched.is_some() {
            if !ended.contains(&half.incarnation) {
                ended.push(half.incarnation);
            }
            return None;
        }
        if !half.armed {
            // Disarmed: it may be armed again.
            self.ends.remove(&(host, this.boot, this.fencer.pages_lost, half.incarnation));
            return None;
        }
        if ended.contains(&half.incarnation) {
            return Some(format!(
                "host-{host} is armed for {} again, after its end was latched",
                half.incarnation
            ));
        }
        let now = this.clock.now(world.at).instant;
        if let Some(page) = &this.page {
            let ttl = half.terms.lease_ttl.max(page.terms.lease_ttl);
            if !half.lease_end.reached(now) && half.lease_end.left(now) > ttl + Duration::from_millis(1) {
                return Some(format!("host-{host} guards an end that lies beyond its ttl"));
            }
        }
        let before =
            self.ends.insert((host, this.boot, this.fencer.pages_lost, half.incarnation), half.lease_end)?;
        let moved = half.lease_end != before;
        (moved && before.reached(now) && !half.lease_end.reached(now)).then(|| {
            format!("host-{host} took a new end for {} after the old one had passed", half.incarnation)
        })
    }
}
