//! The reset rule: one beat before latched end + budget - reset latency, where no proof has come by then; and at that moment
//! by a thread of its own, where nobody beats any more.

use super::super::BEAT;
use super::*;

/// End 8000, budget 2000, reset latency 500, a beat 50.
const DUE: u64 = 9450;
/// Of the reset's own thread.
const DEADLINE: u64 = 9500;

/// Armed, with a guest that cannot be killed.
fn with_survivor() -> Host {
    let mut host = Host::armed();
    host.fencer.resets_host(true);
    host.processes = vec![process(1, 50)];
    host.beat_at(&now(8000));
    host
}

#[test]
fn a_survivor_resets_the_host_a_beat_and_a_reset_latency_before_the_budget_ends_and_not_sooner() {
    let mut host = with_survivor();
    host.beat_at(&now(DUE - 1));
    assert_eq!(host.resets, 0, "kill and quiescence have their time");
    host.beat_at(&now(DUE));
    assert_eq!(host.resets, 1);
    assert!(matches!(host.events.last(), Some(Event::Resets(..))), "{:?}", host.events);
}

#[test]
fn a_storage_that_was_not_shown_quiet_resets_it_too() {
    let mut host = Host::armed();
    host.fencer.resets_host(true);
    host.agent.quiesce = vec![QuiesceTarget { kind: StorageKind::Nfs, device: 1 }];
    host.renew(0);
    host.beat(8000);
    host.beat(DUE - 1);
    assert!(host.processes.is_empty() && host.resets == 0);
    host.beat(DUE);
    assert_eq!(host.resets, 1);
}

/// A storage without a proof is said at once; waiting does not help, but the guests' exits have their time.
#[test]
fn without_hope_of_a_proof_it_still_comes_when_it_is_due() {
    let mut host = Host::armed();
    host.fencer.resets_host(true);
    host.agent.quiesce = vec![QuiesceTarget { kind: StorageKind::Unprovable, device: 1 }];
    host.renew(0);
    host.beat(8000);
    host.beat(8050);
    assert!(host.published.unproven && host.resets == 0);
    assert!(host.fencer.pause(at(DUE - 20)) <= Duration::from_millis(20), "it is acted on exactly");
    host.beat(DUE);
    assert_eq!(host.resets, 1);
}

#[test]
fn a_host_that_is_clean_is_never_reset() {
    let mut host = with_survivor();
    host.processes.clear();
    host.beat(DUE - 10);
    host.beat(DUE - 5);
    assert!(host.is_clean());
    host.beat(DUE);
    host.beat(60_000);
    assert_eq!(host.resets, 0);
}

/// The beat in which the reset is due may be the one that brings the proof.
#[test]
fn a_proof_in_the_very_beat_of_the_reset_keeps_it_away() {
    let mut host = with_survivor();
    host.beat_at(&now(DUE - 10));
    host.processes.clear();
    host.beat_at(&now(DUE));
    assert_eq!((host.is_clean(), host.resets), (true, 0));
}

#[test]
fn while_reset_is_off_nothing_is_reset() {
    let mut host = with_survivor();
    host.fencer.resets_host(false);
    host.beat_at(&now(DUE));
    host.beat_at(&now(60_000));
    assert_eq!(host.resets, 0);
    assert_eq!(host.fencer.pause(at(60_000)), BEAT);
}

#[test]
fn an_end_that_was_latched_early_brings_an_early_reset() {
    let mut host = Host::armed();
    host.fencer.resets_host(true);
    host.processes = vec![process(1, 50)];
    host.agent.lease_end = end(3000);
    host.beat_at(&now(3000));
    host.beat_at(&now(4449));
    assert_eq!(host.resets, 0);
    host.beat_at(&now(4450));
    assert_eq!(host.resets, 1);
}

/// It stood still until long after its budget: its peers may have started its domains.
#[test]
fn a_fencer_that_comes_too_late_kills_first_and_resets_at_once() {
    let mut host = Host::armed();
    host.fencer.resets_host(true);
    host.processes = vec![process(1, 50)];
    host.beat_at(&now(30_000));
    assert_eq!((host.killed.len(), host.resets), (1, 1));
}

#[test]
fn a_trigger_without_effect_is_pulled_again_and_people_are_told_once() {
    let mut host = with_survivor();
    host.beat_at(&now(DUE));
    host.beat_at(&now(DUE + 499));
    assert_eq!(host.resets, 1);
    host.beat_at(&now(DUE + 500));
    assert_eq!(host.resets, 2);
    let told = host.events.iter().filter(|event| matches!(event, Event::Resets(..))).count();
    assert_eq!(told, 1);
}

#[test]
fn never_armed_armed_or_disarmed_it_resets_nothing() {
    let mut host = Host::new();
    host.fencer.resets_host(true);
    host.processes = vec![process(1, 50)];
    host.beat_at(&now(60_000));
    host.arm(70_000);
    host.beat_at(&now(77_999));
    host.agent.wish = Wish::Disarm;
    host.beat_at(&now(77_999));
    host.beat_at(&now(200_000));
    assert!(!host.published.armed && host.resets == 0);
}

/// A fencer that lost everything but its marker: nobody knows which end was promised, and no proof can come.
#[test]
fn where_the_terms_are_lost_the_kill_has_its_bound_and_no_more() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 50)];
    host.restart_without_page(1000);
    host.fencer.resets_host(true);
    host.beat_at(&now(1000));
    host.beat_at(&now(1250));
    assert!(host.is_latched());
    host.beat_at(&now(1749));
    assert_eq!((host.killed.is_empty(), host.resets), (false, 0));
    host.beat_at(&now(1750));
    assert_eq!(host.resets, 1);
}

#[test]
fn a_restarted_fencer_resets_by_the_end_that_its_page_shows() {
    let mut host = with_survivor();
    host.restart(9000);
    host.fencer.resets_host(true);
    host.beat_at(&now(DUE - 1));
    assert_eq!(host.resets, 0);
    host.beat_at(&now(DUE));
    assert_eq!(host.resets, 1);
}

/// Catches: a fencing thread that is stuck from before the end on, in a kernel that never lets it go. Nobody latches, nobody
/// kills, and the reset must come all the same.
#[test]
fn while_it_guards_the_reset_s_own_thread_has_the_deadline_of_the_last_end_accepted() {
    let mut host = Host::armed();
    assert_eq!(host.reset_by, None, "reset is off");
    host.fencer.resets_host(true);
    host.beat(100);
    assert_eq!(host.reset_by, Some(end(DEADLINE)));
    host.renew(1000);
    assert_eq!(host.reset_by, Some(end(DEADLINE + 1000)), "each renewal moves it");
    host.agent.lease_end = end(3000);
    host.beat_at(&now(1001));
    assert_eq!(host.reset_by, Some(end(4500)), "an end that is cut short too");
}

#[test]
fn its_deadline_is_one_beat_after_the_beat_s_own_reset_and_clean_clears_it() {
    let mut host = with_survivor();
    assert_eq!(host.reset_by, Some(end(DEADLINE)));
    host.beat_at(&now(DUE - 10));
    assert_eq!(host.reset_by, Some(end(DEADLINE)), "it does not move once the end is latched");
    host.processes.clear();
    host.beat_at(&now(DUE));
    assert_eq!((host.is_clean(), host.reset_by, host.resets), (true, None, 0));
}

/// The half that says "armed" lets the agent issue the record that says "reset on".
#[test]
fn the_deadline_stands_before_the_half_that_promises_it_is_published() {
    let mut host = Host::new();
    host.fencer.resets_host(true);
    (host.agent.wish, host.agent.arm_count, host.agent.lease_end) = (Wish::Armed, 1, end(8000));
    let mut beat = Beat::default();
    while host.step(&mut beat, &now(0)) != Some(Step::Publish) {}
    assert!(host.published.armed);
    assert_eq!(host.stood_behind, Some(end(DEADLINE)));
}

#[test]
fn without_its_page_the_deadline_is_that_of_the_latch_to_come() {
    let mut host = Host::armed();
    host.fencer.resets_host(true);
    host.restart_without_page(1000);
    host.fencer.resets_host(true);
    host.beat_at(&now(1000));
    // A pet interval for the copy, the kill's bound, a beat.
    assert_eq!(host.reset_by, Some(end(1000 + 250 + 500 + 50)));
}

#[test]
fn never_armed_or_disarmed_nobody_stands_behind() {
    let mut host = Host::new();
    host.fencer.resets_host(true);
    host.beat(0);
    assert_eq!(host.reset_by, None);
    host.arm(10);
    assert!(host.reset_by.is_some());
    host.agent.wish = Wish::Disarm;
    host.beat(20);
    assert_eq!(host.reset_by, None);
}
