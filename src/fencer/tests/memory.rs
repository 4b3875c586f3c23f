//! The fencer's memory: all of it locked, little of it, and none asked for between arming and CLEAN (R7).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;

use common::{Host, Process, SOON, TTL, fencer_half, in_namespace, wait_until};

/// Locked at the most, in MiB. A build with debug assertions is larger than what is shipped, whose goal is 4.
const MOST_LOCKED: u64 = 8;

fn status_of(process: &Process, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The build under test counts the calls of its heap and says so after CLEAN.
#[test]
fn between_arming_and_clean_the_fencing_thread_asks_the_heap_for_nothing() {
    if !in_namespace("between_arming_and_clean_the_fencing_thread_asks_the_heap_for_nothing") {
        return;
    }
    let mut host = Host::new();
    let fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut domains = [1, 2, 3, 4].map(|number| host.start_domain(number));
    host.wait_for_scan_of(&mut page, &domains[3]);
    host.arm(&mut page, 5 * SOON);
    // What comes and goes while it is armed counts too: a guest more, one that ends, one that its user starts again.
    let mut late = host.start_domain(5);
    host.wait_for_scan_of(&mut page, &late);
    domains[0].die();
    let mut again = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &again);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    domains[1..].iter_mut().chain([&mut late, &mut again]).for_each(|domain| {
        domain.assert_killed(SOON);
    });
    let count = || {
        let log = host.log();
        let line = log.lines().find(|line| line.contains("calls of the heap since arming"))?.to_owned();
        Some(line)
    };
    wait_until("counted", TTL, || count().is_some());
    let line = count().unwrap();
    assert!(line.contains("arming: 0 by the fencing thread"), "{line}\n{}", host.log());
    let (locked, resident) = (status_of(&fencer, "VmLck:"), status_of(&fencer, "VmRSS:"));
    println!("{line}\nlocked {locked} kB, resident {resident} kB");
    assert!(locked <= MOST_LOCKED * 1024, "{locked} kB are locked");
}
