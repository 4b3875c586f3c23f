//! From the core's verdicts and terms to the words and numbers of the API, the same for whoever observed: an agent, or
//! the command line reading the lease file itself. Nothing here decides but a verdict's class.

use std::time::Duration;

use leasefence_core::evidence::Verdict;

use crate::{HostState, Terms, VerdictClass};

/// Whole milliseconds, rounded down.
#[must_use]
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Wall time in nanoseconds since 1970, as whole milliseconds.
#[must_use]
pub fn wall_ms(wall_ns: u64) -> u64 {
    wall_ns / 1_000_000
}

/// The state, and for a host that is gone the evidence and since when it could be said.
#[must_use]
pub fn state(verdict: &Verdict) -> (HostState, Option<String>, Option<u64>) {
    match verdict {
        Verdict::Gone { evidence, since } => {
            (HostState::Gone, Some(evidence.as_str().to_owned()), Some(wall_ms(since.wall_ns)))
        }
        Verdict::Joining { .. } => (HostState::Joining, None, None),
        Verdict::Alive => (HostState::Alive, None, None),
        Verdict::Fencing { .. } => (HostState::Fencing, None, None),
        Verdict::Stalled { .. } => (HostState::Stalled, None, None),
        Verdict::Disarmed => (HostState::Disarmed, None, None),
        Verdict::Unknown(_) => (HostState::Unknown, None, None),
    }
}

/// What a verdict means for whoever asked: alive are also a host in maintenance and one that joins and advances.
#[must_use]
pub fn class(verdict: &Verdict) -> VerdictClass {
    match verdict {
        Verdict::Gone { .. } => VerdictClass::MayStart,
        Verdict::Alive | Verdict::Disarmed | Verdict::Joining { advances: true } => VerdictClass::Alive,
        Verdict::Joining { advances: false }
        | Verdict::Fencing { .. }
        | Verdict::Stalled { .. }
        | Verdict::Unknown(_) => VerdictClass::NotProvable,
    }
}

/// A host's terms.
#[must_use]
pub fn terms(terms: &leasefence_core::terms::Terms) -> Terms {
    Terms {
        lease_ttl_ms: ms(terms.lease_ttl),
        watchdog_actual_ms: ms(terms.watchdog_actual),
        fence_budget_ms: ms(terms.fence_budget),
        write_drain_ms: ms(terms.write_drain),
        renewal_interval_ms: ms(terms.renewal_interval),
        scan_interval_ms: ms(terms.scan_interval),
        clock_drift_ppm: terms.drift_ppm,
        verdict_after_ms: ms(terms.verdict_after()),
    }
}
