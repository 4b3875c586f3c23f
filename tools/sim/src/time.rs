//! The world's time: nanoseconds since the seed's beginning. No real clock is read anywhere in this crate but by the
//! command line, to report speed.

use std::time::Duration;

/// A millisecond.
pub const MS: u64 = 1_000_000;
/// A second.
pub const S: u64 = 1_000_000_000;

/// A duration in nanoseconds; durations here are short.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
