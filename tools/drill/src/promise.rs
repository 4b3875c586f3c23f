//! What the terms promise of a fence, and by when it must be seen here.

use std::time::Duration;

use leasefence_api::Terms;
use serde::Serialize;

/// A peer's conviction is seen through its next record, by a look each [`crate::watch::LOOK`]: what that adds, and what a busy machine may.
const SEEING: Duration = Duration::from_secs(1);

/// The times that a host's terms promise (ARCHITECTURE 3), and when this host sees them kept. All in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Promise {
    /// From before the last renewal to the lease's end.
    pub lease_ttl_ms: u64,
    /// From the lease's end until all domains are killed and their storage is quiet.
    pub fence_budget_ms: u64,
    /// From the last renewal to a peer's verdict, at the earliest.
    pub verdict_after_ms: u64,
    /// The same at the latest: `verdict_after + scan_interval`.
    pub takeover_ms: u64,
    /// By when such a verdict must be seen here: the peer writes it with its next renewal.
    pub verdict_seen_ms: u64,
    /// The longest stall that ends no lease: `lease_ttl - renewal_interval`.
    pub stall_survived_ms: u64,
    /// From CLEAN to the receipt being seen here: a write, and `write_drain` where the storage was cut off by force.
    pub receipt_seen_ms: u64,
    /// How long to stall or freeze: past the takeover, so that peers act on their own.
    pub hold_ms: u64,
    /// The longest that the host may take to hold a lease again, from the proof: it watches for a clone of itself for a verdict, and more.
    pub return_ms: u64,
    /// The longest that a peer may take to start the canary, from the proof: `start_timeout` and a barrier.
    pub restart_ms: u64,
}

impl Promise {
    /// What follows from terms, and from the longest that libvirt may take for a start.
    #[must_use]
    pub fn of(terms: &Terms, start_timeout: Duration) -> Self {
        let seeing = leasefence_api::words::ms(SEEING);
        let takeover_ms = terms.verdict_after_ms + terms.scan_interval_ms;
        let renewal = terms.renewal_interval_ms;
        Self {
            lease_ttl_ms: terms.lease_ttl_ms,
            fence_budget_ms: terms.fence_budget_ms,
            verdict_after_ms: terms.verdict_after_ms,
            takeover_ms,
            verdict_seen_ms: takeover_ms + renewal + seeing,
            stall_survived_ms: terms.lease_ttl_ms.saturating_sub(renewal),
            receipt_seen_ms: terms.write_drain_ms + renewal + seeing,
            hold_ms: takeover_ms + 2 * terms.scan_interval_ms + 2 * renewal,
            return_ms: 2 * takeover_ms + terms.fence_budget_ms + 60_000,
            restart_ms: leasefence_api::words::ms(start_timeout) + terms.write_drain_ms + takeover_ms,
        }
    }

    /// When the host must be killed and quiet, from its last renewal.
    #[must_use]
    pub fn fenced_by_ms(&self) -> u64 {
        self.lease_ttl_ms + self.fence_budget_ms
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn terms() -> Terms {
        Terms {
            lease_ttl_ms: 12_000,
            fence_budget_ms: 3_500,
            write_drain_ms: 1_000,
            renewal_interval_ms: 750,
            scan_interval_ms: 750,
            clock_drift_ppm: 500,
            watchdog_actual_ms: 6_000,
            verdict_after_ms: 16_517,
        }
    }

    #[test]
    fn a_stall_is_longer_than_the_takeover_and_no_longer_than_the_agent_allows() {
        let promise = Promise::of(&terms(), Duration::from_secs(120));
        assert_eq!(promise.takeover_ms, 17_267);
        assert!(promise.hold_ms > promise.takeover_ms && promise.hold_ms < 2 * promise.takeover_ms);
        assert_eq!(promise.fenced_by_ms(), 15_500);
    }
}
