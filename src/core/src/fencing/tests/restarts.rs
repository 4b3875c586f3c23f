//! What a fencer that was started again believes.

use super::*;
use crate::fencing::{CopyUse, EndCause, Unproven};

#[test]
fn restarted_with_its_page_it_goes_on_guarding() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.renew(2000);
    host.restart(2500);
    assert!(host.fencer.half().armed);
    host.renew(3000);
    assert_eq!((host.published.lease_end, host.published.arm_count), (end(11_000), 1));
    host.beat(11_000);
    assert_eq!(host.killed.len(), 1);
    assert!(host.is_clean());
}

#[test]
fn an_end_that_passed_while_the_fencer_was_down_stays_passed() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    // The agent goes on renewing, against its own rule.
    host.agent.lease_end = end(15_000);
    host.restart(8000);
    host.beat(8000);
    assert!(host.is_latched() && host.killed.len() == 1);
}

#[test]
fn a_latch_and_a_clean_outlive_a_restart() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.beat_at(&now(8000));
    host.restart(8100);
    host.renew(8100);
    assert_eq!(host.published.latched, Some(end(8000)));
    assert!(host.is_clean());
    let clean = host.published.clean;
    host.restart(8200);
    host.renew(8200);
    assert_eq!(host.published.clean, clean);
    host.processes = vec![process(2, 8300)];
    host.beat(8300);
    assert!(host.killed.contains(&process(2, 8300)), "and it kills newcomers");
}

/// Catches: a fencer that is started again between the latch and the proof, and owes the storages of a guest that is exempt, which
/// nobody has named: that host would be reset together with the guest, or rebooted.
#[test]
fn what_is_exempt_owes_nothing_to_a_fencer_that_is_started_again_after_the_latch() {
    let mut host = Host::armed();
    let guest = process(2, 0);
    (host.agent.exempt, host.agent.covered) = (vec![guest.domain], Vec::new());
    host.processes = vec![guest];
    host.beat(1000);
    host.scan_works = false;
    host.beat_at(&now(8000));
    assert!(host.is_latched() && !host.is_clean());
    host.restart(8100);
    host.scan_works = true;
    host.beat(8200);
    assert!(host.killed.is_empty() && host.is_clean(), "{:?}", host.published.unproven_reason);
}

#[test]
fn what_is_guarded_against_the_marker_is_guarded_when_the_page_is_lost_too() {
    let mut host = Host::armed();
    host.agent.wish = Wish::Disarm;
    host.beat(100);
    // The agent arms again; the fencer dies before it has written the marker.
    host.agent.wish = Wish::Armed;
    host.agent.arm_count += 1;
    host.agent.lease_end = end(8200);
    host.restart(200);
    host.beat(200);
    assert!(host.published.armed && matches!(host.marker(), Marker::Armed(_)));
    host.processes = vec![process(1, 0)];
    host.restart_without_page(300);
    host.beat(300);
    host.beat(600);
    assert_eq!(host.killed.len(), 1, "nobody says until when the guests may run");
}

#[test]
fn a_suspend_while_the_fencer_was_down_ends_the_lease() {
    let mut host = Host::armed();
    host.restart(1000);
    host.beat_at(&Now { suspended_ns: now(0).suspended_ns + 20_000_000, ..now(1000) });
    assert!(host.events.contains(&Event::Latched(generation(5), EndCause::Suspended)));
}

#[test]
fn restarted_without_its_page_while_armed_it_waits_one_pet_interval_and_kills() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.restart_without_page(1000);
    assert!(host.fencer.waits_for_copy());
    host.beat(1000);
    host.beat(1249);
    assert!(host.killed.is_empty());
    host.beat(1250);
    assert_eq!(host.killed.len(), 1);
    assert!(host.events.contains(&Event::Latched(generation(5), EndCause::PageLost)));
    assert_eq!(host.published.incarnation, generation(5), "the marker knows whose end it is");
    // Nobody knows which starts were permitted.
    host.beat(4000);
    assert_eq!(host.published.unproven_reason, Some(Unproven::TokensUnknown));
    assert!(!host.is_clean());
    // A copy that comes late tells; the lease stays ended.
    assert_eq!(host.fencer.judge_copy(&host.agent, false), CopyUse::KeepEnded);
    host.readable = true;
    host.renew(5000);
    assert!(host.is_latched() && host.is_clean());
}

#[test]
fn a_copy_that_comes_in_time_saves_the_lease() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    let copy = host.published.clone();
    host.restart_without_page(1000);
    host.beat(1100);
    assert_eq!(host.fencer.judge_copy(&host.agent, false), CopyUse::Restart);
    (host.published, host.readable) = (copy, true);
    host.restart(1200);
    host.renew(1300);
    assert!(!host.is_latched() && host.published.armed);
    assert_eq!(host.published.lease_end, end(9300));
}

#[test]
fn a_copy_that_does_not_fit_is_refused() {
    let mut host = Host::armed();
    let armed = host.agent.clone();
    assert_eq!(host.fencer.judge_copy(&armed, true), CopyUse::Refuse, "the fencer has its page");
    host.restart_without_page(1000);
    let other_boot = AgentHalf { boot_id: OTHER_BOOT, ..armed.clone() };
    let other_life = AgentHalf { incarnation: generation(6), ..armed.clone() };
    let other_file = AgentHalf { file_id: FileId([9; 16]), ..armed.clone() };
    for half in [other_boot, other_life, other_file] {
        assert_eq!(host.fencer.judge_copy(&half, false), CopyUse::Refuse);
    }
    assert_eq!(host.fencer.judge_copy(&armed, true), CopyUse::Refuse, "another agent writes the new page");
}

#[test]
fn a_disarmed_fencer_kills_nothing_after_its_restart() {
    for with_page in [true, false] {
        let mut host = Host::armed();
        host.processes = vec![process(1, 0)];
        host.agent.wish = Wish::Disarm;
        host.renew(1000);
        if with_page {
            host.restart(2000);
        } else {
            host.restart_without_page(2000);
        }
        host.beat(2000);
        host.beat(20_000);
        assert!(host.killed.is_empty() && !host.published.armed, "with page: {with_page}");
        host.readable = true;
        host.arm(30_000);
        assert!(host.published.armed);
    }
}

#[test]
fn a_disarmed_marker_that_differs_from_the_page_means_armed() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.agent.wish = Wish::Disarm;
    host.renew(1000);
    // The next arming stands in the page; the fencer died before it echoed.
    (host.agent.wish, host.agent.arm_count, host.agent.lease_end) = (Wish::Armed, 2, end(10_000));
    host.restart(2000);
    host.beat(2000);
    assert!(host.published.armed);
    host.beat(10_000);
    assert_eq!(host.killed.len(), 1);
    // It may have been echoed, for all that is known: if the end passed meanwhile, the lease is over.
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.agent.wish = Wish::Disarm;
    host.renew(1000);
    (host.agent.wish, host.agent.arm_count, host.agent.lease_end) = (Wish::Armed, 2, end(5000));
    host.restart(6000);
    host.beat(6000);
    assert_eq!(host.killed.len(), 1);
}

#[test]
fn a_marker_of_another_boot_or_one_that_cannot_be_read_means_armed() {
    let disarmed = Marker::Disarmed { boot_id: OTHER_BOOT, arm_count: 1 };
    for marker in [MarkerFound::Marker(disarmed), MarkerFound::Unreadable] {
        let mut host = Host::new();
        host.processes = vec![process(1, 0)];
        host.marker = marker;
        host.restart_without_page(0);
        host.beat(0);
        assert!(host.killed.is_empty());
        host.beat(250);
        assert_eq!(host.killed.len(), 1, "{marker:?}");
    }
}

#[test]
fn a_marker_that_was_lost_is_believed_by_the_page() {
    let mut host = Host::armed();
    host.marker = MarkerFound::None;
    host.processes = vec![process(1, 0)];
    host.restart(1000);
    host.beat(8000);
    assert_eq!(host.killed.len(), 1);
}

#[test]
fn an_armed_marker_of_the_boot_before_says_nothing_of_this_one() {
    let mut host = Host::armed();
    let marker = host.marker;
    host = Host::new();
    host.processes = vec![process(1, 0)];
    host.fencer = Fencer::start(&now(0), OTHER_BOOT, marker, &RestoredPage::default());
    host.readable = false;
    host.beat(0);
    host.beat(10_000);
    assert!(host.killed.is_empty());
}

#[test]
fn armed_in_the_marker_and_never_echoed_it_takes_the_pages_end() {
    // It died between the marker and the echo.
    let mut host = Host::new();
    host.processes = vec![process(1, 0)];
    let before = host.published.clone();
    host.arm(0);
    host.published = before;
    host.restart(1000);
    host.beat(7999);
    assert!(host.fencer.half().armed && host.killed.is_empty());
    host.beat(8000);
    assert_eq!(host.killed.len(), 1);
    // An end that may not be taken is none.
    let mut host = Host::new();
    host.processes = vec![process(1, 0)];
    let before = host.published.clone();
    host.arm(0);
    (host.published, host.agent.lease_end) = (before, end(50_000));
    host.restart(1000);
    host.beat(1000);
    assert_eq!(host.killed.len(), 1);
}

#[test]
fn both_slots_bad_after_a_restart_is_expired() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.readable = false;
    host.restart(1000);
    host.beat(1000);
    host.beat(1250);
    assert_eq!(host.killed.len(), 1);
    // And if its own half is bad, the agent's does not speak for it.
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    let agent = host.agent.clone();
    let page = RestoredPage { own: None, agent: Some(&agent) };
    host.fencer = Fencer::start(&now(1000), BOOT, host.marker, &page);
    host.beat(1000);
    host.beat(1250);
    assert_eq!(host.killed.len(), 1);
    assert!(host.is_clean(), "its tokens are known");
}

#[test]
fn tokens_of_a_copy_that_comes_after_the_end_are_final_only_once_the_latch_stands_in_the_copy() {
    let mut host = Host::armed();
    host.restart_without_page(1000);
    host.beat(1000);
    host.beat(1250);
    assert!(host.is_latched() && !host.is_clean(), "nobody knows which starts were permitted");
    assert_eq!(host.fencer.judge_copy(&host.agent, false), CopyUse::KeepEnded);
    host.fencer.page_replaced();
    host.readable = true;
    // The agent has not seen the latch: after this look at its half it may still open a token and start.
    host.beat_at(&now(1300));
    assert!(!host.is_clean());
    host.agent.tokens = vec![token(1, 1300)];
    host.beat(1350);
    assert!(!host.is_clean(), "the start that it permitted may come");
    host.agent.tokens.clear();
    host.beat(1400);
    assert!(host.is_clean());
}
