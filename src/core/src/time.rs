//! A host's two clocks, and the two ways of believing them (R3, R4).
//!
//! NTP may slew `CLOCK_BOOTTIME`; suspend stops `CLOCK_MONOTONIC_RAW`. So an [`Instant`] is a reading of both, and
//! there is no way to compare two of them but as a holder (the faster clock counts) or as an observer (the slower).
//! This module never reads a clock.

use std::time::Duration;

use crate::planted::planted;

/// A change of `BOOTTIME - MONOTONIC` beyond this is a suspend, and ends the lease at once (R4).
pub const SUSPEND_TOLERANCE: Duration = Duration::from_millis(10);

/// One moment on this host's two clocks, in nanoseconds. Never comparable with another host's (R2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Instant {
    /// `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// `CLOCK_MONOTONIC_RAW`.
    pub raw_ns: u64,
}

/// All that enters the core about time: one instant, the suspend offset, and wall time for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Now {
    /// The two clocks.
    pub instant: Instant,
    /// `CLOCK_BOOTTIME - CLOCK_MONOTONIC` in nanoseconds: constant while the host is not suspended.
    pub suspended_ns: u64,
    /// Wall time in nanoseconds since 1970. For people only (R2).
    pub wall_ns: u64,
}

impl Instant {
    /// The instant `duration` later on both clocks.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self { boot_ns: self.boot_ns.saturating_add(ns), raw_ns: self.raw_ns.saturating_add(ns) }
    }

    /// How much time a holder must assume has passed since `earlier`: by the faster clock (R4).
    #[must_use]
    pub fn since_by_faster(self, earlier: Self) -> Duration {
        let (boot, raw) = self.since(earlier);
        boot.max(raw)
    }

    /// How much time an observer may assume has passed since `earlier`: by the slower clock (R4).
    #[must_use]
    pub fn since_by_slower(self, earlier: Self) -> Duration {
        let (boot, raw) = self.since(earlier);
        boot.min(raw)
    }

    fn since(self, earlier: Self) -> (Duration, Duration) {
        let boot = Duration::from_nanos(self.boot_ns.saturating_sub(earlier.boot_ns));
        let raw = Duration::from_nanos(self.raw_ns.saturating_sub(earlier.raw_ns));
        (boot, if planted!(OneClock) { boot } else { raw })
    }
}

/// A deadline of one who must act by it (a holder, a fencer): reached as soon as *either* clock says so (R4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HolderDeadline(pub Instant);

impl HolderDeadline {
    /// True from the moment that the faster clock reaches the deadline.
    #[must_use]
    pub fn reached(self, now: Instant) -> bool {
        now.boot_ns >= self.0.boot_ns || (now.raw_ns >= self.0.raw_ns && !planted!(OneClock))
    }

    /// Time left by the clock that gets there first; zero once reached.
    #[must_use]
    pub fn left(self, now: Instant) -> Duration {
        let (boot, raw) = self.0.since(now);
        boot.min(raw)
    }

    /// The earlier of two deadlines, clock by clock.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self(Instant {
            boot_ns: self.0.boot_ns.min(other.0.boot_ns),
            raw_ns: self.0.raw_ns.min(other.0.raw_ns),
        })
    }
}

/// A deadline of one who must wait for it (an observer): reached only when *both* clocks say so (R4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ObserverDeadline(pub Instant);

impl ObserverDeadline {
    /// True from the moment that the slower clock reaches the deadline.
    #[must_use]
    pub fn reached(self, now: Instant) -> bool {
        now.boot_ns >= self.0.boot_ns && (now.raw_ns >= self.0.raw_ns || planted!(OneClock))
    }

    /// Time left by the clock that gets there last; zero once reached.
    #[must_use]
    pub fn left(self, now: Instant) -> Duration {
        let (boot, raw) = self.0.since(now);
        boot.max(raw)
    }
}

impl Now {
    /// True when the host was suspended between `earlier` and this reading (R4).
    #[must_use]
    pub fn suspended_since(&self, earlier: &Self) -> bool {
        u128::from(self.suspended_ns.abs_diff(earlier.suspended_ns)) > SUSPEND_TOLERANCE.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: u64, raw_ms: u64) -> Instant {
        Instant { boot_ns: boot_ms * 1_000_000, raw_ns: raw_ms * 1_000_000 }
    }

    #[test]
    fn the_holder_believes_the_faster_clock_and_the_observer_the_slower() {
        let (start, later) = (at(1000, 500), at(3000, 1500));
        assert_eq!(later.since_by_faster(start), Duration::from_millis(2000));
        assert_eq!(later.since_by_slower(start), Duration::from_millis(1000));
        let due = start.plus(Duration::from_millis(1500));
        assert!(HolderDeadline(due).reached(later), "one clock is enough for the holder");
        assert!(!ObserverDeadline(due).reached(later), "the observer waits for both");
        assert_eq!(HolderDeadline(due).left(later), Duration::ZERO);
        assert_eq!(ObserverDeadline(due).left(later), Duration::from_millis(500));
    }

    #[test]
    fn a_suspend_is_a_change_of_the_offset_by_more_than_the_tolerance() {
        let before = Now { suspended_ns: 5, ..Now::default() };
        let jitter = Now { suspended_ns: 10_000_005, ..Now::default() };
        let slept = Now { suspended_ns: 10_000_006, ..Now::default() };
        assert!(!jitter.suspended_since(&before));
        assert!(slept.suspended_since(&before));
    }
}
