//! A domain lease has one owner: a start is permitted to one incarnation alone, and a term belongs to one.

use std::collections::BTreeMap;

use leasefence_core::ids::{DomainId, Incarnation, Term};

use super::{Happened, Judge};
use crate::world::World;

/// Remembers who was permitted to start a domain under which term.
#[derive(Debug, Default)]
pub(super) struct OneOwner {
    owners: BTreeMap<(DomainId, Term), Incarnation>,
}

impl Judge for OneOwner {
    fn sentence(&self) -> &'static str {
        "A domain lease has one owner."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Permitted { host, domain, term } = *happened else { return None };
        let me = world.hosts[host].life()?;
        let owner = *self.owners.entry((domain, term)).or_insert(me);
        if owner != me {
            return Some(format!("{owner} and {me} both own {domain} under term {term}"));
        }
        let owns = |other: &usize| {
            let page = world.hosts[*other].page.as_ref();
            let owns = page.is_some_and(|page| page.own.iter().any(|own| own.domain == domain));
            *other != host && owns && world.holds(*other) && !world.end_has_passed(*other)
        };
        let other = (0..world.hosts.len()).find(owns)?;
        Some(format!(
            "host-{host} ({me}) is permitted to start {domain}, and host-{other} owns it and holds its lease"
        ))
    }
}
