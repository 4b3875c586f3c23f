//! The pause after a failed step: storage that stalls is asked again, not hammered.

use std::time::Duration;

use crate::storage::IoError;
use crate::time::{Instant, ObserverDeadline};

const PAUSE: Duration = Duration::from_secs(1);

/// When the next try may start, and why there must be one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
    why: Option<IoError>,
}

impl Pause {
    /// A step failed at `ended`.
    pub(super) fn after(&mut self, ended: Instant, why: &IoError) {
        *self = Self { until: Some(ended.plus(PAUSE)), why: Some(why.clone()) };
    }

    /// The instant to wait for, while there is one.
    pub(super) fn left(&mut self, now: Instant) -> Option<Instant> {
        self.until = self.until.filter(|until| !ObserverDeadline(*until).reached(now));
        self.until
    }

    /// The last failure, for people.
    pub(super) fn why(&self) -> Option<&IoError> {
        self.why.as_ref()
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Pause {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.until.each_mark(f);
    }
}
