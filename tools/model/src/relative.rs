//! The canonical form of a state: each host's instants relative to its now, ages beyond the largest threshold clamped;
//! the numbers of writes as small as their order and parity allow. It decides nothing about the protocol.

use std::time::Duration;

use leasefence_core::ids::Sequence;
use leasefence_core::marks::{Mark, Marks};
use leasefence_core::time::{Instant, Now};
use leasefence_core::unknown::NEVER;

use crate::fingerprint::fingerprint;

/// What every host's clocks say in a canonical state, in nanoseconds: far enough from zero for any age.
const ORIGIN_NS: u64 = 1 << 40;

/// Now, in every canonical state.
#[must_use]
pub(crate) fn now() -> Now {
    Now { instant: Instant { boot_ns: ORIGIN_NS, raw_ns: ORIGIN_NS }, suspended_ns: 0, wall_ns: 0 }
}

/// Ages beyond which nothing changes any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// Of any instant.
    pub(crate) oldest: Duration,
    /// Of those that are compared with the longest gap only.
    pub(crate) recent: Duration,
}

/// Lets `boot` pass on `CLOCK_BOOTTIME` and `raw` on `CLOCK_MONOTONIC_RAW`: everything in `state` gets that much older, and
/// what is older than the horizon is as old as that. An instant that was never set stays so.
pub(crate) fn age(state: &mut impl Marks, boot: Duration, raw: Duration, horizon: Horizon) {
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let floor = |age| ORIGIN_NS.saturating_sub(ns(age));
    state.each_mark(&mut |mark| {
        let (instant, floor) = match mark {
            Mark::Instant(instant) => (instant, floor(horizon.oldest)),
            Mark::Recent(instant) => (instant, floor(horizon.recent)),
            Mark::Sequence(_) | Mark::Generation(_) | Mark::Term(_) | Mark::Nonce(_) => return,
        };
        if *instant != NEVER && *instant != Instant::default() {
            instant.boot_ns = instant.boot_ns.saturating_sub(ns(boot)).max(floor);
            instant.raw_ns = instant.raw_ns.saturating_sub(ns(raw)).max(floor);
        }
    });
}

/// The sequences of a state or of a part of it, in order.
#[derive(Clone, Default)]
pub(crate) struct Sequences(Vec<u64>);

impl Sequences {
    /// Those of a part.
    pub(crate) fn of(part: &mut impl Marks) -> Self {
        let mut found = Vec::new();
        part.each_mark(&mut |mark| {
            if let Mark::Sequence(sequence) = mark {
                found.push(sequence.0);
            }
        });
        found.sort_unstable();
        found.dedup();
        Self(found)
    }

    /// What each becomes when these parts are all there is: the smallest number of its parity above the one before it.
    /// None when nothing changes.
    pub(crate) fn renumber<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Renumbered> {
        let mut all: Vec<u64> = parts.into_iter().flat_map(|part| part.0.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        let mut pairs = Vec::with_capacity(all.len());
        let mut next = 0_u64;
        for old in all {
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
    /// Its fingerprint.
    pub(crate) fn print(&self) -> u128 {
        fingerprint(&self.0)
    }

    /// True when a part with these sequences is not what it was.
    pub(crate) fn changes(&self, sequences: &Sequences) -> bool {
        self.0.iter().any(|(old, new)| old != new && sequences.0.binary_search(old).is_ok())
    }

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
        Sequences::renumber([&Sequences::of(&mut state)]).unwrap().apply(&mut state);
        assert_eq!(state, [1, 3, 2, 1, 4].map(Sequence));
    }

    #[test]
    fn ages_grow_up_to_the_oldest_that_matters() {
        let ms = Duration::from_millis;
        let horizon = Horizon { oldest: ms(5), recent: ms(2) };
        let mut instant = now().instant;
        age(&mut instant, ms(3), ms(2), horizon);
        assert_eq!(
            (now().instant.since_by_faster(instant), now().instant.since_by_slower(instant)),
            (ms(3), ms(2))
        );
        age(&mut instant, ms(7), ms(7), horizon);
        assert_eq!(
            (now().instant.since_by_faster(instant), now().instant.since_by_slower(instant)),
            (ms(5), ms(5))
        );
    }
}
