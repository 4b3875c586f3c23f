//! Drop: two passes, and what keeps an entry.

use std::time::Duration;

use super::ending::{owner, scans};
use super::lab::*;
use crate::format::{LeaseEntry, LeaseState, RecordCopy};
use crate::ids::Term;
use crate::member::StopReason;
use crate::storage::IoOp;

/// Lets the time for a look at old entries come, and all that follows happen.
fn drop_round(lab: &mut Lab, host: &mut Host) {
    lab.run(host);
    lab.pass(Duration::from_secs(31));
    lab.run(host);
}

#[test]
fn an_orphan_goes_when_a_higher_term_stands_elsewhere() {
    for higher in [LeaseState::Own, LeaseState::Orphan, LeaseState::Stopped, LeaseState::Saved] {
        let mut lab = Lab::new(3);
        lab.put(who(0, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
        lab.put(who(1, 1), 2, &[entry(1, higher, 4)]);
        let mut host = lab.host(who(0, 1));
        drop_round(&mut lab, &mut host);
        assert_eq!(lab.says(0, 1), None, "{higher:?}");
    }
}

#[test]
fn the_last_orphan_of_a_key_is_never_dropped() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Orphan, 2)]);
    let mut host = lab.host(who(0, 1));
    drop_round(&mut lab, &mut host);
    assert_eq!(lab.says(0, 1).map(|e| e.term), Some(Term(3)));
}

#[test]
fn a_tombstone_goes_when_nobody_else_knows_the_key() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(1, LeaseState::Stopped, 3), entry(2, LeaseState::Stopped, 3)]);
    // An older orphan would be recovered if the tombstone went.
    lab.put(who(1, 1), 2, &[entry(2, LeaseState::Orphan, 2)]);
    let mut host = lab.host(who(0, 1));
    drop_round(&mut lab, &mut host);
    assert_eq!(lab.says(0, 1), None);
    assert_eq!(lab.says(0, 2).map(|e| e.state), Some(LeaseState::Stopped));
}

#[test]
fn a_want_or_incoming_keeps_it_dead_hosts_included() {
    let wanting = LeaseEntry { want_term: Term(5), ..entry(1, LeaseState::Stopped, 4) };
    for theirs in [wanting, entry(1, LeaseState::Incoming, 4)] {
        for gone in [false, true] {
            let mut lab = Lab::new(3);
            lab.put(who(0, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
            lab.put(who(1, 1), 2, &[theirs]);
            lab.put(who(2, 1), 2, &[entry(1, LeaseState::Own, 4)]);
            if gone {
                lab.gone.insert(who(1, 1));
            }
            let mut host = lab.host(who(0, 1));
            drop_round(&mut lab, &mut host);
            assert!(lab.says(0, 1).is_some(), "{theirs:?} gone {gone}");
        }
    }
}

#[test]
fn an_unreadable_sector_keeps_everything() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Own, 4)]);
    lab.damage(2, RecordCopy::A);
    lab.damage(2, RecordCopy::B);
    let mut host = lab.host(who(0, 1));
    drop_round(&mut lab, &mut host);
    assert!(lab.says(0, 1).is_some());
}

#[test]
fn both_passes_must_see_the_reason_and_the_second_begins_after_the_first() {
    //   host 0: pass 1 (clean) ................. pass 2 (a want: keeps it)
    //   host 1:                 want 5 lands
    for old in [LeaseState::Orphan, LeaseState::Stopped] {
        assert!(says_after_a_want_between_the_passes(old).is_some(), "{old:?}");
    }
}

fn says_after_a_want_between_the_passes(old: LeaseState) -> Option<LeaseEntry> {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(1, old, 3)]);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Stopped, 4)]);
    let mut host = lab.host(who(0, 1));
    let first = first_pass(&mut lab, &mut host);
    lab.finish(&mut host, &first, Fate::Done);
    lab.put(who(1, 1), 3, &[LeaseEntry { want_term: Term(5), ..entry(1, LeaseState::Stopped, 4) }]);
    lab.run(&mut host);
    lab.says(0, 1)
}

/// The time for a look at old entries comes: its first pass is next. The sweep over the own sectors goes before it.
fn first_pass(lab: &mut Lab, host: &mut Host) -> IoOp {
    lab.run(host);
    lab.pass(Duration::from_secs(31));
    let start = lab.layout.lease_page_range(0).start;
    loop {
        let op = lab.next(host).unwrap();
        if matches!(&op, IoOp::Read { offset, len } if *offset == start && *len > 4096) {
            return op;
        }
        lab.finish(host, &op, Fate::Done);
    }
}

#[test]
fn what_ends_during_the_passes_is_first_written_as_what_it_became() {
    //   host 0: own(1)   pass 1 ..... stopped(1) in memory alone ..... pass 2   writes stopped(1)
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(2, LeaseState::Stopped, 3)]);
    let mut host = owner(&mut lab);
    let first = first_pass(&mut lab, &mut host);
    host.leases.stopped(domain(1), StopReason::Shutdown, lab.now.instant);
    scans(&mut lab, &mut host, 10, 4, &[]);
    assert!(!host.leases.owns(domain(1)), "its process is proven gone");
    lab.finish(&mut host, &first, Fate::Done);
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1).map(|e| e.state), Some(LeaseState::Stopped));
    drop_round(&mut lab, &mut host);
    assert_eq!((lab.says(0, 1), lab.says(0, 2)), (None, None));
}

#[test]
fn saved_and_own_are_never_dropped() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(1, LeaseState::Saved, 3), entry(2, LeaseState::Own, 3)]);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Stopped, 4), entry(2, LeaseState::Stopped, 4)]);
    let mut host = lab.host(who(0, 1));
    drop_round(&mut lab, &mut host);
    assert!(lab.says(0, 1).is_some() && lab.says(0, 2).is_some());
}

#[test]
fn a_drop_of_unknown_outcome_is_carried_through_and_never_taken_back() {
    //   host 0: drops stopped(3): A lands, B fails ........................ writes again: still without it
    //   host 1:                                    sees nothing, own(1)
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(1, LeaseState::Stopped, 3)]);
    let (mut dropping, mut user) = (lab.host(who(0, 1)), lab.host(who(1, 1)));
    lab.run(&mut dropping);
    lab.pass(Duration::from_secs(31));
    let op = lab.run_to_write(&mut dropping, 2);
    lab.finish(&mut dropping, &op, Fate::Fails);
    assert_eq!(won(lab.acquire(&mut user, plain(1))).term, Term(1), "nothing is known of the domain");
    lab.settle_unknown(&mut dropping);
    lab.run(&mut dropping);
    assert_eq!(lab.says(0, 1), None, "a stopped(3) above own(1) would be the top");
}
