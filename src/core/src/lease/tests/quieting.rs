//! Killed is not quiesced (R6): what must be shown between the proof that a process is gone and the end of its entry.

use std::time::Duration;

use super::ending::{owner, restarted, running, scans};
use super::lab::*;
use crate::fencing::{QuiesceTarget, StorageKind};
use crate::format::{LeaseEntry, LeaseState};
use crate::lease::LeaseEvent;
use crate::member::StopReason;

const QUICK: Result<Duration, String> = Ok(Duration::from_millis(1));

fn state(lab: &Lab) -> LeaseState {
    lab.says(0, 1).expect("it has an entry").state
}

fn storage(kind: StorageKind) -> QuiesceTarget {
    QuiesceTarget { kind, device: 1 }
}

/// A host whose domain 1 has stopped like this, its process proven gone.
fn gone(lab: &mut Lab, reason: StopReason) -> Host {
    let mut host = owner(lab);
    host.leases.stopped(domain(1), reason, lab.now.instant);
    scans(lab, &mut host, 10, 3, &[]);
    host
}

fn told(events: &[LeaseEvent]) -> usize {
    events.iter().filter(|event| matches!(event, LeaseEvent::NotQuiet { .. })).count()
}

#[test]
fn a_crashed_domain_stays_own_until_a_barrier_is_acknowledged_and_write_drain_has_passed() {
    let mut lab = Lab::new(3);
    let mut host = gone(&mut lab, StopReason::Crashed);
    let [(of, asked)] = barriers(&lab.run(&mut host))[..] else { panic!("one barrier") };
    assert_eq!(of, domain(1));
    assert_eq!((state(&lab), host.leases.owns(domain(1))), (LeaseState::Own, true), "not acknowledged");
    lab.answer(&mut host, of, asked, &QUICK);
    lab.pass(RULES.drain - Duration::from_millis(10));
    lab.run(&mut host);
    assert_eq!(state(&lab), LeaseState::Own, "its storage may still hold what it has received");
    lab.pass(Duration::from_millis(10));
    lab.run(&mut host);
    assert_eq!((state(&lab), host.leases.owns(domain(1))), (LeaseState::Orphan, false));
}

#[test]
fn a_barrier_that_was_asked_for_before_the_process_was_gone_shows_nothing() {
    let mut lab = Lab::new(3);
    let earlier = lab.now.instant;
    let mut host = gone(&mut lab, StopReason::Crashed);
    lab.run(&mut host);
    lab.answer(&mut host, domain(1), earlier, &QUICK);
    lab.pass(RULES.drain);
    lab.run(&mut host);
    assert_eq!(state(&lab), LeaseState::Own);
}

#[test]
fn no_barrier_is_asked_for_while_the_process_may_be_there_or_a_start_token_is_open() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    host.leases.stopped(domain(1), StopReason::Crashed, lab.now.instant);
    scans(&mut lab, &mut host, 10, 5, &[1]);
    assert_eq!(barriers(&lab.run(&mut host)), [], "its process is there");
    let opened = lab.now.instant;
    let term = lab.says(0, 1).unwrap().term;
    host.leases.adopt_tokens(&[crate::fencing::StartToken { domain: domain(1), term, opened }]);
    scans(&mut lab, &mut host, 15, 5, &[]);
    assert_eq!(barriers(&lab.run(&mut host)), [], "its token is open");
}

#[test]
fn a_barrier_that_fails_is_asked_for_again_and_people_are_told_once() {
    let mut lab = Lab::new(3);
    let mut host = gone(&mut lab, StopReason::Crashed);
    let mut notes = 0;
    let mut asks = 0;
    for _ in 0..40 {
        let seen = lab.run(&mut host);
        notes += told(&seen);
        for (of, asked) in barriers(&seen) {
            asks += 1;
            lab.answer(&mut host, of, asked, &Err("I/O error".into()));
        }
        lab.pass(Duration::from_millis(500));
    }
    assert_eq!((notes, asks, state(&lab)), (1, 10, LeaseState::Own), "each 2 s for 20 s");
    let why: Vec<_> = host.leases.not_quiet().collect();
    assert_eq!(why, [(domain(1), "I/O error")]);
    lab.quiesce(&mut host);
    assert_eq!(state(&lab), LeaseState::Orphan);
}

#[test]
fn a_barrier_that_hangs_is_told_once_and_counts_when_it_comes() {
    let mut lab = Lab::new(3);
    let mut host = gone(&mut lab, StopReason::Crashed);
    let [(of, asked)] = barriers(&lab.run(&mut host))[..] else { panic!("one barrier") };
    let mut notes = 0;
    for _ in 0..60 {
        lab.pass(Duration::from_secs(1));
        let seen = lab.run(&mut host);
        notes += told(&seen);
        assert_eq!(barriers(&seen), [], "it will be answered");
    }
    assert_eq!((notes, state(&lab)), (1, LeaseState::Own));
    lab.answer(&mut host, of, asked, &QUICK);
    lab.pass(RULES.drain);
    lab.run(&mut host);
    assert_eq!(state(&lab), LeaseState::Orphan);
}

#[test]
fn the_exit_is_the_proof_where_all_storages_are_one_kernels_own() {
    let (local, nfs) = (storage(StorageKind::OneKernel), storage(StorageKind::Nfs));
    for (seen, exit_is_enough) in [
        (vec![vec![local.clone()]], true),
        (vec![vec![local.clone()], vec![local.clone()]], true),
        (vec![vec![local.clone(), nfs.clone()]], false),
        (vec![vec![nfs], vec![local]], false),
        (vec![vec![]], false),
        (vec![], false),
    ] {
        let mut lab = Lab::new(3);
        let mut host = owner(&mut lab);
        seen.iter().for_each(|storages| host.leases.runs_on(domain(1), storages));
        host.leases.stopped(domain(1), StopReason::Crashed, lab.now.instant);
        scans(&mut lab, &mut host, 10, 3, &[]);
        lab.run(&mut host);
        assert_eq!(state(&lab) == LeaseState::Orphan, exit_is_enough, "{seen:?}");
    }
}

#[test]
fn a_qemu_that_shut_down_has_drained_itself_and_one_that_was_destroyed_has_not() {
    for (reason, at_once) in [(StopReason::Shutdown, true), (StopReason::Destroyed, false)] {
        let mut lab = Lab::new(3);
        let mut host = gone(&mut lab, reason);
        let asks = barriers(&lab.run(&mut host)).len();
        assert_eq!((state(&lab) == LeaseState::Stopped, asks == 0), (at_once, at_once), "{reason:?}");
        lab.pass(RULES.drain);
        lab.run(&mut host);
        assert_eq!(state(&lab) == LeaseState::Stopped, at_once, "{reason:?}");
    }
    let mut lab = Lab::new(3);
    let mut host = gone(&mut lab, StopReason::Destroyed);
    lab.quiesce(&mut host);
    assert_eq!(state(&lab), LeaseState::Stopped, "a user ended it: nobody recovers it");
}

#[test]
fn a_restarted_agent_does_not_know_whether_it_was_quiet() {
    for ran in [true, false] {
        let mut lab = Lab::new(3);
        let base = crate::format::LeaseBase::Recoverable;
        lab.put(who(0, 1), 5, &[LeaseEntry { base, ..entry(1, LeaseState::Own, 1) }]);
        let mut host = restarted(&lab, ran);
        lab.run(&mut host);
        host.leases.listed(&running(&[]), lab.now.instant);
        scans(&mut lab, &mut host, 10, 3, &[]);
        assert_eq!(barriers(&lab.run(&mut host)).len(), 1, "a start of its former process may have run");
        lab.pass(RULES.drain);
        lab.run(&mut host);
        assert_eq!(state(&lab), LeaseState::Own, "ran: {ran}");
    }
}

#[test]
fn what_is_started_here_again_meanwhile_is_kept_and_its_next_end_is_shown_anew() {
    for listed_first in [true, false] {
        let mut lab = Lab::new(3);
        let mut host = gone(&mut lab, StopReason::Crashed);
        let [(of, asked)] = barriers(&lab.run(&mut host))[..] else { panic!("one barrier") };
        lab.answer(&mut host, of, asked, &QUICK);
        if listed_first {
            host.leases.listed(&running(&[1]), lab.now.instant);
        } else {
            scans(&mut lab, &mut host, 13, 1, &[1]);
        }
        lab.pass(RULES.drain);
        lab.run(&mut host);
        assert_eq!(state(&lab), LeaseState::Own, "it runs");
        host.leases.stopped(domain(1), StopReason::Crashed, lab.now.instant);
        scans(&mut lab, &mut host, 20, 3, &[]);
        let [(_, later)] = barriers(&lab.run(&mut host))[..] else { panic!("one barrier") };
        assert_ne!(later, asked);
        lab.answer(&mut host, of, asked, &QUICK);
        lab.pass(RULES.drain);
        lab.run(&mut host);
        assert_eq!(state(&lab), LeaseState::Own, "the old answer is of the process before");
    }
}

#[test]
fn after_the_latch_a_quiet_entry_stays_own_too() {
    let mut lab = Lab::new(3);
    let mut host = gone(&mut lab, StopReason::Crashed);
    let [(of, asked)] = barriers(&lab.run(&mut host))[..] else { panic!("one barrier") };
    host.may_write = false;
    lab.answer(&mut host, of, asked, &QUICK);
    lab.pass(RULES.drain);
    lab.run(&mut host);
    assert_eq!(state(&lab), LeaseState::Own, "the fencer's CLEAN and a rejoin end it");
}
