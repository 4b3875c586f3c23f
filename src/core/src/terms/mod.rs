//! A host's terms: the durations it promises to keep, and what follows from them.
//!
//! It owns the formulas that holder and observer share, so that no two places compute a verdict's time. It never
//! measures time; [`Setting`] says which terms are refused, and why.

mod bounds;
mod change;
mod preset;
mod report;

use std::time::Duration;

pub use bounds::{DEFAULT_UNKNOWN_HOLD, HeaderLimits, Setting, TermsError, kill_bound, quiesce_bound};
pub use change::{Change, Promise};
pub use preset::{Preset, Timing};
pub use report::{Derived, report};

use crate::planted::planted;
use crate::time::{HolderDeadline, Instant};

/// Between a missed pet's deadline and the machine being reset: what the driver and firmware need.
pub const RESET_LATENCY: Duration = Duration::from_millis(500);
/// The steps in which a watchdog counts: no call tells them, and no driver is known to be finer.
pub const WATCHDOG_GRANULE: Duration = Duration::from_secs(1);
/// Between two pets of the watchdog.
pub const PET_INTERVAL: Duration = Duration::from_millis(250);

/// What a host promises its observers, as written in its record: peers use the holder's numbers, not their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Terms {
    /// From before the last good renewal to the lease's end. Whole milliseconds, as are all of these.
    pub lease_ttl: Duration,
    /// From the lease's end until killed and quiesced, or reset.
    pub fence_budget: Duration,
    /// The longest that storage holds a write it has received before applying it.
    pub write_drain: Duration,
    /// Between renewals.
    pub renewal_interval: Duration,
    /// Between scans.
    pub scan_interval: Duration,
    /// Bound on each oscillator's drift, in parts per million.
    pub drift_ppm: u16,
    /// What the watchdog's driver returned, plus its granule; zero without a watchdog. Multiples of 10 ms.
    pub watchdog_actual: Duration,
}

/// Why a watchdog may be petted although the lease's end does not allow it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PetExemption {
    /// The fencer has proven CLEAN since the last pet.
    Clean,
    /// The host was never armed since it booted.
    NeverArmed,
    /// The host is disarmed (maintenance).
    Disarmed,
}

impl Terms {
    /// How long a record must have stood unchanged before an observer's read may start that proves `expired`:
    /// (`lease_ttl` + `fence_budget` + `write_drain`) x (1 + drift) / (1 - drift), rounded up to 1 ms (ARCHITECTURE 3).
    ///
    /// Holder and observer each trust an oscillator that may be off by `drift_ppm`, in opposite directions.
    #[must_use]
    pub fn verdict_after(&self) -> Duration {
        self.verdict_after_with_survival(Duration::ZERO)
    }

    /// [`verdict_after`](Self::verdict_after) where any valid copy names a survival maximum: the largest one is added
    /// to the ttl, from the first version on, so that older software stays safe beside newer (PROTOCOL 1).
    #[must_use]
    pub fn verdict_after_with_survival(&self, survival: Duration) -> Duration {
        let drain = if planted!(DrainLeftOut) { Duration::ZERO } else { self.write_drain };
        self.widened(self.lease_ttl + survival + self.fence_budget + drain)
    }

    /// How long after the end of the read that first showed `fencing` the verdict comes at the latest:
    /// (max(`fence_budget`, `watchdog_actual` + `reset_latency`) + `write_drain`) x (1 + drift) / (1 - drift) (PROTOCOL 3).
    #[must_use]
    pub fn cap_after_fencing(&self) -> Duration {
        self.widened(self.killed_after_latch() + self.write_drain)
    }

    /// How long after the latch the domains are killed, or the machine reset, at the latest: it may have been petted right
    /// before. max(`fence_budget`, `watchdog_actual` + `reset_latency`).
    #[must_use]
    pub fn killed_after_latch(&self) -> Duration {
        if planted!(CapIgnoresWatchdog) {
            return self.fence_budget;
        }
        self.fence_budget.max(self.watchdog_actual + RESET_LATENCY)
    }

    /// How long after the stall start an observer's own renewal must have been issued, to show that its read path was
    /// live when the holder's promise ended: ttl + budget (ARCHITECTURE 3).
    #[must_use]
    pub fn live_path_after(&self, survival: Duration) -> Duration {
        self.lease_ttl + survival + self.fence_budget
    }

    /// The longest gap between starts of an observer's good reads that lets a stall clock go on: a quarter of the
    /// watched host's ttl (PROTOCOL 3). The same quarter is the oldest beat of a fencer that still counts as alive.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.lease_ttl / 4
    }

    /// The lease's end that a renewal gives: counted from before it was issued (R3).
    #[must_use]
    pub fn lease_end(&self, issued: Instant) -> HolderDeadline {
        HolderDeadline(issued.plus(self.lease_ttl))
    }

    /// When the host must be killed and quiesced, or reset, at the latest.
    #[must_use]
    pub fn fenced_by(&self, lease_end: HolderDeadline) -> HolderDeadline {
        HolderDeadline(lease_end.0.plus(self.fence_budget))
    }

    /// The pet rule: a pet now is allowed only if the reset that would follow, were it the last, comes by
    /// `lease_end + fence_budget` (ARCHITECTURE 3). After an early latch, `lease_end` is the latched end.
    #[must_use]
    pub fn may_pet(&self, now: Instant, lease_end: HolderDeadline, exemption: Option<PetExemption>) -> bool {
        let reset_at = now.plus(self.watchdog_actual + RESET_LATENCY);
        let by = self.fenced_by(lease_end).0;
        exemption.is_some() || (reset_at.boot_ns <= by.boot_ns && reset_at.raw_ns <= by.raw_ns)
    }

    /// The longest that storage may stall without ending the lease: the renewal before the stall may have been issued
    /// just under one interval earlier. `lease_ttl - renewal_interval`.
    #[must_use]
    pub fn stall_survived(&self) -> Duration {
        self.lease_ttl.saturating_sub(self.renewal_interval)
    }

    /// The longest from a host's last renewal to a peer's verdict: its first sight of that renewal may come one
    /// `scan_interval` late; the verdict's own read is scheduled exactly. `verdict_after + scan_interval`.
    #[must_use]
    pub fn takeover(&self) -> Duration {
        self.verdict_after() + self.scan_interval
    }

    /// How much longer a takeover takes than the stall that is survived: takeover - stall survived.
    #[must_use]
    pub fn dead_time(&self) -> Duration {
        self.takeover().saturating_sub(self.stall_survived())
    }

    /// The figure of merit: takeover / stall survived (1 cannot be reached; sanlock's defaults give 2.4).
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.takeover().as_secs_f64() / self.stall_survived().as_secs_f64()
    }

    /// `duration` by the holder's slowest clock, as measured by the observer's fastest, rounded up to 1 ms.
    fn widened(&self, duration: Duration) -> Duration {
        const MILLION: u128 = 1_000_000;
        let drift = if planted!(DriftLeftOut) { 0 } else { u128::from(self.drift_ppm) };
        let ms = (duration.as_nanos() * (MILLION + drift)).div_ceil((MILLION - drift) * MILLION);
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
