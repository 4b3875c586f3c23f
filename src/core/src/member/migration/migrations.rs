//! Live migrations that this host takes part in (PROTOCOL 4): domains that come in, from the moment their process shows, and own
//! domains that have left, or that libvirt may have resumed. It remembers; what follows is said in `arrivals`, `departures` and `returns`.

use std::collections::BTreeMap;

use super::arrival::Arrival;
use crate::ids::DomainId;
use crate::lease::Destination;
use crate::member::RequestId;
use crate::time::{HolderDeadline, Instant};

/// On whose account a source stands still.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::member) enum Beside {
    /// It is not known.
    #[default]
    Unknown,
    /// This one's.
    Destination(Destination),
    /// Nobody's any more: a look has shown that no live host has it. It waits for its own page.
    Nobody,
}

impl Beside {
    /// True when the destination that was let in last is another one. Beside a live one none is let in, so the one before has failed or is
    /// gone; and what was let in while this one stands still has not got its memory.
    pub(in crate::member) fn is_over(self, last: Destination) -> bool {
        match self {
            Self::Unknown => false,
            Self::Destination(before) => before != last,
            Self::Nobody => true,
        }
    }
}

/// What libvirt has told of a source that may run though it was migrated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::member) enum Told {
    /// Nothing: while libvirt migrates it away just now, it is as it should be.
    Nothing,
    /// That it does not migrate it, asked after this destination was seen (none: after one that could not be read). Libvirt has its
    /// job from before it lets the destination ask its hook: so that migration is over here, and of a later one this says nothing.
    Idle(Option<Destination>),
    /// That it has resumed it.
    Resumed,
}

impl Told {
    /// True while libvirt may be migrating it away to this destination; none where the last one may be one that cannot be read: what
    /// has been said once counts for that.
    pub(in crate::member) fn may_migrate_to(self, destination: Option<Destination>) -> bool {
        match self {
            Self::Nothing => true,
            Self::Idle(asked) => destination.is_some() && asked != destination,
            Self::Resumed => false,
        }
    }
}

/// An own domain that may run on another host too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::member) struct Return {
    /// A scan that began before says nothing.
    pub(in crate::member) since: Instant,
    /// When to look again.
    pub(in crate::member) due: Instant,
    /// What libvirt has told of it.
    pub(in crate::member) told: Told,
    /// Since when libvirt has been asked whether it does, and has not answered.
    pub(in crate::member) unanswered: Option<Instant>,
    /// Its processes were stopped.
    pub(in crate::member) halted: bool,
    /// On whose account.
    pub(in crate::member) beside: Beside,
    /// They were told to go on, once.
    pub(in crate::member) goes_on: bool,
}

/// All migrations of this host.
#[derive(Clone, PartialEq, Debug, Default)]
pub(in crate::member) struct Migrations {
    pub(in crate::member) arrivals: BTreeMap<DomainId, Arrival>,
    /// Domains that have not come in, and since when nothing of them is left here.
    pub(in crate::member) failed: BTreeMap<DomainId, Instant>,
    /// Hooks that wait at `started begin`, and since when.
    pub(in crate::member) started: BTreeMap<DomainId, (RequestId, Instant)>,
    /// Domains that were migrated away: a scan that began before says nothing of their destination; and when to look again.
    pub(in crate::member) departed: BTreeMap<DomainId, (Instant, Instant)>,
    pub(in crate::member) returns: BTreeMap<DomainId, Return>,
    /// Migrations that are denied once it was read who owns the domain: the hook, until when it waits for that, and why.
    pub(in crate::member) denials: BTreeMap<DomainId, (RequestId, HolderDeadline, String)>,
}

impl Migrations {
    /// True while anything is to be looked for.
    pub(in crate::member) fn any(&self) -> bool {
        let leaves = !self.departed.is_empty() || !self.returns.is_empty();
        leaves || self.arrive() || !self.denials.is_empty()
    }

    /// True while a domain comes in.
    pub(in crate::member) fn arrive(&self) -> bool {
        !self.arrivals.is_empty() || !self.started.is_empty()
    }
}
