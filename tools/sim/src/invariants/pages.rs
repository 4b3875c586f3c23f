//! What lease pages say on the storage: a sector never goes back, an own entry never vanishes and is given back only when its
//! process is gone, and a predecessor is never alive.

use std::collections::BTreeMap;

use leasefence_core::format::{LeaseEntry, LeaseState, RecordCopy};
use leasefence_core::ids::{DomainId, Generation, Sequence};

use super::{Happened, Judge};
use crate::world::World;

/// What a sector says.
#[derive(Debug, Default)]
struct Seen {
    version: (Generation, Sequence),
    entries: Vec<LeaseEntry>,
}

/// Remembers the newest version of each sector's copies.
///
/// That a sector goes back is looked at where only a wrong rule does it: a page write of an agent that died in the middle of its
/// rejoin still may (ARCHITECTURE 11), so not in the mixes, nor in the scene of migrations, in which hosts and agents die as in those.
#[derive(Debug, Default)]
pub(super) struct Pages {
    in_order: bool,
    copies: BTreeMap<u64, Seen>,
}

impl Judge for Pages {
    fn sentence(&self) -> &'static str {
        "A lease page says what is so."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Landed { client, offset, len } = *happened else { return None };
        let (number, slot, copy) = world.file.sector_at(offset)?;
        if client >= world.hosts.len() {
            // Damaged: what it said is lost.
            self.copies.remove(&offset);
            return None;
        }
        if len != world.file.layout.lease_page(number, slot, copy).len {
            // The first half of a torn write: the rest lands apart, and what the whole says is not seen here.
            self.copies.remove(&offset);
            return None;
        }
        let page = world.file.lease_page(number, slot, copy)?;
        let entries: Vec<LeaseEntry> = page.entries().copied().collect();
        let seen = Seen { version: (page.incarnation.generation, page.sequence), entries };
        let before = self.copies.remove(&offset);
        let wrong = before.as_ref().and_then(|before| {
            if self.in_order && seen.version < before.version {
                return Some(format!(
                    "host-{client}: an earlier sector of slot {slot} lands over a later one"
                ));
            }
            // Both copies are there when the second is.
            (copy == RecordCopy::B).then(|| self.changed(world, client, before, &seen)).flatten()
        });
        self.copies.insert(offset, seen);
        wrong
    }
}

impl Pages {
    pub(super) fn new(in_order: bool) -> Self {
        Self { in_order, ..Self::default() }
    }

    fn changed(&self, world: &World, client: usize, before: &Seen, seen: &Seen) -> Option<String> {
        let same_life = before.version.0 == seen.version.0;
        let now = |domain: DomainId| seen.entries.iter().find(|entry| entry.domain == domain);
        for old in &before.entries {
            let new = now(old.domain);
            let gone = new.is_none_or(|new| new.state == LeaseState::Empty);
            if old.state == LeaseState::Own {
                if gone || new.is_some_and(|new| new.term < old.term) {
                    return Some(format!("host-{client} forgets that it has owned {}", old.domain));
                }
                if same_life
                    && new.is_some_and(|new| new.state != LeaseState::Own)
                    && self.runs(world, client, old)
                {
                    return Some(format!("host-{client} gives {} back, whose process is there", old.domain));
                }
            }
        }
        let taken = |new: &&LeaseEntry| {
            new.state == LeaseState::Own
                && new.pred.is_some_and(|pred| {
                    let host = world.host_of(pred);
                    host.is_some_and(|host| {
                        world.holds(host)
                            && !world.end_has_passed(host)
                            && world.hosts[host].life() == Some(pred)
                    })
                })
        };
        let new = seen.entries.iter().find(taken)?;
        Some(format!("host-{client} owns {} after an incarnation that holds its lease", new.domain))
    }

    fn runs(&self, world: &World, client: usize, entry: &LeaseEntry) -> bool {
        let here = |run: &&usize| {
            let run = &world.runs[**run];
            // A guest that a user started has no lease until it is seen running under one; one of unknown outcome was none.
            let adopted = || {
                let page = world.hosts[client].page.as_ref();
                let mut own = page.iter().flat_map(|page| &page.own);
                own.any(|own| own.domain == entry.domain && own.term == entry.term && own.ran)
            };
            let leased = run.term == Some(entry.term) || (run.term.is_none() && adopted());
            leased && run.exited.is_none() && world.domains[run.domain].id == entry.domain
        };
        world.hosts[client].guests.iter().find(here).is_some()
    }
}
