//! A domain lease has one owner: a start is permitted to one incarnation alone, and a term belongs to one.

use std::collections::BTreeMap;

use leasefence_core::ids::{DomainId, Incarnation, Term};

use super::{Happened, Judge};
use crate::world::World;

/// Remembers who was permitted to start a domain under which term, until no entry of it is left: terms begin anew then.
#[derive(Debug, Default)]
pub(super) struct OneOwner {
    owners: BTreeMap<(DomainId, Term), Incarnation>,
}

impl Judge for OneOwner {
    fn sentence(&self) -> &'static str {
        "A domain lease has one owner."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        if let Happened::Forgotten { domain } = *happened {
            let id = world.domains[domain].id;
            self.owners.retain(|(domain, _), _| *domain != id);
        }
        let Happened::Permitted { host, domain, term } = *happened else { return None };
        let me = world.hosts[host].life()?;
        let owner = *self.owners.entry((domain, term)).or_insert(me);
        if owner != me {
            return Some(format!("{owner} and {me} both own {domain} under term {term}"));
        }
        if world.shows_less_than_own(host, domain, term) {
            return Some(format!(
                "host-{host} is permitted to start {domain}, and a copy of its page says less"
            ));
        }
        if let Some(slot) = world.damaged_beside(domain) {
            return Some(format!(
                "host-{host} is permitted to start {domain}, and slot {slot} could not be read"
            ));
        }
        let owns = |other: &usize| {
            let alive = world.holds(*other) && !world.end_has_passed(*other);
            *other != host && alive && world.owns_by_both_copies(*other, domain)
        };
        let other = (0..world.hosts.len()).find(owns)?;
        Some(format!(
            "host-{host} ({me}) is permitted to start {domain}, and host-{other} owns it and holds its lease"
        ))
    }
}
