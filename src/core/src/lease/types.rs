//! What is asked of domain leases, and what comes back. Plain values: no rule lives here.

use super::view::PageScan;
use crate::format::LeaseEntry;
use crate::ids::{DomainId, Incarnation, Slot, Term};
use crate::time::{Instant, Now};
use crate::unknown::UnknownWrites;

/// What a lease procedure may rely on at one step. Built anew by the member for each call: nothing of it is kept.
#[derive(Clone, Copy)]
pub struct LeaseContext<'a> {
    /// The time.
    pub now: &'a Now,
    /// True while the own lease is valid and not latched by the fencer (or while adopting in `joining`, renewed and watched
    /// by the own deadlines like a lease). False stops every procedure at once, and for good: after the latch own
    /// entries change only by a rejoin.
    pub may_write: bool,
    /// The writes of this host that are unknown (R11). A sector with one is not written.
    pub unknown: &'a UnknownWrites,
    /// True for an incarnation that is *gone*: latched expired or confirmed, own receipt, released, superseded; nothing
    /// else. An `expired` or `confirmed` one only once it is published as a conviction in the own record, acknowledged.
    pub gone: &'a dyn Fn(Incarnation) -> bool,
    /// True while both record copies of this slot are zero or `free`, by the latest good scan: only then is a lease page
    /// sector of zeros *empty*; else it is *unreadable*.
    pub vacant: &'a dyn Fn(Slot) -> bool,
    /// How many slots are in use: twice as many failing starts put a domain on hold.
    pub hosts: u16,
}

impl LeaseContext<'_> {
    /// Wall time in seconds, for people.
    #[must_use]
    pub fn wall_s(&self) -> u32 {
        u32::try_from(self.now.wall_ns / 1_000_000_000).unwrap_or(u32::MAX)
    }
}

/// What the new owner's entry says of its domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DomainSpec {
    /// Restarted elsewhere after its host's death.
    pub ha: bool,
    /// Among HA domains, higher goes first.
    pub priority: u8,
    /// Virtual processors.
    pub vcpus: u16,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// H64 of the domain's disk chain.
    pub definition_hash: u64,
    /// Version of the stored definition.
    pub definition_version: u32,
}

/// Why a lease is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AcquireKind {
    /// A user's start, or the domain was found running: whatever the top is, as long as no live host stands against it.
    /// Failures, deaths and hold start at zero.
    Plain(DomainSpec),
    /// A user's start from a saved image: only if the top is the own entry, and saved. Else the image is not of its last run, and
    /// its memory would destroy the disk.
    Restore(DomainSpec),
    /// A live migration to this host: only beside the own entry of its live source, which must be the top, and beside nothing
    /// else. The entry says `incoming`, and blocks all others.
    Incoming(DomainSpec),
    /// A source that libvirt has resumed takes its own domain again, above the term of a destination that is gone.
    Retake,
    /// A restart after its host's death: only if the top is recoverable, HA, and not on hold. What the entry says of
    /// the domain, failures and deaths carry over from the top.
    Recovery {
        /// A user said `ha resume` while the top had this term: its hold counts for nothing, failures and deaths start at zero.
        resumed: Option<Term>,
    },
}

/// How an incarnation stands against an acquire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Conflict {
    /// It owns the domain.
    Own,
    /// The domain is being migrated to it.
    Incoming,
    /// It is acquiring too.
    Want,
}

/// One key that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AcquireRequest {
    /// Which domain.
    pub domain: DomainId,
    /// Why.
    pub kind: AcquireKind,
}

/// How an acquire ended, per key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AcquireOutcome {
    /// Both copies of `own` (for a migration of `incoming`) are acknowledged, and the own lease was still valid: the domain may be
    /// started (may come in).
    Acquired(LeaseEntry),
    /// This host owned it before.
    AlreadyOwn(Term),
    /// A live incarnation stands against it.
    Busy {
        /// Which.
        who: Incarnation,
        /// How.
        conflict: Conflict,
    },
    /// A host's sector is unreadable in both copies, gone or not: mended by its rejoin, or by `leasefence slot free`.
    Unreadable(Slot),
    /// The own sector of that page has 62 entries; nothing is evicted.
    Full,
    /// A recovery, and the top is not (or no longer) one to recover: why.
    NotRecoverable(String),
    /// Others got in between at each of the tries: again in the next recovery round.
    GaveUp,
    /// A page could not be read.
    ReadFailed(String),
    /// A write of the own sector has an unknown outcome. Nothing may be started under it.
    Unknown,
    /// The own lease ended, or is latched: nothing may be started.
    LostLease,
}

/// Why an own entry ends (PROTOCOL 4, "How an own entry ends"). The caller vouches that the process is proven gone, the
/// start token closed, and the domain's storages quiet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EndReason {
    /// It never ran under this term: the start failed or was given up, or the agent was restarted in between. Goes by base:
    /// recoverable → orphan with a failure more, saved → saved if its CPUs never ran, else stopped.
    NeverRan,
    /// A user or the guest ended it, and it was seen running under this term.
    Stopped,
    /// A user saved it (managed save), and it was seen running under this term.
    Saved,
    /// It crashed or failed, or nobody knows; or the host is shutting down: orphan if HA, else stopped.
    Crashed,
    /// It was migrated away; true if the destination's `incoming` or own was seen: orphan, else stopped.
    MigratedAway {
        /// Whether the destination has it by a lease.
        destination_seen: bool,
    },
}

/// What happened, for the member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum LeaseEvent {
    /// An acquire ended for one key.
    Acquire {
        /// Which domain.
        domain: DomainId,
        /// How.
        outcome: AcquireOutcome,
    },
    /// A restarted agent found an own entry, or an incoming one: what became of them is to be looked at.
    Found {
        /// Which domain.
        domain: DomainId,
        /// True for an incoming one.
        incoming: bool,
        /// True when the page says that its CPUs were stopped for a migration.
        outgoing: bool,
    },
    /// The process of a domain that was migrated away is proven gone: [`Leases::migrated_away`](super::Leases::migrated_away) ends its
    /// entry, once it is known whether the destination has it by a lease.
    Departed {
        /// Which domain.
        domain: DomainId,
    },
    /// The end of an own entry is acknowledged in both copies.
    Ended {
        /// Which domain.
        domain: DomainId,
        /// The entry as it stands now.
        entry: LeaseEntry,
    },
    /// `Command::Barrier`: a domain's process is gone, and its storages must be shown quiet before its entry ends (R6).
    Barrier {
        /// Which domain.
        domain: DomainId,
        /// The barrier's mark.
        asked: Instant,
    },
    /// Told once for an end: its storages are not shown quiet yet, so the entry stays own and nobody starts the domain.
    NotQuiet {
        /// Which domain.
        domain: DomainId,
        /// Why.
        why: String,
    },
    /// Another host's entry names this incarnation as its predecessor: it was convicted. Fence at once.
    Convicted {
        /// By whom.
        by: Incarnation,
        /// Which domain it took.
        domain: DomainId,
    },
    /// An own sector holds a valid record that is not this incarnation's (another boot, or a higher generation): fence.
    Foreign(String),
    /// An own sector was damaged and is written again from memory.
    Mended(String),
    /// The set of own leases changed: the page's list ([`Leases::own_leases`](super::Leases::own_leases)) must be published.
    OwnChanged,
    /// A page was read: what [`Recoveries`](crate::recovery::Recoveries) looks for work in, and `lease list` shows.
    Scanned(PageScan),
    /// A sentence for the log.
    Note(String),
}

/// The numbers that bound failing starts and pace the background work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeasePolicy {
    /// The owner zeroes failures and deaths after this much running, by its own clock.
    pub forgive_after: std::time::Duration,
    /// An entry goes on hold at this many deaths.
    pub hold_at_deaths: u8,
    /// Longest back-off between failing starts (2^failures s below it).
    pub longest_back_off: std::time::Duration,
    /// Between re-reads of the own sectors.
    pub reread_interval: std::time::Duration,
    /// Between looks for entries that may be dropped.
    pub drop_interval: std::time::Duration,
    /// Tries of an acquire until it gives up.
    pub tries: u8,
    /// The first random back-off of an acquire lies below this; it doubles with each try.
    pub first_back_off: std::time::Duration,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        use std::time::Duration;
        Self {
            forgive_after: Duration::from_secs(600),
            hold_at_deaths: 2,
            longest_back_off: Duration::from_secs(300),
            reread_interval: Duration::from_secs(5),
            drop_interval: Duration::from_secs(30),
            tries: 8,
            first_back_off: Duration::from_millis(100),
        }
    }
}
