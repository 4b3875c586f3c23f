//! The order of a beat's steps, what a step that fails leaves open, when the next beat comes, and offers of a page.

use super::super::{BEAT, CopyUse, FAST_BEAT, Offer};
use super::*;

/// All steps of a beat at one moment.
fn steps(host: &mut Host, ms: u64) -> Vec<Step> {
    let mut beat = Beat::default();
    std::iter::from_fn(|| host.step(&mut beat, &now(ms))).collect()
}

/// Goes on with a beat until this step was done.
fn until(host: &mut Host, beat: &mut Beat, ms: u64, step: Step) {
    while host.step(beat, &now(ms)).expect("the beat has that step") != step {}
}

#[test]
fn a_beat_signals_before_it_publishes_and_publishes_before_it_looks() {
    let whole = [
        Step::Page,
        Step::Marker,
        Step::Kill,
        Step::Publish,
        Step::Look,
        Step::KillFound,
        Step::Scan,
        Step::PublishScan,
    ];
    assert_eq!(steps(&mut Host::armed(), 100), whole);
}

#[test]
fn what_a_look_after_the_end_finds_is_signalled_before_anything_else_is_done() {
    let mut host = Host::armed();
    let mut beat = Beat::default();
    until(&mut host, &mut beat, 8000, Step::Look);
    assert!(host.looked_thoroughly, "a newcomer must not be missed");
    host.processes.push(process(1, 7990));
    until(&mut host, &mut beat, 8000, Step::KillFound);
    assert_eq!(host.killed, [process(1, 7990)]);
}

#[test]
fn while_the_lease_lasts_nothing_is_signalled_and_a_look_may_be_cheap() {
    let mut host = Host::armed();
    host.processes.push(process(1, 50));
    host.beat_at(&now(7999));
    assert!(host.killed.is_empty() && !host.looked_thoroughly);
}

#[test]
fn a_scan_counts_from_before_the_look_however_long_the_steps_after_it_take() {
    let mut host = Host::armed();
    host.beat_at(&now(8000));
    let mut beat = Beat::default();
    until(&mut host, &mut beat, 8050, Step::Look);
    // The process stands still here. What was opened meanwhile this look cannot have seen.
    until(&mut host, &mut beat, 9000, Step::PublishScan);
    assert_eq!(host.fencer.clear_scan, Some(at(8050)));
}

#[test]
fn without_its_marker_nothing_is_armed_until_it_can_be_written() {
    let mut host = Host::new();
    host.marker_works = false;
    host.arm(0);
    assert!(!host.published.armed);
    host.marker_works = true;
    host.beat(50);
    assert!(host.published.armed);
}

#[test]
fn a_latch_that_could_not_be_published_makes_no_tokens_final() {
    let mut host = Host::armed();
    host.page_works = false;
    host.beat(8000);
    host.beat(8050);
    assert!(host.fencer.half().clean.is_none(), "an agent may still permit a start: it sees no latch");
    host.page_works = true;
    host.beat(8100);
    host.beat(8150);
    assert!(host.is_clean());
}

#[test]
fn the_next_beat_comes_at_the_leases_end_and_fast_while_exits_are_awaited() {
    let mut host = Host::armed();
    assert_eq!(host.fencer.pause(at(0)), BEAT);
    assert_eq!(host.fencer.pause(at(7970)), Duration::from_millis(30));
    assert_eq!(host.fencer.pause(at(8010)), Duration::ZERO);
    host.processes.push(process(1, 50));
    host.beat_at(&now(8000));
    assert_eq!(host.fencer.pause(at(8000)), FAST_BEAT);
    assert_eq!(host.fencer.pause(at(8640)), Duration::from_millis(10), "its host may need the processor");
    host.beat_at(&now(10_000));
    assert!(host.published.unproven);
    assert_eq!(host.fencer.pause(at(10_000)), BEAT, "waiting in a hurry does not help");
}

#[test]
fn a_copy_is_taken_only_of_this_boot_readable_and_while_the_page_in_hand_was_never_written() {
    let mut host = Host::armed();
    let (own, agent) = (host.published.clone(), host.agent.clone());
    host.restart_without_page(1000);
    assert_eq!(host.fencer.pause(at(1000)), FAST_BEAT, "the copy may come any moment");
    let good = Offer { boot_id: BOOT, agent: HalfReading::Good(&agent), in_hand: HalfReading::Empty };
    let refused = [
        Offer { boot_id: OTHER_BOOT, ..good },
        Offer { agent: HalfReading::Bad, ..good },
        Offer { in_hand: HalfReading::Bad, ..good },
        Offer { in_hand: HalfReading::Good(&agent), ..good },
    ];
    for offer in refused {
        assert_eq!(host.fencer.judge_offer(&offer), CopyUse::Refuse, "{offer:?}");
    }
    let how = host.fencer.judge_offer(&good);
    assert_eq!(how, CopyUse::Restart);
    let copy = RestoredPage { own: Some(&own), agent: Some(&agent) };
    assert!(host.fencer.take_offer(&now(1000), how, host.marker, &copy));
    assert_eq!(host.fencer.next_end(), Some(end(8000)), "it goes on with the end that it guarded");
}

#[test]
fn a_copy_that_comes_after_the_end_is_taken_for_its_tokens_and_revives_nothing() {
    let mut host = Host::armed();
    let (own, agent) = (host.published.clone(), host.agent.clone());
    host.restart_without_page(1000);
    host.beat(1000);
    host.beat(1300);
    assert!(host.is_latched());
    let offer = Offer { boot_id: BOOT, agent: HalfReading::Good(&agent), in_hand: HalfReading::Empty };
    let how = host.fencer.judge_offer(&offer);
    assert_eq!(how, CopyUse::KeepEnded);
    let copy = RestoredPage { own: Some(&own), agent: Some(&agent) };
    assert!(host.fencer.take_offer(&now(1300), how, host.marker, &copy));
    assert!(host.fencer.kills() && host.fencer.owes_proof());
}
