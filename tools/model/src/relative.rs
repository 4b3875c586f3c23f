//! The canonical form of a state: each host's instants relative to its now, ages beyond the largest threshold clamped;
//! the numbers of writes as small as their order and parity allow. It decides nothing about the protocol.

use std::time::Duration;

use leasefence_core::ids::Sequence;
use leasefence_core::marks::{Mark, Marks};
use leasefence_core::time::{Instant, Now};
use leasefence_core::unknown::NEVER;

/// What every host's clocks say in a canonical state, in nanoseconds: far enough from zero for any age.
const ORIGIN_NS: u64 = 1 << 40;

/// Now, in every canonical state.
pub(crate) fn now() -> Now {
    Now { instant: Instant { boot_ns: ORIGIN_NS, raw_ns: ORIGIN_NS }, suspended_ns: 0, wall_ns: 0 }
}

/// Lets `boot` pass on `CLOCK_BOOTTIME` and `raw` on `CLOCK_MONOTONIC_RAW`: everything in `state` gets that much older, and
/// what is older than `oldest` is as old as that. An instant that was never set stays so.
pub(crate) fn age(state: &mut impl Marks, boot: Duration, raw: Duration, oldest: Duration) {
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let floor = ORIGIN_NS.saturating_sub(ns(oldest));
    state.each_mark(&mut |mark| {
        if let Mark::Instant(instant) = mark
            && *instant != NEVER
            && *instant != Instant::default()
        {
            instant.boot_ns = instant.boot_ns.saturating_sub(ns(boot)).max(floor);
            instant.raw_ns = instant.raw_ns.saturating_sub(ns(raw)).max(floor);
        }
    });
}

/// The sequences of a state, in order.
#[derive(Default)]
pub(crate) struct Sequences(Vec<u64>);

impl Sequences {
    /// Takes those of a part.
    pub(crate) fn of(&mut self, part: &mut impl Marks) {
        part.each_mark(&mut |mark| {
            if let Mark::Sequence(sequence) = mark {
                self.0.push(sequence.0);
            }
        });
    }

    /// What each becomes: the smallest number of its parity above the one before it. None when nothing changes.
    pub(crate) fn renumbered(mut self) -> Option<Renumbered> {
        self.0.sort_unstable();
        self.0.dedup();
        let mut pairs = Vec::with_capacity(self.0.len());
        let mut next = 0_u64;
        for old in self.0 {
            let new = next + (next % 2).abs_diff(old % 2);
            pairs.push((old, new));
            next = new + 1;
        }
        pairs.iter().any(|(old, new)| old != new).then_some(Renumbered(pairs))
    }
}

/// Old and new numbers.
pub(crate) struct Renumbered(Vec<(u64, u64)>);

impl Renumbered {
    /// Renumbers a part.
    pub(crate) fn apply(&self, part: &mut impl Marks) {
        part.each_mark(&mut |mark| {
            if let Mark::Sequence(sequence) = mark
                && let Ok(at) = self.0.binary_search_by_key(&sequence.0, |(old, _)| *old)
            {
                *sequence = Sequence(self.0[at].1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_order_and_parity_and_become_small() {
        let mut state = [Sequence(7), Sequence(41), Sequence(8), Sequence(7), Sequence(44)];
        let mut sequences = Sequences::default();
        sequences.of(&mut state);
        sequences.renumbered().unwrap().apply(&mut state);
        assert_eq!(state, [1, 3, 2, 1, 4].map(Sequence));
    }

    #[test]
    fn ages_grow_up_to_the_oldest_that_matters() {
        let ms = Duration::from_millis;
        let mut instant = now().instant;
        age(&mut instant, ms(3), ms(2), ms(5));
        assert_eq!(
            (now().instant.since_by_faster(instant), now().instant.since_by_slower(instant)),
            (ms(3), ms(2))
        );
        age(&mut instant, ms(7), ms(7), ms(5));
        assert_eq!(
            (now().instant.since_by_faster(instant), now().instant.since_by_slower(instant)),
            (ms(5), ms(5))
        );
    }
}
