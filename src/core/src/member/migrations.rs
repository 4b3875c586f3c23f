//! Live migrations that this host takes part in (PROTOCOL 4): domains that come in, from the moment their process shows, and own
//! domains that have left, or that libvirt may have resumed. It remembers; what follows is said in `arrivals`, `departures` and `returns`.

use std::collections::BTreeMap;

use super::RequestId;
use super::arrival::Arrival;
use crate::ids::{DomainId, Incarnation, Term};
use crate::time::{HolderDeadline, Instant};

/// On whose account a source stands still.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Beside {
    /// It is not known.
    #[default]
    Unknown,
    /// This destination's, which has reserved this term.
    Destination(Incarnation, Term),
    /// Nobody's any more: a look has shown that no live host has it. It waits for its own page.
    Nobody,
}

impl Beside {
    /// True when the destination that was let in last is another one. Beside a live one none is let in, so the one before has failed or is
    /// gone; and what was let in while this one stands still has not got its memory.
    pub(super) fn is_over(self, who: Incarnation, term: Term) -> bool {
        match self {
            Self::Unknown => false,
            Self::Destination(before, reserved) => (before, reserved) != (who, term),
            Self::Nobody => true,
        }
    }
}

/// An own domain that may run on another host too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Return {
    /// A scan that began before says nothing.
    pub(super) since: Instant,
    /// When to look again.
    pub(super) due: Instant,
    /// Nobody has seen libvirt resume it: while libvirt migrates it away just now, it is as it should be.
    pub(super) unseen: bool,
    /// Since when libvirt has been asked whether it does, and has not answered.
    pub(super) unanswered: Option<Instant>,
    /// Its processes were stopped.
    pub(super) halted: bool,
    /// On whose account.
    pub(super) beside: Beside,
    /// They were told to go on, once.
    pub(super) goes_on: bool,
}

/// All migrations of this host.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Migrations {
    pub(super) arrivals: BTreeMap<DomainId, Arrival>,
    /// Domains that have not come in, and since when nothing of them is left here.
    pub(super) failed: BTreeMap<DomainId, Instant>,
    /// Hooks that wait at `started begin`, and since when.
    pub(super) started: BTreeMap<DomainId, (RequestId, Instant)>,
    /// Domains that were migrated away: a scan that began before says nothing of their destination; and when to look again.
    pub(super) departed: BTreeMap<DomainId, (Instant, Instant)>,
    pub(super) returns: BTreeMap<DomainId, Return>,
    /// Migrations that are denied once it was read who owns the domain: the hook, until when it waits for that, and why.
    pub(super) denials: BTreeMap<DomainId, (RequestId, HolderDeadline, String)>,
}

impl Migrations {
    /// True while anything is to be looked for.
    pub(super) fn any(&self) -> bool {
        let leaves = !self.departed.is_empty() || !self.returns.is_empty();
        leaves || self.arrive() || !self.denials.is_empty()
    }

    /// True while a domain comes in.
    pub(super) fn arrive(&self) -> bool {
        !self.arrivals.is_empty() || !self.started.is_empty()
    }
}
