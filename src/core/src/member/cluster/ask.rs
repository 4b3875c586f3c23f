//! What can be asked of all hosts of a cluster at once, and its bit in the asker's record.

use std::time::Duration;

use crate::evidence::Verdict;
use crate::format::{HostState, RecordFlags};
use crate::planted::planted;
use crate::watch::HostReport;

/// A host that is gone comes back within this where its agent is still there: between its receipt and `joining` it looks at its slot.
const STILL_FOR: Duration = Duration::from_secs(15);

/// Maintenance of the whole cluster (PROTOCOL 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClusterAsk {
    /// Every host is to disarm.
    Disarm,
    /// Every host is to be armed again.
    Arm,
}

/// What has come of it at one host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Followed {
    /// Its record says so.
    Yes,
    /// It takes no part in the cluster: it guards nothing, and reads nothing.
    Absent,
    /// Not, or not yet.
    No,
}

impl ClusterAsk {
    /// What a record asks for; a record with both bits asks for nothing (R8).
    pub(super) fn of(flags: RecordFlags) -> Option<Self> {
        match (flags.contains(RecordFlags::ASKS_DISARM), flags.contains(RecordFlags::ASKS_ARM)) {
            (true, false) => Some(Self::Disarm),
            (false, true) => Some(Self::Arm),
            (true, true) | (false, false) => None,
        }
    }

    /// Its bit in the asker's record.
    pub(super) fn bit(self) -> RecordFlags {
        match self {
            Self::Disarm => RecordFlags::ASKS_DISARM,
            Self::Arm => RecordFlags::ASKS_ARM,
        }
    }

    /// What is asked for, which is also the command that does it on one host.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Disarm => "disarm",
            Self::Arm => "arm",
        }
    }

    /// What a host is that has done it.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Disarm => "disarmed",
            Self::Arm => "armed",
        }
    }

    /// Whether another host has done it, as its record was read last. A record says `disarmed` some seconds before the fencer lets
    /// go, and until then its lease may still end: only what says that it has let go is in maintenance. A host that is gone, or
    /// stands still while it joins, holds up nobody: but not one that has just fenced itself and is about to come back, nor one whose
    /// fencer guards since its last record, until that lease must be over. One that says `held` on its way to `disarmed` is not armed.
    pub(super) fn followed(self, report: &HostReport) -> Followed {
        let record = report.record.as_ref();
        let says = |state: HostState| record.is_some_and(|record| record.state == state);
        let let_go = record.is_some_and(|record| record.flags.contains(RecordFlags::LET_GO));
        let still_for = |needed| report.last_change_age.is_none_or(|age| age >= needed);
        let ttl = record.map(|record| record.terms.lease_ttl).unwrap_or_default();
        match (self, &report.view.verdict) {
            (_, Verdict::Gone { .. }) if still_for(STILL_FOR) => Followed::Absent,
            (_, Verdict::Joining { advances: false }) if still_for(ttl + STILL_FOR) => Followed::Absent,
            (Self::Disarm, Verdict::Disarmed) if let_go || planted!(AnsweredBeforeLetGo) => Followed::Yes,
            (Self::Arm, Verdict::Alive) if says(HostState::Held) && !is_weakening(report) => Followed::Yes,
            _ => Followed::No,
        }
    }
}

/// True of a host whose record says `held` while it is on its way to `disarmed` or `released`.
pub(super) fn is_weakening(report: &HostReport) -> bool {
    report.record.as_ref().is_some_and(|record| record.flags.contains(RecordFlags::WEAKENS))
}
