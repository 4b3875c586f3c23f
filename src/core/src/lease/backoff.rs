//! Random back-off from a seed.

use std::time::Duration;

use crate::seeded::Seeded;

/// Spreads tries in time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct BackOff(Seeded);

impl BackOff {
    /// The sequence that belongs to this seed.
    #[must_use]
    pub(super) fn new(seed: u64) -> Self {
        Self(Seeded::new(seed))
    }

    /// A duration below `first` x 2^`tries`.
    pub(super) fn draw(&mut self, first: Duration, tries: u8) -> Duration {
        let longest = first.saturating_mul(1_u32.checked_shl(tries.into()).unwrap_or(u32::MAX));
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.0.below(micros))
    }
}
