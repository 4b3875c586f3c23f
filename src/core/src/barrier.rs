//! One barrier: which places a write must have passed before it counts (ARCHITECTURE 6, 7). Whoever writes it asks here where
//! to write next, and whether that is all; nothing here writes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::planted::planted;

/// A barrier under way over all places that carry a disk of a domain: directories and devices, or whatever stands for them. One
/// place after the other acknowledges it, and it counts once the last one has: what drains late on one of them is no less a
/// write of the dead host than what lies on the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BarrierWalk<P> {
    left: BTreeSet<P>,
    slowest: Duration,
}

impl<P: Ord> BarrierWalk<P> {
    /// Over these, each once and in their order.
    #[must_use]
    pub fn over(places: impl IntoIterator<Item = P>) -> Self {
        Self { left: places.into_iter().collect(), slowest: Duration::ZERO }
    }

    /// Where to write now; none once all have acknowledged, and not before that there is a barrier.
    #[must_use]
    pub fn next_place(&self) -> Option<&P> {
        self.left.first()
    }

    /// The place that came next has acknowledged, so long after the write was begun.
    pub fn acknowledged(&mut self, took: Duration) {
        self.slowest = self.slowest.max(took);
        self.left.pop_first();
        if planted!(BarrierOnOneStorage) {
            self.left.clear();
        }
    }

    /// How long the slowest took of those that have acknowledged.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.slowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_barrier_counts_once_every_storage_has_acknowledged_it() {
        let mut walk = BarrierWalk::over(["b", "a", "b"]);
        for (place, took) in [("a", 40 * MS), ("b", 3 * MS)] {
            assert_eq!(walk.next_place(), Some(&place), "one is left");
            walk.acknowledged(took);
        }
        assert_eq!((walk.next_place(), walk.slowest()), (None, 40 * MS), "each once, and the slowest counts");
    }

    #[test]
    fn where_nothing_is_to_be_passed_nothing_is_waited_for() {
        let walk = BarrierWalk::<u8>::over([]);
        assert_eq!((walk.next_place(), walk.slowest()), (None, Duration::ZERO));
    }
}
