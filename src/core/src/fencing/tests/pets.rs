//! The pet rule: now + the watchdog's time-out + reset latency must not pass the lease's end + budget.

use super::*;

/// End 8000, budget 2000, watchdog 3000, reset latency 500: the last pet may be at 6500.
const LAST: u64 = 6500;

#[test]
fn a_pet_must_leave_room_for_the_reset_within_the_budget() {
    let host = Host::armed();
    assert!(host.fencer.may_pet(at(LAST), at(LAST)));
    assert!(!host.fencer.may_pet(at(LAST + 1), at(LAST)));
}

#[test]
fn a_device_that_holds_longer_than_the_page_says_is_petted_for_less_long() {
    let mut host = Host::armed();
    host.fencer.watchdog_holds(Duration::from_millis(4000));
    assert!(host.fencer.may_pet(at(LAST - 1000), at(0)));
    assert!(!host.fencer.may_pet(at(LAST - 999), at(0)), "the page says 3000");
    host.fencer.watchdog_holds(Duration::from_millis(2000));
    assert!(!host.fencer.may_pet(at(LAST + 1), at(0)), "nor for longer than the page says");
}

#[test]
fn an_end_that_was_latched_early_moves_the_last_pet() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.agent.lease_end = end(3000);
    host.beat_at(&now(3000));
    assert!(!host.fencer.may_pet(at(3000), at(2900)), "3000 + 2000 - 3500 has passed");
}

#[test]
fn a_clean_host_is_kept_alive_as_long_as_it_is_seen_clean() {
    let mut host = Host::armed();
    host.beat(8000);
    assert!(host.is_clean());
    host.beat(60_000);
    assert!(host.fencer.may_pet(at(60_001), at(59_750)));
    assert!(!host.fencer.may_pet(at(60_501), at(60_250)), "not seen clean since the last pet");
    host.processes = vec![process(1, 61_000)];
    host.beat_at(&now(61_000));
    assert!(!host.fencer.may_pet(at(61_000), at(60_750)), "somebody runs");
}

/// Catches: a finder that is lost on a host that is CLEAN since long, and a watchdog that bites for it.
#[test]
fn a_clean_host_is_kept_alive_though_nobody_searches_and_killed_is_who_is_seen() {
    let mut host = Host::armed();
    host.beat(8000);
    host.searches = Some(None);
    host.beat(60_000);
    assert!(host.fencer.may_pet(at(60_001), at(59_750)));
    host.processes = vec![process(1, 61_000)];
    host.beat_at(&now(61_000));
    assert_eq!(host.killed, [process(1, 61_000)]);
    assert!(!host.fencer.may_pet(at(61_000), at(60_750)), "somebody runs");
    host.processes.clear();
    host.scan_works = false;
    host.beat_at(&now(62_000));
    assert!(!host.fencer.may_pet(at(62_000), at(61_750)), "the files cannot be read");
}

#[test]
fn never_armed_or_disarmed_it_pets() {
    let mut host = Host::new();
    assert!(host.fencer.may_pet(at(1_000_000), at(0)));
    host.arm(0);
    host.agent.wish = Wish::Disarm;
    host.renew(1000);
    assert!(host.fencer.may_pet(at(1_000_000), at(0)));
}
