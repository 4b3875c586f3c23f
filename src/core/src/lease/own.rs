//! The own sector of one lease page, in memory: what this host says of the domains of that page.
//!
//! It owns the content and knows whether storage may say something else. It never writes: a [`SectorWrite`] does, from a
//! snapshot of it, and reports back.
//!
//! [`SectorWrite`]: super::write::SectorWrite

use std::collections::BTreeMap;

use crate::format::{LeaseEntry, LeaseFlags, LeasePage, LeaseState, Place};
use crate::ids::{BootId, DomainId, Incarnation, Sequence, Term};
use crate::planted::planted;

/// One change of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Edit {
    /// Want this term; the rest of the entry stays as it is.
    Want(DomainId, Term),
    /// The same for a migration to this host.
    WantIncoming(DomainId, Term),
    /// Want nothing any more; an entry that said nothing else goes.
    NoWant(DomainId),
    /// Say this.
    Put(LeaseEntry),
    /// Say nothing any more.
    Remove(DomainId),
}

impl Edit {
    /// Changes a sector's content. False when the sector is full.
    pub fn apply(&self, content: &mut LeasePage) -> bool {
        match *self {
            Self::Want(domain, term) => want(content, domain, term, false),
            Self::WantIncoming(domain, term) => want(content, domain, term, true),
            Self::NoWant(domain) => match content.get(domain).copied() {
                None => true,
                Some(base) if base.state == LeaseState::Empty => content.remove(domain).is_some(),
                Some(base) => {
                    let flags = base.flags.set(LeaseFlags::WANT_INCOMING, false);
                    content.insert(LeaseEntry { want_term: Term(0), flags, ..base }).is_ok()
                }
            },
            Self::Put(entry) => content.insert(entry).is_ok(),
            Self::Remove(domain) => {
                content.remove(domain);
                true
            }
        }
    }
}

fn want(content: &mut LeasePage, domain: DomainId, want_term: Term, incoming: bool) -> bool {
    let base = content.get(domain).copied().unwrap_or(LeaseEntry { domain, ..LeaseEntry::default() });
    let flags = base.flags.set(LeaseFlags::WANT_INCOMING, incoming);
    content.insert(LeaseEntry { want_term, flags, ..base }).is_ok()
}

fn note_incoming(came_in: &mut BTreeMap<DomainId, Term>, content: &LeasePage) {
    for entry in content.entries().filter(|entry| entry.state == LeaseState::Incoming) {
        let highest = came_in.entry(entry.domain).or_default();
        *highest = entry.term.max(*highest);
    }
}

/// The own sector of one page.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct OwnPage {
    page: u8,
    content: LeasePage,
    /// Grows with each change in memory.
    revision: u64,
    /// The revision that both copies hold, acknowledged; none when that is not known.
    stored: Option<u64>,
    /// The highest term under which each domain may have been seen as incoming here, also long after that was erased: an entry for
    /// each domain that was ever to come in.
    came_in: BTreeMap<DomainId, Term>,
}

impl OwnPage {
    /// The sector as a claim or rejoin has just written it to both copies, acknowledged.
    #[must_use]
    pub fn written(page: u8, content: LeasePage) -> Self {
        Self { page, content, revision: 0, stored: Some(0), came_in: BTreeMap::new() }
    }

    /// The sector as a restarted agent of the same incarnation finds it. Its wants are cleared: those who waited for them
    /// are gone with the process. `agree`: both copies said the same.
    #[must_use]
    pub fn found(page: u8, mut content: LeasePage, agree: bool) -> Self {
        let wanted: Vec<_> = content.entries().filter(|e| e.want_term > Term(0)).map(|e| e.domain).collect();
        for domain in &wanted {
            Edit::NoWant(*domain).apply(&mut content);
        }
        let stored = (agree && wanted.is_empty()).then_some(0);
        let mut came_in = BTreeMap::new();
        note_incoming(&mut came_in, &content);
        Self { page, content, revision: 0, stored, came_in }
    }

    /// Which page.
    #[must_use]
    pub fn page(&self) -> u8 {
        self.page
    }

    /// Whose it is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.content.incarnation
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &LeasePage {
        &self.content
    }

    /// True when storage may say something else than memory: it must be written, once no write to it is unknown.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.stored != Some(self.revision)
    }

    /// Changes memory; it is written later.
    pub fn edit(&mut self, edit: &Edit) -> bool {
        self.revision += 1;
        edit.apply(&mut self.content)
    }

    /// Storage was found to say something else (damaged, or an unknown write): it must be written again.
    pub fn distrust(&mut self) {
        self.stored = None;
    }

    /// A snapshot to write, with these edits, under the next sequence: the sequence is used up, whatever comes of it.
    pub(super) fn snapshot(&mut self, edits: &[Edit]) -> (LeasePage, u64) {
        self.content.sequence = self.content.sequence.next();
        let mut content = self.content.clone();
        for edit in edits {
            edit.apply(&mut content);
        }
        note_incoming(&mut self.came_in, &content);
        (content, self.revision)
    }

    /// The term that the next `incoming` of a domain must be above, whatever others have of it: an earlier one of this host's may
    /// have been seen, and one that says the same would be taken for that. None that this process knows of: zero.
    pub(super) fn incoming_floor(&self, domain: DomainId) -> Term {
        self.came_in.get(&domain).copied().unwrap_or_default()
    }

    /// Both copies of a snapshot were acknowledged.
    pub(super) fn acknowledged(&mut self, edits: &[Edit], revision: u64) {
        for edit in edits {
            edit.apply(&mut self.content);
        }
        self.stored = Some(revision);
    }

    /// The bytes that a copy must have, as far as memory knows.
    #[must_use]
    pub fn bytes(&self, place: &Place) -> Vec<u8> {
        self.content.encode(place)
    }
}

/// What a rejoin writes of an own sector for the next generation: own → orphan; orphan, stopped and saved are kept; wants
/// are cleared, incoming is dropped. Never a lower term, and no predecessor: an orphan convicts nobody.
#[must_use]
pub fn for_next_generation(
    found: &LeasePage,
    me: Incarnation,
    boot_id: BootId,
    sequence: Sequence,
) -> LeasePage {
    let mut next = LeasePage::new(me, boot_id, sequence);
    for entry in found.entries() {
        let state = match entry.state {
            LeaseState::Own if planted!(OrphansDroppedAtRejoin) => continue,
            LeaseState::Own => LeaseState::Orphan,
            LeaseState::Empty | LeaseState::Incoming => continue,
            kept => kept,
        };
        let flags = entry.flags.set(LeaseFlags::WANT_INCOMING, false);
        let kept = LeaseEntry { state, flags, want_term: Term(0), pred: None, ..*entry };
        // The source held it in a sector of the same size.
        let _fits = next.insert(kept);
    }
    next
}

#[cfg(feature = "model-check")]
impl OwnPage {
    /// Revisions are compared for equality only: those of memory and of a write under way become the smallest that compare alike.
    pub(super) fn renumber_revisions(&mut self, write: Option<&mut u64>) {
        let (revision, stored) = (self.revision, self.stored == Some(self.revision));
        self.revision = 0;
        if let Some(write) = write {
            self.revision = u64::from(*write != revision);
            *write = 0;
        }
        self.stored = stored.then_some(self.revision);
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for OwnPage {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.content.each_mark(f);
        self.came_in.values_mut().for_each(|term| term.each_mark(f));
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Edit {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        match self {
            Self::Want(_, term) | Self::WantIncoming(_, term) => term.each_mark(f),
            Self::Put(entry) => entry.each_mark(f),
            Self::NoWant(_) | Self::Remove(_) => {}
        }
    }
}
