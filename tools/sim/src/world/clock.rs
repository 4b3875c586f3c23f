//! A host's clocks over the world's time: an offset, the drift of its oscillator, a slew of one of the two, suspends.

use leasefence_core::time::{Instant, Now};

use crate::time::S;

const MILLION: i64 = 1_000_000;

/// The clocks of one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// The moment in the world's time from which the rest counts.
    base: u64,
    boot_ns: u64,
    raw_ns: u64,
    suspended_ns: u64,
    wall_ahead_ns: i64,
    drift_ppm: i32,
    slew_ppm: i32,
}

impl Clock {
    /// Both clocks at `offset`.
    pub(crate) fn new(at: u64, offset: u64, drift_ppm: i32) -> Self {
        Self { base: at, boot_ns: offset, raw_ns: offset, drift_ppm, ..Self::default() }
    }

    /// What the host reads.
    pub(crate) fn now(&self, at: u64) -> Now {
        let passed = at.saturating_sub(self.base);
        let instant = Instant {
            boot_ns: self.boot_ns + scaled(passed, self.drift_ppm + self.slew_ppm),
            raw_ns: self.raw_ns + scaled(passed, self.drift_ppm),
        };
        let wall_ns = (1_800_000_000 * S).saturating_add(at).saturating_add_signed(self.wall_ahead_ns);
        Now { instant, suspended_ns: self.suspended_ns, wall_ns }
    }

    /// From now on `CLOCK_BOOTTIME` runs so much faster or slower than the oscillator.
    pub(crate) fn slew(&mut self, at: u64, ppm: i32) {
        self.settle(at);
        self.slew_ppm = ppm;
    }

    /// Wall time jumps; nothing may depend on it (R2).
    pub(crate) fn step_wall(&mut self, seconds: i32) {
        self.wall_ahead_ns += i64::from(seconds) * 1_000_000_000;
    }

    /// The host slept from `since` to `at`: `CLOCK_MONOTONIC_RAW` stood still.
    pub(crate) fn slept(&mut self, since: u64, at: u64) {
        self.settle(since);
        let slept = at.saturating_sub(since);
        self.boot_ns += slept;
        self.suspended_ns += slept;
        self.base = at;
    }

    fn settle(&mut self, at: u64) {
        let instant = self.now(at).instant;
        (self.base, self.boot_ns, self.raw_ns) = (at, instant.boot_ns, instant.raw_ns);
    }
}

fn scaled(passed: u64, ppm: i32) -> u64 {
    let rate = u64::try_from(MILLION + i64::from(ppm)).unwrap_or_default();
    // Whole seconds and the rest apart: no product overflows.
    (passed / S) * rate * 1_000 + (passed % S) * rate / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slew_moves_one_clock_and_a_sleep_stops_the_other() {
        let mut clock = Clock::new(0, 5 * S, 0);
        clock.slew(S, 100_000);
        let slewed = clock.now(2 * S).instant;
        assert_eq!((slewed.boot_ns, slewed.raw_ns), (7 * S + S / 10, 7 * S));
        clock.slept(2 * S, 12 * S);
        let now = clock.now(12 * S);
        assert_eq!((now.instant.boot_ns, now.instant.raw_ns), (17 * S + S / 10, 7 * S));
        assert_eq!(now.suspended_ns, 10 * S);
    }

    #[test]
    fn drift_is_in_parts_per_million() {
        let clock = Clock::new(0, 0, -500);
        assert_eq!(clock.now(10 * S).instant.raw_ns, 10 * S - 5_000_000);
    }
}
