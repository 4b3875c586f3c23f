//! The one place where Leasefence reads the kernel's clocks, so that R4 is kept in one place.

use leasefence_core::time::{Instant, Now};
use nix::time::{ClockId, clock_gettime};

/// Reads both clocks, the suspend offset and wall time.
///
/// The offset `BOOTTIME - MONOTONIC` is taken between two readings of MONOTONIC that lie within 1 ms of each other:
/// being preempted between two reads is no suspend (R4). After 16 tries on a very busy host the closest triple counts.
///
/// # Panics
/// If the kernel lacks one of these clocks, all of which Linux has had since 2.6.39.
#[must_use]
pub fn now() -> Now {
    let mut best: Option<(u64, u64)> = None;
    for _ in 0..16 {
        let before = read(ClockId::CLOCK_MONOTONIC);
        let boot = read(ClockId::CLOCK_BOOTTIME);
        let after = read(ClockId::CLOCK_MONOTONIC);
        let width = after - before;
        if best.is_none_or(|(narrowest, _)| width < narrowest) {
            best = Some((width, boot.saturating_sub(before)));
        }
        if width < 1_000_000 {
            break;
        }
    }
    Now {
        instant: instant(),
        suspended_ns: best.map_or(0, |(_, offset)| offset),
        wall_ns: read(ClockId::CLOCK_REALTIME),
    }
}

/// Reads the two clocks that deadlines are measured by.
///
/// # Panics
/// As [`now`].
#[must_use]
pub fn instant() -> Instant {
    Instant { boot_ns: read(ClockId::CLOCK_BOOTTIME), raw_ns: read(ClockId::CLOCK_MONOTONIC_RAW) }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    let seconds = u64::try_from(time.tv_sec()).expect("clocks do not run below zero");
    let nanos = u64::try_from(time.tv_nsec()).expect("nanoseconds are not negative");
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_no_suspend_is_seen_on_a_machine_that_is_awake() {
        let first = now();
        for _ in 0..1000 {
            let next = now();
            assert!(
                next.instant.boot_ns >= first.instant.boot_ns && next.instant.raw_ns >= first.instant.raw_ns
            );
            assert!(!next.suspended_since(&first));
        }
    }
}
