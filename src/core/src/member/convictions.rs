//! The own record's convictions: whom this host holds for gone. Each latched `expired` or `confirmed` is published here
//! before any lease is acquired under it (ARCHITECTURE 4). It derives no evidence.

use std::collections::BTreeSet;

use super::RequestId;
use crate::format::{CONVICTIONS, Conviction, ConvictionKind};
use crate::ids::{Incarnation, Sequence};

/// One conviction, on its way to storage or there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    conviction: Conviction,
    /// The first record that carries it.
    issued: Option<Sequence>,
    /// True once a record that carries it was acknowledged and read back.
    published: bool,
}

/// A conviction that became published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Published {
    pub(super) target: Incarnation,
    pub(super) kind: ConvictionKind,
}

/// The convictions of the own record, and those that wait for a place in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Convictions {
    entries: Vec<Entry>,
    waiting: Vec<Conviction>,
    /// Published once, and since then reused: what was acquired under them stays so.
    retired: BTreeSet<Incarnation>,
    /// Who waits for which conviction.
    replies: Vec<(Incarnation, RequestId)>,
}

impl Convictions {
    /// Takes over what the own record carries from before this process: it was published.
    pub(super) fn restore(&mut self, convictions: impl Iterator<Item = Conviction>) {
        for conviction in convictions {
            self.entries.push(Entry { conviction, issued: None, published: true });
        }
    }

    /// A new incarnation publishes anew what it still holds: its record does not carry it yet.
    pub(super) fn publish_anew(&mut self) {
        for entry in &mut self.entries {
            (entry.issued, entry.published) = (None, false);
        }
        self.retired.clear();
    }

    /// Convicts; true when the record must be written.
    pub(super) fn convict(&mut self, conviction: Conviction) -> bool {
        let known = self.entries.iter_mut().find(|entry| entry.conviction.target == conviction.target);
        match known {
            Some(entry) if entry.conviction.kind == conviction.kind => return !entry.published,
            // An operator's word is evidence for every reader, and replaces the own observation.
            Some(entry) if conviction.kind == ConvictionKind::Confirmed => {
                *entry = Entry { conviction, issued: None, published: entry.published };
            }
            Some(_) => return false,
            None if self.waiting.iter().any(|other| other.target == conviction.target) => return false,
            None => self.waiting.push(conviction),
        }
        true
    }

    /// Says who is to hear when the conviction is published.
    pub(super) fn reply_to(&mut self, target: Incarnation, request: RequestId) {
        self.replies.push((target, request));
    }

    /// Who is to hear that the conviction of `target` is published; each is told once.
    pub(super) fn take_replies(&mut self, target: Incarnation) -> Vec<RequestId> {
        let (told, kept) = self.replies.drain(..).partition(|(waiting, _)| *waiting == target);
        self.replies = kept;
        told.into_iter().map(|(_, request): (Incarnation, RequestId)| request).collect()
    }

    /// All who wait: the incarnation that was to publish is over.
    pub(super) fn take_all_replies(&mut self) -> Vec<RequestId> {
        self.replies.drain(..).map(|(_, request)| request).collect()
    }

    /// Fills free places; when all are in use, one is reused whose incarnation `is_past` (superseded, freed, released, or
    /// all its entries overtaken).
    pub(super) fn fill(&mut self, is_past: impl Fn(Incarnation) -> bool) {
        while let Some(conviction) = self.waiting.first().copied() {
            if self.entries.len() >= CONVICTIONS {
                let reusable = |entry: &Entry| entry.published && is_past(entry.conviction.target);
                let Some(at) = self.entries.iter().position(reusable) else { return };
                self.retired.insert(self.entries.remove(at).conviction.target);
            }
            self.waiting.remove(0);
            self.entries.push(Entry { conviction, issued: None, published: false });
        }
    }

    /// The record with this sequence is about to be issued: gives what it carries.
    pub(super) fn issue(&mut self, sequence: Sequence) -> [Option<Conviction>; CONVICTIONS] {
        let mut carried = [None; CONVICTIONS];
        for (place, entry) in carried.iter_mut().zip(&mut self.entries) {
            *place = Some(entry.conviction);
            entry.issued.get_or_insert(sequence);
        }
        carried
    }

    /// The record with this sequence was acknowledged and read back: gives what became published by it.
    pub(super) fn shown(&mut self, sequence: Sequence) -> Vec<Published> {
        let fresh = self
            .entries
            .iter_mut()
            .filter(|entry| !entry.published && entry.issued.is_some_and(|issued| issued <= sequence));
        fresh
            .map(|entry| {
                entry.published = true;
                Published { target: entry.conviction.target, kind: entry.conviction.kind }
            })
            .collect()
    }

    /// True when the conviction of `target` is, or was, published.
    pub(super) fn is_published(&self, target: Incarnation) -> bool {
        let published = |entry: &Entry| entry.published && entry.conviction.target == target;
        self.retired.contains(&target) || self.entries.iter().any(published)
    }

    /// How many wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Slot};

    fn conviction(slot: u16) -> Conviction {
        let target = Incarnation { slot: Slot(slot), generation: Generation(1) };
        Conviction { target, kind: ConvictionKind::Expired, since_s: 0 }
    }

    #[test]
    fn a_conviction_counts_once_a_record_that_carries_it_was_read_back() {
        let mut convictions = Convictions::default();
        assert!(convictions.convict(conviction(1)));
        convictions.fill(|_| false);
        assert!(!convictions.is_published(conviction(1).target));
        assert_eq!(convictions.issue(Sequence(7))[0], Some(conviction(1)));
        assert!(convictions.shown(Sequence(6)).is_empty(), "an older record does not carry it");
        assert_eq!(convictions.shown(Sequence(7)).len(), 1);
        assert!(convictions.is_published(conviction(1).target));
    }

    #[test]
    fn the_ninth_conviction_waits_until_one_may_be_reused() {
        let mut convictions = Convictions::default();
        (0..9).for_each(|slot| assert!(convictions.convict(conviction(slot))));
        convictions.fill(|_| false);
        assert_eq!(convictions.waiting(), 1);
        convictions.issue(Sequence(1));
        convictions.shown(Sequence(1));
        convictions.fill(|incarnation| incarnation.slot == Slot(3));
        assert_eq!(convictions.waiting(), 0);
        let carried = convictions.issue(Sequence(2));
        assert!(carried.contains(&Some(conviction(8))) && !carried.contains(&Some(conviction(3))));
        assert!(convictions.is_published(conviction(3).target), "what was acquired under it stays so");
    }
}
