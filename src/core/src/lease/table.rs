//! What is written when a lease is taken, and how an own entry ends: the tables, as functions from entry to entry.
//!
//! Always at the entry's own term, never a lower one. It neither knows whether the process is gone nor writes.

use super::types::{AcquireKind, DomainSpec, EndReason, LeaseContext, LeasePolicy};
use crate::format::{LeaseBase, LeaseEntry, LeaseFlags, LeaseState};
use crate::ids::{DomainId, Incarnation, Term};
use crate::planted::planted;

/// What bounds failing starts: the numbers by which an entry goes on hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HoldRule {
    /// Failing starts: twice as many as there are hosts.
    pub failures: u8,
    /// Deaths of hosts with it.
    pub deaths: u8,
}

impl HoldRule {
    /// The rule for so many hosts.
    #[must_use]
    pub fn new(policy: &LeasePolicy, hosts: u16) -> Self {
        let failures = u8::try_from(u32::from(hosts.max(1)) * 2).unwrap_or(u8::MAX);
        Self { failures, deaths: policy.hold_at_deaths }
    }

    /// The entry, on hold if it failed or its hosts died too often: nobody recovers it then until `leasefence ha resume`
    /// or a user's start.
    fn apply(self, entry: LeaseEntry) -> LeaseEntry {
        let hold = entry.failures >= self.failures || entry.deaths >= self.deaths;
        let flags = if hold { entry.flags.set(LeaseFlags::HOLD, true) } else { entry.flags };
        LeaseEntry { flags, ..entry }
    }
}

/// What an acquire takes: the top and what it was, as the second scan saw it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Taken {
    /// The term that was won.
    pub term: Term,
    /// What the top was.
    pub base: LeaseBase,
    /// The top, if there was one.
    pub top: Option<LeaseEntry>,
    /// The gone incarnation whose `own` the top was; none for an orphan, which must not convict a host that has rejoined.
    pub pred: Option<Incarnation>,
}

/// The entry that S4 writes.
#[must_use]
pub fn own_entry(
    domain: DomainId,
    kind: &AcquireKind,
    taken: &Taken,
    hold: HoldRule,
    ctx: &LeaseContext<'_>,
) -> LeaseEntry {
    let blank = LeaseEntry {
        domain,
        term: taken.term,
        state: LeaseState::Own,
        base: taken.base,
        pred: taken.pred,
        changed_s: ctx.wall_s(),
        ..LeaseEntry::default()
    };
    match kind {
        // Until its CPUs run here it is the source's; then nothing of it was ever stopped by a user.
        // It names the disk chain that comes in by libvirt's word, of which no snapshot is taken before it has moved: what its
        // source's entry names may be the older one. The definition that its source has stored of the same chain goes with it.
        AcquireKind::Incoming(spec) => {
            let source = taken.top.filter(|top| top.definition_hash == spec.definition_hash);
            let incoming = with_spec(blank, spec);
            LeaseEntry {
                state: LeaseState::Incoming,
                base: LeaseBase::Recoverable,
                definition_version: source.map_or(spec.definition_version, |top| top.definition_version),
                ..incoming
            }
        }
        // It is this host's own already, and stays what it is.
        AcquireKind::Retake => {
            LeaseEntry { term: taken.term, want_term: Term(0), pred: None, ..taken.top.unwrap_or(blank) }
        }
        // What a gone host said of it stands until it has been seen running here: a start that comes to nothing must leave an
        // orphan that is recovered as before. A user's start forgives its faults.
        AcquireKind::Plain(_) if taken.base == LeaseBase::Recoverable && taken.top.is_some() => {
            forgiven(carried_over(blank, &taken.top.unwrap_or_default(), false, hold))
        }
        AcquireKind::Plain(spec) | AcquireKind::Restore(spec) => with_spec(blank, spec),
        AcquireKind::Recovery { resumed } => {
            let top = taken.top.unwrap_or_default();
            carried_over(blank, &top, resumed.is_some_and(|term| term == top.term), hold)
        }
    }
}

/// The entry with what the caller says of the domain.
#[must_use]
pub(super) fn with_spec(entry: LeaseEntry, spec: &DomainSpec) -> LeaseEntry {
    let flags = entry.flags.set(LeaseFlags::PROTECTED, true).set(LeaseFlags::HA, spec.ha);
    LeaseEntry {
        flags,
        priority: spec.priority,
        vcpus: spec.vcpus,
        memory_mib: spec.memory_mib,
        definition_hash: spec.definition_hash,
        definition_version: spec.definition_version,
        ..entry
    }
}

/// Failures and deaths carry over from the top; one death more if its host died owning it.
fn carried_over(blank: LeaseEntry, top: &LeaseEntry, resumed: bool, hold: HoldRule) -> LeaseEntry {
    let died = u8::from(blank.pred.is_some());
    let entry = LeaseEntry {
        flags: top.flags.set(LeaseFlags::WANT_INCOMING, false),
        priority: top.priority,
        vcpus: top.vcpus,
        memory_mib: top.memory_mib,
        definition_hash: top.definition_hash,
        definition_version: top.definition_version,
        failures: top.failures,
        deaths: top.deaths.saturating_add(died),
        ..blank
    };
    if resumed { forgiven(entry) } else { hold.apply(entry) }
}

/// The entry without failures, deaths and hold: after ten minutes' running, a user's start, or `ha resume`.
#[must_use]
pub(super) fn forgiven(entry: LeaseEntry) -> LeaseEntry {
    LeaseEntry { failures: 0, deaths: 0, flags: entry.flags.set(LeaseFlags::HOLD, false), ..entry }
}

/// True when [`forgiven`] would change it.
#[must_use]
pub(super) fn has_faults(entry: &LeaseEntry) -> bool {
    entry.failures > 0 || entry.deaths > 0 || entry.flags.contains(LeaseFlags::HOLD)
}

/// How an own entry ends, at its own term.
#[must_use]
pub fn ended(entry: &LeaseEntry, reason: EndReason, hold: HoldRule, wall_s: u32) -> LeaseEntry {
    let ha = entry.flags.contains(LeaseFlags::HA);
    let state = match reason {
        EndReason::NeverRan => match entry.base {
            LeaseBase::Recoverable if planted!(FailedStartStopped) => LeaseState::Stopped,
            LeaseBase::Recoverable => LeaseState::Orphan,
            LeaseBase::Saved => LeaseState::Saved,
            LeaseBase::None | LeaseBase::Stopped => LeaseState::Stopped,
        },
        EndReason::Saved => LeaseState::Saved,
        EndReason::Crashed if ha => LeaseState::Orphan,
        EndReason::MigratedAway { destination_seen: true } => LeaseState::Orphan,
        EndReason::Stopped | EndReason::Crashed | EndReason::MigratedAway { destination_seen: false } => {
            LeaseState::Stopped
        }
    };
    let failed = reason == EndReason::NeverRan && state == LeaseState::Orphan;
    // An orphan must not convict the host it was once taken from: that host may have rejoined.
    let ended = LeaseEntry {
        state,
        want_term: Term(0),
        pred: None,
        changed_s: wall_s,
        failures: entry.failures.saturating_add(u8::from(failed)),
        ..*entry
    };
    if failed { hold.apply(ended) } else { ended }
}
