//! Until when domains may be started here: what the agent's half of the page says, for the threads that start them. A
//! start may have waited for shared storage or libvirt for minutes since it was permitted. Whoever asks never waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasefence_core::fencing::{AgentHalf, Wish};
use leasefence_core::time::{HolderDeadline, Instant};

/// The end of the lease as last published; none while nothing may start.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseEnd(Arc<Mutex<Option<HolderDeadline>>>);

impl LeaseEnd {
    /// The half was published.
    pub(crate) fn published(&self, half: &AgentHalf) {
        *self.lock() = (half.wish == Wish::Armed).then_some(half.lease_end);
    }

    /// True when nothing may be started any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.lock().is_none_or(|end| end.reached(now))
    }

    fn lock(&self) -> MutexGuard<'_, Option<HolderDeadline>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
