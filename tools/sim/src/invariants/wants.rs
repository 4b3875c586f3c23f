//! A lease is wanted under a term above all that its host was shown of the domain: terms and wants, the dead hosts' too.

use std::collections::BTreeMap;

use leasefence_core::format::LeaseEntry;
use leasefence_core::ids::{DomainId, Term};

use super::{Happened, Judge};
use crate::world::{World, Writing};

/// Remembers the highest term that a process has wanted (PROTOCOL 4, Acquire: S2). A want is judged when the first write that
/// carries it is issued: the last look is its first scan then.
#[derive(Debug, Default)]
pub(super) struct Wants {
    wanted: BTreeMap<(usize, u32, DomainId), Term>,
}

impl Judge for Wants {
    fn sentence(&self) -> &'static str {
        "A lease is wanted under a term above all that its host was shown."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Issued { client } = *happened else { return None };
        self.issued(world, client, &Writing::of(world, client)?)
    }
}

impl Wants {
    fn issued(&mut self, world: &World, client: usize, writing: &Writing) -> Option<String> {
        for entry in writing.page.entries().filter(|entry| entry.want_term > Term(0)) {
            let before = self.wanted.entry((client, writing.process, entry.domain)).or_default();
            if entry.want_term <= *before {
                continue;
            }
            *before = entry.want_term;
            let [_, last] = world.looks.others(world, client, writing, entry.domain);
            let above = |other: &LeaseEntry| other.term.max(other.want_term) >= entry.want_term;
            if last.is_some_and(|others| others.iter().any(above)) {
                return Some(format!(
                    "host-{client} wants {} under term {}, and has read one as high",
                    entry.domain, entry.want_term
                ));
            }
        }
        None
    }
}
