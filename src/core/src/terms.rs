//! A host's terms: the durations it promises to keep, and what follows from them (DESIGN 3).

use std::time::Duration;

/// Between a missed pet's deadline and the machine being reset: what the driver and firmware need.
pub const RESET_LATENCY: Duration = Duration::from_millis(500);
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
