//! S1 to S4: what lets an acquire go on, and what stops it.

use super::lab::*;
use crate::format::{LeaseBase, LeaseEntry, LeaseFlags, LeaseState, PAGE_ENTRIES, RecordCopy};
use crate::ids::{Slot, Term};
use crate::lease::{AcquireKind, AcquireOutcome, AcquireRequest, Conflict, DomainSpec, LeaseEvent, page_of};
use crate::storage::IoOp;

#[test]
fn an_acquire_costs_two_scans_and_two_writes_of_two_copies() {
    let mut lab = Lab::new(3);
    let mut host = lab.host(who(0, 1));
    host.leases.acquire(plain(1));
    let mut ops = String::new();
    while let Some(op) = lab.next(&mut host) {
        ops.push(if matches!(op, IoOp::Read { .. }) { 'R' } else { 'W' });
        lab.finish(&mut host, &op, Fate::Done);
    }
    assert_eq!(ops, "RWWRWW");
    assert_eq!(won(outcome(&events(&mut host))).term, Term(1));
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own);
}

#[test]
fn own_incoming_or_want_of_an_incarnation_that_is_not_gone_is_busy_and_named() {
    for (theirs, conflict) in [
        (entry(1, LeaseState::Own, 4), Conflict::Own),
        (entry(1, LeaseState::Incoming, 4), Conflict::Incoming),
        (want(1, 4), Conflict::Want),
    ] {
        let mut lab = Lab::new(3);
        lab.put(who(1, 1), 2, &[theirs]);
        let mut host = lab.host(who(0, 1));
        host.leases.acquire(plain(1));
        let mut seen = Vec::new();
        // A want may go away: up to 8 tries with a back-off between them.
        for _ in 0..20 {
            seen.extend(lab.run(&mut host));
            lab.pass(std::time::Duration::from_secs(60));
        }
        assert_eq!(outcome(&seen), AcquireOutcome::Busy { who: who(1, 1), conflict });
        assert_eq!(lab.says(0, 1), None, "nothing was written against it");
    }
}

#[test]
fn a_gone_incarnation_stands_against_nobody() {
    for theirs in [entry(1, LeaseState::Own, 4), entry(1, LeaseState::Incoming, 4), want(1, 4)] {
        let mut lab = Lab::new(3);
        lab.put(who(1, 1), 2, &[theirs]);
        lab.gone.insert(who(1, 1));
        let mut host = lab.host(who(0, 1));
        assert_eq!(won(lab.acquire(&mut host, plain(1))).term, Term(5), "above its term and its want");
    }
}

#[test]
fn the_want_is_one_above_all_terms_and_wants_the_dead_hosts_too() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[LeaseEntry { want_term: Term(9), ..entry(1, LeaseState::Orphan, 3) }]);
    lab.put(who(2, 1), 2, &[entry(1, LeaseState::Stopped, 2)]);
    lab.gone.insert(who(1, 1));
    let mut host = lab.host(who(0, 1));
    assert_eq!(won(lab.acquire(&mut host, recovery(1))).term, Term(10));
}

#[test]
fn a_sector_unreadable_in_both_copies_fails_the_acquire_gone_or_not() {
    for gone in [false, true] {
        let mut lab = Lab::new(3);
        lab.put(who(1, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
        lab.damage(2, RecordCopy::A);
        lab.damage(2, RecordCopy::B);
        if gone {
            lab.gone.insert(who(2, 1));
        }
        let mut host = lab.host(who(0, 1));
        assert_eq!(lab.acquire(&mut host, recovery(1)), AcquireOutcome::Unreadable(Slot(2)));
        assert_eq!(lab.says(0, 1), None);
    }
}

#[test]
fn one_damaged_copy_hides_nothing() {
    for copy in RecordCopy::BOTH {
        let mut lab = Lab::new(3);
        lab.put(who(1, 1), 2, &[entry(1, LeaseState::Own, 3)]);
        lab.damage(1, copy);
        let mut host = lab.host(who(0, 1));
        let busy = AcquireOutcome::Busy { who: who(1, 1), conflict: Conflict::Own };
        assert_eq!(lab.acquire(&mut host, plain(1)), busy);
    }
}

#[test]
fn all_zero_is_empty_only_while_both_record_copies_are_zero_or_free() {
    let mut lab = Lab::new(3);
    for copy in RecordCopy::BOTH {
        let place = lab.layout.lease_page(0, Slot(2), copy);
        lab.write(place.offset, &vec![0; place.len]);
    }
    let mut host = lab.host(who(0, 1));
    assert_eq!(lab.acquire(&mut host, plain(1)), AcquireOutcome::Unreadable(Slot(2)));
    lab.vacant.insert(Slot(2));
    won(lab.acquire(&mut host, plain(1)));
}

#[test]
fn a_sector_that_tears_in_the_large_read_is_read_again_by_itself() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Own, 3)]);
    let whole = lab.clone();
    lab.damage(1, RecordCopy::A);
    lab.damage(1, RecordCopy::B);
    let mut host = lab.host(who(0, 1));
    host.leases.acquire(plain(1));
    let op = lab.next(&mut host).unwrap();
    lab.finish(&mut host, &op, Fate::Done);
    lab.bytes = whole.bytes;
    let busy = AcquireOutcome::Busy { who: who(1, 1), conflict: Conflict::Own };
    assert_eq!(outcome(&lab.run(&mut host)), busy);
}

#[test]
fn recovery_goes_on_only_if_the_top_is_recoverable() {
    for (theirs, gone, recoverable) in [
        (entry(1, LeaseState::Orphan, 3), false, true),
        (entry(1, LeaseState::Own, 3), true, true),
        (entry(1, LeaseState::Stopped, 3), true, false),
        (entry(1, LeaseState::Saved, 3), true, false),
    ] {
        let mut lab = Lab::new(3);
        lab.put(who(1, 1), 2, &[theirs]);
        lab.put(who(2, 1), 2, &[entry(1, LeaseState::Orphan, 2)]);
        if gone {
            lab.gone.insert(who(1, 1));
        }
        let mut host = lab.host(who(0, 1));
        let outcome = lab.acquire(&mut host, recovery(1));
        assert_eq!(matches!(outcome, AcquireOutcome::Acquired(_)), recoverable, "{theirs:?}: {outcome:?}");
    }
}

#[test]
fn one_that_wants_after_the_others_second_scan_finds_its_own() {
    //   host 0: scan, want 4, scan, own 4
    //   host 1: scan .................... want 4, scan: own 4 of a live host
    let mut lab = Lab::new(3);
    lab.put(who(2, 1), 2, &[entry(1, LeaseState::Own, 3)]);
    lab.gone.insert(who(2, 1));
    let (mut zero, mut one) = (lab.host(who(0, 1)), lab.host(who(1, 1)));
    one.leases.acquire(recovery(1));
    lab.run_to_write(&mut one, 1);
    won(lab.acquire(&mut zero, recovery(1)));
    let busy = AcquireOutcome::Busy { who: who(0, 1), conflict: Conflict::Own };
    assert_eq!(outcome(&lab.run(&mut one)), busy);
    assert_eq!(lab.says(1, 1), None, "its want is taken back");
}

#[test]
fn two_that_stand_between_want_and_second_scan_both_step_back() {
    let mut lab = Lab::new(3);
    lab.put(who(2, 1), 2, &[entry(1, LeaseState::Own, 3)]);
    lab.gone.insert(who(2, 1));
    let (mut zero, mut one) = (lab.host(who(0, 1)), lab.host(who(1, 1)));
    zero.leases.acquire(recovery(1));
    one.leases.acquire(recovery(1));
    lab.run_to_write(&mut zero, 1);
    lab.run_to_write(&mut one, 1);
    lab.run_through_write(&mut zero, 2);
    lab.run_through_write(&mut one, 2);
    // Both wants are acknowledged: each second scan sees the other's.
    assert!(lab.run(&mut zero).is_empty(), "it tries again later");
    assert_eq!(lab.says(0, 1), None, "and has taken its want back");
    won(outcome(&lab.run(&mut one)));
}

#[test]
fn a_recovery_steps_back_when_its_second_scan_finds_another_top() {
    //   host 0: scan (top: own 3 of a gone host), want 5 ............... scan: top is 4 now
    //   host 1:                                       stopped 4 lands
    let mut lab = Lab::new(3);
    lab.put(who(2, 1), 2, &[entry(1, LeaseState::Own, 3)]);
    lab.put(who(1, 1), 2, &[want(1, 4)]);
    lab.gone.insert(who(2, 1));
    lab.gone.insert(who(1, 1));
    let mut host = lab.host(who(0, 1));
    host.leases.acquire(recovery(1));
    lab.run_through_write(&mut host, 2);
    assert_eq!(lab.says(0, 1).unwrap().want_term, Term(5));
    // A write of the dead host 1, still in flight until now: it had won, and its domain was stopped by a user.
    lab.put(who(1, 1), 3, &[entry(1, LeaseState::Stopped, 4)]);
    let mut seen = lab.run(&mut host);
    lab.pass(std::time::Duration::from_secs(1));
    seen.extend(lab.run(&mut host));
    assert!(matches!(outcome(&seen), AcquireOutcome::NotRecoverable(_)), "{seen:?}");
    assert_eq!(lab.says(0, 1), None);
}

#[test]
fn only_the_acknowledgement_of_both_copies_permits_the_start() {
    let mut lab = Lab::new(3);
    let mut host = lab.host(who(0, 1));
    host.leases.acquire(plain(1));
    lab.run_through_write(&mut host, 3);
    assert_eq!(lab.copy(0, RecordCopy::A).unwrap().get(domain(1)).unwrap().state, LeaseState::Own);
    assert_eq!(events(&mut host), [], "copy A alone permits nothing");
    assert!(!host.leases.owns(domain(1)));
    won(outcome(&lab.run(&mut host)));
    for copy in RecordCopy::BOTH {
        assert_eq!(lab.copy(0, copy).unwrap().get(domain(1)).unwrap().state, LeaseState::Own, "{copy:?}");
    }
    assert!(host.leases.owns(domain(1)));
}

#[test]
fn an_unknown_write_of_own_never_starts_and_keeps_its_term() {
    for fate in [Fate::Fails, Fate::LandsUnacknowledged] {
        let mut lab = Lab::new(3);
        lab.put(who(1, 1), 2, &[entry(1, LeaseState::Own, 3)]);
        lab.gone.insert(who(1, 1));
        let mut host = lab.host(who(0, 1));
        host.leases.acquire(recovery(1));
        let op = lab.run_to_write(&mut host, 4);
        lab.finish(&mut host, &op, fate);
        assert_eq!(outcome(&lab.run(&mut host)), AcquireOutcome::Unknown);
        assert!(!host.leases.owns(domain(1)));
        assert_eq!(lab.next(&mut host), None, "the sector is not written while the write may still land");
        lab.settle_unknown(&mut host);
        lab.run(&mut host);
        let mine = lab.says(0, 1).unwrap();
        assert_eq!(
            (mine.state, mine.term, mine.failures),
            (LeaseState::Orphan, Term(4), 1),
            "never below its term"
        );
        assert_eq!(mine.pred, None, "an orphan convicts nobody");
    }
}

#[test]
fn the_own_lease_is_needed_at_every_step() {
    for writes in 1..=4 {
        let mut lab = Lab::new(3);
        let mut host = lab.host(who(0, 1));
        host.leases.acquire(plain(1));
        let op = lab.run_to_write(&mut host, writes);
        host.may_write = false;
        // What was issued before the lease ended may still be acknowledged after it.
        lab.finish(&mut host, &op, Fate::Done);
        assert_eq!(lab.next(&mut host), None);
        assert_eq!(outcome(&events(&mut host)), AcquireOutcome::LostLease, "after write {writes}");
        assert!(!host.leases.owns(domain(1)));
    }
}

#[test]
fn a_full_page_says_so_and_evicts_nothing() {
    let mut lab = Lab::new(3);
    let full: Vec<_> = (1..=62).map(|n| entry(n, LeaseState::Stopped, 1)).collect();
    assert_eq!(full.len(), PAGE_ENTRIES);
    lab.put(who(0, 1), 2, &full);
    let mut host = lab.host(who(0, 1));
    assert_eq!(lab.acquire(&mut host, plain(63)), AcquireOutcome::Full);
    assert_eq!(won(lab.acquire(&mut host, plain(62))).term, Term(2), "one that has an entry is no new one");
    assert_eq!(lab.copy(0, RecordCopy::A).unwrap().len(), PAGE_ENTRIES);
}

#[test]
fn several_keys_of_one_page_are_each_decided_by_themselves() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[entry(2, LeaseState::Own, 1)]);
    let mut host = lab.host(who(0, 1));
    for n in [1, 2, 3] {
        host.leases.acquire(plain(n));
    }
    let ops = std::iter::from_fn(|| {
        let op = lab.next(&mut host)?;
        lab.finish(&mut host, &op, Fate::Done);
        Some(op)
    });
    assert_eq!(ops.count(), 6, "one attempt for all three");
    let states: Vec<_> = [1, 2, 3].map(|n| lab.says(0, n).map(|entry| entry.state)).to_vec();
    assert_eq!(states, [Some(LeaseState::Own), None, Some(LeaseState::Own)]);
    assert_eq!(page_of(&lab.layout, domain(2)), 0);
}

#[test]
fn pred_is_set_only_when_the_top_was_own_of_a_gone_incarnation() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Own, 3), entry(2, LeaseState::Orphan, 3)]);
    lab.gone.insert(who(1, 1));
    let mut host = lab.host(who(0, 1));
    let taken = won(lab.acquire(&mut host, recovery(1)));
    assert_eq!((taken.pred, taken.deaths, taken.base), (Some(who(1, 1)), 1, LeaseBase::Recoverable));
    let orphan = won(lab.acquire(&mut host, recovery(2)));
    assert_eq!((orphan.pred, orphan.deaths, orphan.base), (None, 0, LeaseBase::Recoverable));
}

#[test]
fn an_entry_whose_predecessor_is_ones_own_incarnation_is_a_conviction() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[LeaseEntry { pred: Some(who(0, 1)), ..entry(1, LeaseState::Own, 4) }]);
    let mut host = lab.host(who(0, 1));
    host.leases.acquire(plain(2));
    let seen = lab.run(&mut host);
    assert!(seen.contains(&LeaseEvent::Convicted { by: who(1, 1), domain: domain(1) }), "{seen:?}");
    assert_eq!(outcome(&seen), AcquireOutcome::LostLease);
    assert_eq!(lab.says(0, 2), None, "a convicted host takes nothing more");
}

#[test]
fn failures_and_deaths_carry_over_and_a_users_start_zeroes_them() {
    let top = LeaseEntry { failures: 3, deaths: 1, ..entry(1, LeaseState::Orphan, 3) };
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[top]);
    let (mut recovering, mut user) = (lab.host(who(0, 1)), lab.host(who(2, 1)));
    let mut other = lab.clone();
    let taken = won(lab.acquire(&mut recovering, recovery(1)));
    assert_eq!((taken.failures, taken.deaths), (3, 1));
    let started = won(other.acquire(&mut user, plain(1)));
    assert_eq!((started.failures, started.deaths), (0, 0));
}

/// Catches: a user's start that comes to nothing, and leaves an orphan which is no HA domain any more, or of another disk chain.
#[test]
fn what_a_gone_host_said_of_a_domain_stands_until_a_users_start_of_it_has_been_seen_to_run() {
    let mut lab = Lab::new(3);
    let flags = LeaseFlags::PROTECTED.set(LeaseFlags::HA, true);
    let orphan = LeaseEntry { flags, definition_hash: 7, priority: 9, ..entry(1, LeaseState::Orphan, 4) };
    lab.put(who(1, 1), 2, &[orphan]);
    let mut host = lab.host(who(0, 1));
    let kind = AcquireKind::Plain(DomainSpec { definition_hash: 8, ..DomainSpec::default() });
    let own = won(lab.acquire(&mut host, AcquireRequest { domain: domain(1), kind }));
    assert_eq!((own.flags, own.definition_hash, own.priority), (flags, 7, 9));
}

#[test]
fn a_held_domain_is_recovered_by_nobody_until_a_resume_or_a_users_start() {
    let flags = entry(1, LeaseState::Orphan, 3).flags.set(LeaseFlags::HOLD, true);
    let held = LeaseEntry { failures: 6, flags, ..entry(1, LeaseState::Orphan, 3) };
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[held]);
    let mut host = lab.host(who(0, 1));
    assert!(matches!(lab.acquire(&mut host, recovery(1)), AcquireOutcome::NotRecoverable(_)));
    let resumed = AcquireKind::Recovery { resumed: Some(Term(3)) };
    let taken = won(lab.acquire(&mut host, AcquireRequest { domain: domain(1), kind: resumed }));
    assert_eq!((taken.failures, taken.flags.contains(LeaseFlags::HOLD)), (0, false));
}

#[test]
fn two_deaths_put_a_domain_on_hold() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[LeaseEntry { deaths: 1, ..entry(1, LeaseState::Own, 3) }]);
    lab.gone.insert(who(1, 1));
    let mut host = lab.host(who(0, 1));
    let taken = won(lab.acquire(&mut host, recovery(1)));
    assert_eq!((taken.deaths, taken.flags.contains(LeaseFlags::HOLD)), (2, true));
    // Its next owner's death is not recovered.
    lab.gone.insert(who(0, 1));
    let mut third = lab.host(who(2, 1));
    assert!(matches!(lab.acquire(&mut third, recovery(1)), AcquireOutcome::NotRecoverable(_)));
}

#[test]
fn a_want_whose_withdrawal_is_unknown_is_withdrawn_again() {
    //   want 4 ... busy ... the write without it fails ... drained: written again
    let mut lab = Lab::new(3);
    lab.put(who(2, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
    let mut host = lab.host(who(0, 1));
    host.leases.acquire(recovery(1));
    lab.run_through_write(&mut host, 2);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Own, 5)]);
    let op = lab.run_to_write(&mut host, 1);
    lab.finish(&mut host, &op, Fate::Fails);
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1).map(|e| e.want_term), Some(Term(4)));
    lab.settle_unknown(&mut host);
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1), None);
}
