//! Random back-off from a seed: the core draws no random number of its own.

use std::time::Duration;

/// A small generator (splitmix64): its numbers only spread tries in time, and nothing's safety rests on them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct BackOff(u64);

impl BackOff {
    /// The sequence that belongs to this seed.
    #[must_use]
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A duration below `first` x 2^`tries`.
    pub(super) fn draw(&mut self, first: Duration, tries: u8) -> Duration {
        let longest = first.saturating_mul(1_u32.checked_shl(tries.into()).unwrap_or(u32::MAX));
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.next() % micros)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
