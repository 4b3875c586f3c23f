//! Rehearsals as logs of what was seen: one that went well, and each way in which a promise can be broken.

use std::time::Duration;

use leasefence_core::format::{HostState, LeaseState};

use super::{Case, Check, Judgement, Kind, Outcome, judge};
use crate::canary::Beat;
use crate::promise::Promise;
use crate::promise::tests::terms;
use crate::scenario::Scenario;
use crate::watch::{AgentSeen, EntrySeen, RecordSeen, Seen, Sight};

const ME: (u16, u32) = (0, 7);
const SECOND: u64 = 1_000_000_000;
/// The act of every rehearsal here.
const ACT: u64 = 1_000 * SECOND;

fn case(scenario: Scenario, undone_s: Option<u64>) -> Case {
    Case {
        scenario,
        host: "host-1".to_owned(),
        incarnation: ME,
        promise: Promise::of(&terms(), Duration::from_secs(120)),
        expires: true,
        act: "something is done".to_owned(),
        acted_ns: ACT,
        undone: undone_s.map(|s| (ACT + s * SECOND, "taken back".to_owned())),
        ended_ns: ACT + 70 * SECOND,
    }
}

/// Milliseconds from the act.
fn at(ms: i64, sight: Sight) -> Seen {
    Seen { at_ns: ACT.checked_add_signed(ms * 1_000_000).expect("near it"), sight }
}

fn record(ms: i64, host: &str, incarnation: (u16, u32), state: HostState, convicts: Vec<(u16, u32)>) -> Seen {
    let issued_ns = ACT.checked_add_signed((ms - 20) * 1_000_000).expect("near it");
    let record = RecordSeen { host: host.to_owned(), incarnation, sequence: 0, state, issued_ns, convicts };
    at(ms, Sight::Record(record))
}

fn agent(ms: i64, state: &str, generation: u32, latched_ms: Option<i64>, clean_ms: Option<i64>) -> Seen {
    let ns = |ms: i64| ACT.checked_add_signed(ms * 1_000_000).expect("near it");
    at(
        ms,
        Sight::Agent(AgentSeen {
            state: state.to_owned(),
            generation,
            started_unix_ms: 1,
            latched_ns: latched_ms.map(ns),
            clean_ns: clean_ms.map(ns),
            libvirt: true,
        }),
    )
}

fn beat(ms: i64, life: u32, began_at: u32, counter: u32, before: u32) -> Seen {
    at(ms, Sight::Beat(Beat { life, began_at, counter, before }))
}

fn won(ms: i64) -> Seen {
    let entry = EntrySeen {
        host: "host-2".to_owned(),
        incarnation: (1, 3),
        state: LeaseState::Own,
        term: 2,
        defined: true,
    };
    at(ms, Sight::Entry(entry))
}

/// A stall that goes as it should: last renewal issued 0.22 s before the act, lease end at 11.78 s.
fn stall() -> Vec<Seen> {
    vec![
        record(-200, "host-1", ME, HostState::Held, Vec::new()),
        agent(-100, "held", 7, None, None),
        beat(-50, 1, 0, 40, 0),
        at(11_990, Sight::Gone),
        agent(12_100, "fencing", 7, Some(11_780), Some(12_050)),
        record(16_900, "host-2", (1, 3), HostState::Held, vec![ME]),
        won(17_400),
        beat(19_000, 2, 150, 152, 150),
        beat(20_990, 2, 150, 170, 150),
        record(21_000, "host-1", ME, HostState::Fenced, Vec::new()),
        agent(45_000, "held", 8, None, None),
    ]
}

fn check<'a>(judgement: &'a Judgement, what: &str) -> &'a Check {
    judgement
        .checks
        .iter()
        .find(|check| check.what == what)
        .unwrap_or_else(|| panic!("no {what}: {judgement:#?}"))
}

/// That only this promise is broken.
fn assert_only_broken(judgement: &Judgement, what: &str) {
    let broken: Vec<_> = judgement
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Broken)
        .map(|check| check.what)
        .collect();
    assert_eq!(broken, [what], "{judgement:#?}");
}

#[test]
fn a_stall_that_goes_as_promised_keeps_every_promise_and_is_measured_from_the_last_renewal() {
    let judgement = judge(&case(Scenario::StorageStall, Some(20)), &stall());
    assert!(!judgement.is_broken(), "{judgement:#?}");
    let measured = |what| check(&judgement, what).measured_ms;
    assert_eq!(measured("lease end"), Some(12_000));
    assert_eq!(measured("canary killed"), Some(210));
    assert_eq!(measured("storage quiet (CLEAN)"), Some(270));
    assert_eq!(measured("proof: a peer's verdict"), Some(17_120));
    // Its second count was seen at 19 s, and it counts nine or ten times a second.
    let restart = judgement.marks.iter().find(|mark| mark.kind == Kind::Restart).expect("it was seen");
    assert!((18_850..19_000).contains(&restart.at_ms), "{restart:?}");
    assert_eq!(restart.host, "host-2");
    assert!(judgement.marks.is_sorted_by_key(|mark| mark.at_ms));
}

#[test]
fn a_canary_that_is_killed_too_late_or_not_at_all_breaks_the_promise() {
    let mut log = stall();
    log[3] = at(15_400, Sight::Gone);
    assert_only_broken(&judge(&case(Scenario::StorageStall, Some(20)), &log), "canary killed");
    log.remove(3);
    let judgement = judge(&case(Scenario::StorageStall, Some(20)), &log);
    assert_eq!(check(&judgement, "canary killed").outcome, Outcome::Broken);
    assert_eq!(
        check(&judgement, "nobody was too early").outcome,
        Outcome::Broken,
        "a peer started it all the same"
    );
}

/// Catches a judge that takes an early verdict for a fast one (R8).
#[test]
fn a_verdict_before_the_canary_s_end_breaks_a_promise_however_fast_it_is() {
    let mut log = stall();
    log[3] = at(11_990, Sight::Gone);
    log[5] = record(11_000, "host-2", (1, 3), HostState::Held, vec![ME]);
    assert_only_broken(&judge(&case(Scenario::StorageStall, Some(20)), &log), "nobody was too early");
}

#[test]
fn a_verdict_that_comes_late_or_never_breaks_the_promise_where_peers_may_give_one() {
    let mut log = stall();
    log[5] = record(20_500, "host-2", (1, 3), HostState::Held, vec![ME]);
    assert_only_broken(&judge(&case(Scenario::StorageStall, Some(20)), &log), "proof: a peer's verdict");
    log.remove(5);
    let judgement = judge(&case(Scenario::StorageStall, Some(20)), &log);
    assert_eq!(check(&judgement, "proof: a peer's verdict").outcome, Outcome::Broken);
    let receipts = Case { expires: false, ..case(Scenario::StorageStall, Some(20)) };
    assert!(!judge(&receipts, &log).is_broken(), "they wait for the receipt, and it came");
}

/// Catches a judge that does not look at the lives' own counters.
#[test]
fn a_life_that_counts_on_beside_its_successor_is_a_split_brain() {
    let mut log = stall();
    log.insert(9, beat(20_995, 2, 150, 171, 155));
    let judgement = judge(&case(Scenario::StorageStall, Some(20)), &log);
    assert_only_broken(&judgement, "one writer");
    assert!(check(&judgement, "one writer").how.contains("SPLIT BRAIN: life 1 counted on from 150 to 155"));
    let mut log = stall();
    log.insert(9, beat(20_995, 3, 171, 172, 171));
    assert_only_broken(&judge(&case(Scenario::StorageStall, Some(20)), &log), "one writer");
}

#[test]
fn a_canary_that_nobody_starts_and_a_host_that_does_not_come_back_break_promises() {
    let mut log = stall();
    log.retain(|seen| !matches!(seen.sight, Sight::Beat(Beat { life: 2, .. })));
    assert_only_broken(&judge(&case(Scenario::StorageStall, Some(20)), &log), "restart on a peer");
    let mut log = stall();
    log.pop();
    assert_only_broken(&judge(&case(Scenario::StorageStall, Some(20)), &log), "host back");
}

#[test]
fn a_planned_fence_is_proven_by_its_receipt() {
    let log = vec![
        record(-200, "host-1", ME, HostState::Held, Vec::new()),
        agent(-100, "held", 7, None, None),
        beat(-50, 1, 0, 40, 0),
        at(120, Sight::Gone),
        agent(200, "fencing", 7, Some(30), Some(150)),
        record(300, "host-1", ME, HostState::Fenced, Vec::new()),
        won(900),
        beat(2_500, 2, 42, 43, 42),
        agent(30_000, "held", 8, None, None),
    ];
    let judgement = judge(&case(Scenario::PlannedFence, None), &log);
    assert!(!judgement.is_broken(), "{judgement:#?}");
    assert_eq!(check(&judgement, "proof: the receipt").measured_ms, Some(150));
    assert_eq!(check(&judgement, "lease end").measured_ms, Some(30));
}

fn killed_agent(back_ms: i64) -> Vec<Seen> {
    let mut log = vec![agent(-100, "held", 7, None, None), beat(-50, 1, 0, 40, 0)];
    log.push(record(-700, "host-1", ME, HostState::Held, Vec::new()));
    let Sight::Agent(other) = agent(back_ms, "held", 7, None, None).sight else { unreachable!("it is one") };
    log.push(at(back_ms, Sight::Agent(AgentSeen { started_unix_ms: 2, ..other })));
    let renewals = (back_ms + 100..70_000).step_by(750);
    log.extend(renewals.map(|ms| record(ms, "host-1", ME, HostState::Held, Vec::new())));
    log.push(beat(69_500, 1, 0, 700, 0));
    log
}

#[test]
fn an_agent_that_comes_back_in_time_keeps_lease_and_canary() {
    let judgement = judge(&case(Scenario::AgentKilled, None), &killed_agent(1_500));
    assert!(!judgement.is_broken(), "{judgement:#?}");
    assert_eq!(check(&judgement, "agent back").measured_ms, Some(1_500));
    assert_eq!(check(&judgement, "longest time without a renewal").measured_ms, Some(2_300));
}

#[test]
fn an_agent_that_comes_back_too_late_or_a_fence_breaks_a_promise() {
    assert_eq!(
        check(&judge(&case(Scenario::AgentKilled, None), &killed_agent(11_900)), "agent back").outcome,
        Outcome::Broken
    );
    let mut log = killed_agent(1_500);
    log.push(at(5_000, Sight::Gone));
    assert_only_broken(&judge(&case(Scenario::AgentKilled, None), &log), "canary unharmed");
    let mut log = killed_agent(1_500);
    log.push(record(69_900, "host-1", ME, HostState::Fencing, Vec::new()));
    assert_only_broken(&judge(&case(Scenario::AgentKilled, None), &log), "lease kept");
}

#[test]
fn a_libvirtd_that_hangs_must_be_back_once_it_is_let_on() {
    let mut log = killed_agent(500);
    let Sight::Agent(seen) = agent(0, "held", 7, None, None).sight else { unreachable!("it is one") };
    log.push(at(6_000, Sight::Agent(AgentSeen { libvirt: false, ..seen.clone() })));
    let away = judge(&case(Scenario::LibvirtdHung, Some(20)), &log);
    assert_only_broken(&away, "libvirt back");
    log.push(at(21_000, Sight::Agent(seen)));
    let judgement = judge(&case(Scenario::LibvirtdHung, Some(20)), &log);
    assert!(!judgement.is_broken(), "{judgement:#?}");
    assert_eq!(check(&judgement, "libvirt missed").measured_ms, Some(6_000));
}
