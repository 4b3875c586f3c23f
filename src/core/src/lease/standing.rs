//! How an own entry stands beside what a migration has left of the key on the other hosts: what a source goes by that libvirt
//! has resumed, and one whose domain has moved away (PROTOCOL 4). It judges a scan; it never reads, and never writes.

use super::own::OwnPage;
use super::view::{KeyView, PageScan, counts_for_top};
use crate::fencing::OwnLease;
use crate::format::{LeaseEntry, LeaseState};
use crate::ids::{DomainId, Incarnation, Slot, Term};

/// One attempt to let a domain in, and what came of it: no two of a domain are alike, but those of one host whose agent was started
/// again between them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Destination {
    /// Whose entry.
    pub who: Incarnation,
    /// The term that its incoming has reserved, and that its own has.
    pub term: Term,
}

impl Destination {
    fn of(who: Incarnation, entry: &LeaseEntry) -> Self {
        Self { who, term: entry.term }
    }
}

/// What the other hosts say of a domain that is owned here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// It has run elsewhere under a higher term: what runs here is old.
    Overtaken(Destination),
    /// It may run there: a live host has it as incoming.
    Arriving {
        /// Of several that seem live the one that was let in last: an older one is of a host that this one takes for gone.
        destination: Destination,
        /// False where another host's sector is unreadable, which may be the one that was let in last.
        is_last: bool,
    },
    /// Nobody knows: this slot's sector is unreadable.
    Unknown(Slot),
    /// A destination that is gone has it as incoming: the own entry must be above that first, since a late write of it may
    /// still say `own`.
    BelowTheGone,
    /// Nobody stands above it.
    Top,
    /// What the own entry says is not read back yet. By the list of the agent before this one this live host owns it, or nobody is
    /// seen to have it.
    Unread(Option<Destination>),
}

impl Standing {
    /// As this scan and the own memory show it. None when this host does not own the domain.
    #[must_use]
    pub fn of(
        scan: &PageScan,
        own: &OwnPage,
        domain: DomainId,
        gone: &dyn Fn(Incarnation) -> bool,
    ) -> Option<Self> {
        let me = own.incarnation();
        let view = KeyView::of(scan, own, domain);
        let mine = view.mine(me).filter(|mine| mine.state == LeaseState::Own)?;
        let others = || view.entries.iter().filter(|(who, _)| *who != me);
        let above = others().filter(|(_, entry)| counts_for_top(entry.state) && entry.term > mine.term);
        let above = above.max_by_key(|(_, entry)| entry.term);
        let incoming = |is_gone| {
            let is = move |who: Incarnation| gone(who) == is_gone;
            let incoming = others().filter(|(_, entry)| entry.state == LeaseState::Incoming);
            incoming.filter(|(who, _)| is(*who)).max_by_key(|(_, entry)| entry.term)
        };
        Some(if let Some((who, entry)) = above {
            Self::Overtaken(Destination::of(*who, entry))
        } else if let Some((who, entry)) = incoming(false) {
            let is_last = scan.unreadable(me.slot).is_none();
            Self::Arriving { destination: Destination::of(*who, entry), is_last }
        } else if let Some(slot) = scan.unreadable(me.slot) {
            Self::Unknown(slot)
        } else if incoming(true).is_some_and(|(_, entry)| entry.term > mine.term) {
            Self::BelowTheGone
        } else {
            Self::Top
        })
    }

    /// The same while the own sector is not read back: what live hosts have above the term that the agent before this one has listed.
    /// That may be old: nothing is killed for it, and only the own sector says that the domain may go on.
    pub(super) fn of_listed(
        scan: &PageScan,
        me: Slot,
        listed: &OwnLease,
        gone: &dyn Fn(Incarnation) -> bool,
    ) -> Self {
        let live = || scan.others(me).filter(|(who, entry)| entry.domain == listed.domain && !gone(*who));
        let incoming = live().filter(|(_, entry)| entry.state == LeaseState::Incoming);
        let owned = live().filter(|(_, entry)| entry.state == LeaseState::Own && entry.term > listed.term);
        let owned = owned.map(|(who, entry)| Destination::of(who, entry)).max_by_key(|last| last.term);
        let incoming = incoming.map(|(who, entry)| Destination::of(who, entry)).max_by_key(|last| last.term);
        let unreadable = scan.unreadable(me);
        match (owned, incoming, unreadable) {
            (Some(_), ..) => Self::Unread(owned),
            (None, Some(destination), _) => Self::Arriving { destination, is_last: unreadable.is_none() },
            (None, None, Some(slot)) => Self::Unknown(slot),
            (None, None, None) => Self::Unread(None),
        }
    }
}

/// True when another host has, or had, the domain by a lease above the own term: its incoming, its own, or what became of that.
pub(super) fn is_elsewhere(scan: &PageScan, own: &OwnPage, domain: DomainId) -> bool {
    let me = own.incarnation();
    let view = KeyView::of(scan, own, domain);
    let Some(mine) = view.mine(me) else { return false };
    let has = |state| counts_for_top(state) || state == LeaseState::Incoming;
    view.entries.iter().any(|(who, entry)| *who != me && has(entry.state) && entry.term > mine.term)
}
