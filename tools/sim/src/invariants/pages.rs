//! What lease pages say on the storage: a sector never goes back, an own entry never vanishes and is given back only when its
//! process is gone, a predecessor is never alive, and nothing that somebody wants is dropped.

use std::collections::BTreeMap;

use leasefence_core::format::{LeaseEntry, LeaseState, RecordCopy};
use leasefence_core::ids::{DomainId, Generation, Sequence, Slot, Term};

use super::{Happened, Judge};
use crate::time::S;
use crate::world::World;

/// A want that has stood for so long was seen by both passes of a drop.
const LONG: u64 = 15 * S;

/// What a sector says.
#[derive(Debug, Default)]
struct Seen {
    version: (Generation, Sequence),
    entries: Vec<LeaseEntry>,
}

/// Remembers the newest version of each sector's copies.
///
/// Two things are looked at in scenes alone, where only a wrong rule does them: that a sector goes back, which a page write
/// of an agent that died in the middle of its rejoin still may (ARCHITECTURE 11); and that a drop passes over a want, which
/// one of unknown outcome may when it is carried through later.
#[derive(Debug, Default)]
pub(super) struct Pages {
    in_a_scene: bool,
    copies: BTreeMap<u64, Seen>,
    wants: BTreeMap<(Slot, DomainId), (u64, Term)>,
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
            if self.in_a_scene && seen.version < before.version {
                return Some(format!(
                    "host-{client}: an earlier sector of slot {slot} lands over a later one"
                ));
            }
            // Both copies are there when the second is.
            (copy == RecordCopy::B).then(|| self.changed(world, client, slot, before, &seen)).flatten()
        });
        self.copies.insert(offset, seen);
        self.note_wants(world, number, slot, copy);
        wrong
    }
}

impl Pages {
    pub(super) fn new(in_a_scene: bool) -> Self {
        Self { in_a_scene, ..Self::default() }
    }

    /// A want stands from the moment at which both copies have it, until the newest says no more of it: the other copy may
    /// be one that landed late, and was taken back since.
    fn note_wants(&mut self, world: &World, number: u8, slot: Slot, copy: RecordCopy) {
        let of = |copy| self.copies.get(&world.file.layout.lease_page(number, slot, copy).offset);
        let (a, b) = (of(RecordCopy::A), of(RecordCopy::B));
        let Some(newest) = a.into_iter().chain(b).max_by_key(|seen| seen.version) else { return };
        let wants: Vec<_> = newest.entries.iter().filter(|entry| entry.want_term > Term(0)).collect();
        self.wants.retain(|(of, domain), _| *of != slot || wants.iter().any(|want| want.domain == *domain));
        for want in wants.into_iter().filter(|_| copy == RecordCopy::B) {
            self.wants.entry((slot, want.domain)).or_insert((world.at, want.want_term));
        }
    }

    fn changed(
        &self,
        world: &World,
        client: usize,
        slot: Slot,
        before: &Seen,
        seen: &Seen,
    ) -> Option<String> {
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
            let left = matches!(old.state, LeaseState::Orphan | LeaseState::Stopped) && gone && same_life;
            let wanted = |((of, domain), (since, _)): (&(Slot, DomainId), &(u64, Term))| {
                *of != slot && *domain == old.domain && world.at - since > LONG
            };
            if left && self.in_a_scene && self.wants.iter().any(wanted) {
                return Some(format!("host-{client} drops {}, which another host wants", old.domain));
            }
        }
        let low = |new: &&LeaseEntry| {
            let is_new =
                !before.entries.iter().any(|old| old.domain == new.domain && old.want_term == new.want_term);
            let above = |((of, domain), (since, term)): (&(Slot, DomainId), &(u64, Term))| {
                *of != slot && *domain == new.domain && world.at - since > LONG && *term >= new.want_term
            };
            new.want_term > Term(0) && is_new && same_life && self.wants.iter().any(above)
        };
        if let Some(new) = seen.entries.iter().find(low) {
            return Some(format!("host-{client} wants {} under a term that stood for long", new.domain));
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
            // A guest that runs while its host adopts it has no lease yet.
            let leased = run.term == Some(entry.term) || (run.term.is_none() && world.holds(client));
            leased && run.exited.is_none() && world.domains[run.domain].id == entry.domain
        };
        world.hosts[client].guests.iter().find(here).is_some()
    }
}
