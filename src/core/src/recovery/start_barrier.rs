//! What the start of a domain waits for that was taken from a gone host, whoever starts it here.

use std::time::Duration;

use crate::time::{Instant, ObserverDeadline};

/// The wait before such a start: a barrier on every storage of the domain's disks, asked for once its entry is acknowledged, and
/// where storage was slow one `write_drain` more (R6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartBarrier {
    /// The barrier was asked for at this instant, which is its mark.
    Asked(Instant),
    /// It is acknowledged; what is still to be waited for ends at this instant.
    Draining(Instant),
}

impl StartBarrier {
    /// True when the answer to a barrier of this mark is waited for. One that was asked for earlier, by a start that was given up
    /// or for an entry's end, is no answer.
    #[must_use]
    pub fn awaits(self, asked: Instant) -> bool {
        self == Self::Asked(asked)
    }

    /// True once the start may come.
    #[must_use]
    pub fn is_over(self, now: Instant) -> bool {
        matches!(self, Self::Draining(until) if ObserverDeadline(until).reached(now))
    }

    /// When it ends by itself: as passed, or, after so long without an answer, as failed.
    #[must_use]
    pub fn due(self, patience: Duration) -> Instant {
        match self {
            Self::Asked(asked) => asked.plus(patience),
            Self::Draining(until) => until,
        }
    }
}
