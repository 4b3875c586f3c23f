//! What one read of a lease page says, and what follows from it for one key: top, recoverable, conflicts.
//!
//! It judges bytes that were read; it never reads, and never writes. Who is *gone* is told by the caller.

use std::collections::BTreeSet;

use super::own::OwnPage;
use super::types::Conflict;
use crate::format::{LeaseBase, LeaseEntry, LeasePage, LeaseState};
use crate::ids::{DomainId, Incarnation, Slot, Term};
use crate::planted::planted;
use crate::time::Instant;

/// A host's sector of one page.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SectorView {
    /// The valid copy with the highest (generation, sequence).
    Valid(LeasePage),
    /// Zeros in both copies, and both copies of that slot's record are zero or `free`.
    Empty,
    /// Neither copy is valid, also when read by itself; or zeros in a slot that is in use.
    Unreadable(String),
}

/// One page as all hosts wrote it, each sector read once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PageScan {
    /// Which page.
    pub page: u8,
    /// When its first read was issued.
    pub began: Instant,
    /// When its last read ended.
    pub ended: Instant,
    /// By slot, the own one included (as read: the own memory counts, not this).
    pub sectors: Vec<SectorView>,
}

impl PageScan {
    /// The first slot but the own whose sector is unreadable, gone or not.
    #[must_use]
    pub fn unreadable(&self, me: Slot) -> Option<Slot> {
        let mut slots = (0u16..).map(Slot).zip(&self.sectors);
        slots
            .find(|(slot, sector)| *slot != me && matches!(sector, SectorView::Unreadable(_)))
            .map(|(slot, _)| slot)
    }

    /// Every key that any host, or `own`, has an entry of.
    #[must_use]
    pub fn keys(&self, own: &OwnPage) -> BTreeSet<DomainId> {
        let mine = own.content().entries().map(|entry| entry.domain);
        self.others(own.incarnation().slot).map(|(_, entry)| entry.domain).chain(mine).collect()
    }

    /// An entry by which another host convicted `me`: its predecessor is this incarnation.
    #[must_use]
    pub fn conviction_of(&self, me: Incarnation) -> Option<(Incarnation, DomainId)> {
        let mut others = self.others(me.slot).filter(|_| !planted!(ConvictionIgnored));
        others.find(|(_, entry)| entry.pred == Some(me)).map(|(by, entry)| (by, entry.domain))
    }

    /// The entries of the other hosts, each with the incarnation in its sector's header.
    pub(super) fn others(&self, me: Slot) -> impl Iterator<Item = (Incarnation, &LeaseEntry)> {
        let valid = self.sectors.iter().filter_map(move |sector| match sector {
            SectorView::Valid(page) if page.incarnation.slot != me => Some(page),
            _ => None,
        });
        valid.flat_map(|page| page.entries().map(move |entry| (page.incarnation, entry)))
    }
}

/// What all hosts' entries say of one key. The own entries are those in memory: what they say on storage is the same, or
/// older, or unknown.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyView {
    /// Each entry of the key, with whose it is.
    pub entries: Vec<(Incarnation, LeaseEntry)>,
}

impl KeyView {
    /// The key as `scan` and the own memory show it.
    #[must_use]
    pub fn of(scan: &PageScan, own: &OwnPage, key: DomainId) -> Self {
        let me = own.incarnation();
        let mine = own.content().entries().map(|entry| (me, *entry));
        let others = scan.others(me.slot).map(|(who, entry)| (who, *entry));
        Self { entries: mine.chain(others).filter(|(_, entry)| entry.domain == key).collect() }
    }

    /// *top*: the highest term among own, orphan, stopped and saved.
    #[must_use]
    pub fn top(&self) -> Option<&(Incarnation, LeaseEntry)> {
        self.entries
            .iter()
            .filter(|(_, entry)| counts_for_top(entry.state))
            .max_by_key(|(_, entry)| entry.term)
    }

    /// The top's identity: a recovery goes on only while it is the same.
    #[must_use]
    pub fn top_id(&self) -> Option<(Incarnation, Term, LeaseState)> {
        self.top().map(|(who, entry)| (*who, entry.term, entry.state))
    }

    /// What the top is for one who takes it: *recoverable* is an orphan, or `own` by a gone incarnation.
    #[must_use]
    pub fn base(&self, gone: &dyn Fn(Incarnation) -> bool) -> LeaseBase {
        match self.top() {
            None => LeaseBase::None,
            Some((_, entry)) if entry.state == LeaseState::Orphan => LeaseBase::Recoverable,
            Some((who, entry)) if entry.state == LeaseState::Own && gone(*who) => LeaseBase::Recoverable,
            Some((_, entry)) if entry.state == LeaseState::Saved => LeaseBase::Saved,
            Some(_) => LeaseBase::Stopped,
        }
    }

    /// The gone incarnation whose `own` is the top, if that is what the top is: only then an entry has a predecessor (an
    /// orphan of a host that has rejoined must not convict it), and only then its domain has died with its host.
    #[must_use]
    pub fn predecessor(&self, gone: &dyn Fn(Incarnation) -> bool) -> Option<Incarnation> {
        let also = |entry: &LeaseEntry| planted!(PredOnOrphan) && entry.state == LeaseState::Orphan;
        let own = |who, entry: &LeaseEntry| entry.state == LeaseState::Own && gone(who);
        self.top().filter(|(who, entry)| own(*who, entry) || also(entry)).map(|(who, _)| *who)
    }

    /// The highest of **all** terms and wants, the dead hosts' too.
    #[must_use]
    pub fn highest(&self) -> Term {
        self.entries.iter().map(|(_, entry)| reserved(entry).max(entry.want_term)).max().unwrap_or_default()
    }

    /// As [`highest`](Self::highest), leaving out what `me` itself wants.
    #[must_use]
    pub fn highest_but_want_of(&self, me: Incarnation) -> Term {
        let counted = |(who, entry): &(Incarnation, LeaseEntry)| {
            if *who == me { entry.term } else { reserved(entry).max(entry.want_term) }
        };
        self.entries.iter().map(counted).max().unwrap_or_default()
    }

    /// The strongest own, incoming or want of another incarnation that is not gone; of the source of a migration its own entry
    /// is none.
    #[must_use]
    pub fn conflict(
        &self,
        me: Incarnation,
        gone: &dyn Fn(Incarnation) -> bool,
        source: Option<Incarnation>,
    ) -> Option<(Incarnation, Conflict)> {
        let live = self.entries.iter().filter(|(who, _)| *who != me && !gone(*who));
        let found = live.filter_map(|(who, entry)| conflict_of(entry).map(|conflict| (*who, conflict)));
        found.filter(|(who, c)| *c != Conflict::Own || Some(*who) != source).min_by_key(|(_, c)| *c)
    }

    /// What this host itself has of the key.
    #[must_use]
    pub fn mine(&self, me: Incarnation) -> Option<&LeaseEntry> {
        self.entries.iter().find(|(who, _)| *who == me).map(|(_, entry)| entry)
    }
}

/// States that make a top: `incoming` does not, nor does an entry that holds a want only.
pub(super) fn counts_for_top(state: LeaseState) -> bool {
    matches!(state, LeaseState::Own | LeaseState::Orphan | LeaseState::Stopped | LeaseState::Saved)
}

/// The term that an entry keeps from all others.
fn reserved(entry: &LeaseEntry) -> Term {
    let none = planted!(IncomingReservesNoTerm) && entry.state == LeaseState::Incoming;
    if none { Term(0) } else { entry.term }
}

fn conflict_of(entry: &LeaseEntry) -> Option<Conflict> {
    match entry.state {
        LeaseState::Own => Some(Conflict::Own),
        LeaseState::Incoming if planted!(IncomingIgnored) => None,
        LeaseState::Incoming => Some(Conflict::Incoming),
        _ if planted!(WantIsNoConflict) || planted!(LowestLiveSlotActs) => None,
        _ if entry.want_term > Term(0) => Some(Conflict::Want),
        _ => None,
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for PageScan {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.began.each_mark(f);
        self.ended.each_mark(f);
        for sector in &mut self.sectors {
            if let SectorView::Valid(page) = sector {
                page.each_mark(f);
            }
        }
    }
}
