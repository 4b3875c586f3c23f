//! How fast the time stamp counter runs, which an emulated machine reads as this one's. Its kernel would measure that while it boots, and
//! on a machine that is busy just then it has measured a twentieth: all its clocks ran twenty times too fast, and with them each
//! time-out on it.

use std::time::{Duration, Instant};

/// How long it is measured.
const MEASURED: Duration = Duration::from_millis(100);

/// Of so many readings at each end the one counts that was held up least.
const READINGS: usize = 20;

/// Its frequency in kHz, by this machine's clock.
#[must_use]
pub(crate) fn khz() -> u64 {
    let (from, begun) = reading();
    std::thread::sleep(MEASURED);
    let (to, ended) = reading();
    let microseconds = u64::try_from(ended.duration_since(begun).as_micros()).unwrap_or(u64::MAX);
    to.wrapping_sub(from) * 1000 / microseconds.max(1)
}

/// The counter, and when it was read.
fn reading() -> (u64, Instant) {
    let readings = (0..READINGS).map(|_| {
        let before = Instant::now();
        let counter = counter();
        (before.elapsed(), counter, before)
    });
    readings.min_by_key(|(took, ..)| *took).map_or((0, Instant::now()), |(_, counter, at)| (counter, at))
}

fn counter() -> u64 {
    // SAFETY: the instruction reads a register that every processor of this architecture has, and touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_each_time() {
        let (one, other) = (khz(), khz());
        assert!((500_000..10_000_000).contains(&one), "{one} kHz");
        assert!(one.abs_diff(other) < one / 100, "{one} and {other} kHz");
    }
}
