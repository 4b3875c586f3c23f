//! The own sector: both copies, unknown writes, the look at it every few seconds, and the next generation's.

use std::time::Duration;

use super::lab::*;
use crate::format::{LeaseEntry, LeaseState, RecordCopy};
use crate::ids::{Sequence, Term};
use crate::lease::{AcquireOutcome, EndReason, LeaseEvent, Leases, LeasesConfig, for_next_generation};
use crate::storage::IoOp;

/// A host that owns domain 1.
fn owner(lab: &mut Lab) -> Host {
    let mut host = lab.host(who(0, 1));
    won(lab.acquire(&mut host, plain(1)));
    host
}

fn end(lab: &Lab, host: &mut Host, n: u8) {
    lab.with(host, |ctx, leases| leases.end(ctx, domain(n), EndReason::Stopped));
}

#[test]
fn a_sector_is_written_copy_a_then_copy_b_with_one_sequence() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    end(&lab, &mut host, 1);
    let (a, b) = (
        lab.layout.lease_page(0, who(0, 1).slot, RecordCopy::A),
        lab.layout.lease_page(0, who(0, 1).slot, RecordCopy::B),
    );
    let offsets = std::iter::from_fn(|| {
        let op = lab.next(&mut host)?;
        lab.finish(&mut host, &op, Fate::Done);
        let IoOp::Write { offset, .. } = op else { panic!("only writes are due") };
        Some(offset)
    });
    assert_eq!(offsets.collect::<Vec<_>>(), [a.offset, b.offset]);
    assert_eq!(lab.copy(0, RecordCopy::A), lab.copy(0, RecordCopy::B));
}

#[test]
fn a_sector_is_not_written_while_an_earlier_write_to_it_may_still_land() {
    //   stopped 1 → copy A ... no answer      own 1 may not be overtaken: 60 s of acknowledged renewals, two equal reads
    let mut lab = Lab::new(3);
    // An older orphan elsewhere keeps the tombstone from being dropped.
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Orphan, 1)]);
    let mut host = owner(&mut lab);
    end(&lab, &mut host, 1);
    let op = lab.next(&mut host).unwrap();
    lab.finish(&mut host, &op, Fate::Fails);
    host.leases.acquire(plain(2));
    for _ in 0..30 {
        lab.pass(Duration::from_secs(1));
        assert_eq!(lab.next(&mut host), None, "neither the write again, nor another acquire in this sector");
    }
    // It lands now, late; nothing of ours can have been overwritten by it.
    let IoOp::Write { offset, data } = &op else { panic!("a write") };
    lab.write(*offset, data);
    lab.settle_unknown(&mut host);
    let seen = lab.run(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Stopped);
    assert!(matches!(outcome(&seen), AcquireOutcome::Acquired(_)), "what was queued goes on");
}

#[test]
fn a_damaged_copy_is_written_again_from_memory_within_five_seconds() {
    for copy in RecordCopy::BOTH {
        let mut lab = Lab::new(3);
        let mut host = owner(&mut lab);
        lab.run(&mut host);
        lab.damage(0, copy);
        lab.pass(Duration::from_secs(5));
        let seen = lab.run(&mut host);
        assert!(seen.iter().any(|event| matches!(event, LeaseEvent::Mended(_))), "{seen:?}");
        assert_eq!(lab.copy(0, copy).unwrap().get(domain(1)).unwrap().state, LeaseState::Own);
    }
}

#[test]
fn an_own_sector_that_another_life_or_process_wrote_is_foreign() {
    for (whose, sequence) in [(who(0, 2), 1), (who(0, 1), 99)] {
        let mut lab = Lab::new(3);
        let mut host = owner(&mut lab);
        lab.run(&mut host);
        lab.put(whose, sequence, &[]);
        lab.pass(Duration::from_secs(5));
        let op = lab.next(&mut host).unwrap();
        lab.finish(&mut host, &op, Fate::Done);
        lab.next(&mut host);
        let seen = events(&mut host);
        assert!(seen.iter().any(|event| matches!(event, LeaseEvent::Foreign(_))), "{seen:?}");
    }
}

#[test]
fn a_change_made_while_another_write_is_under_way_is_not_lost() {
    //   S2 (want 2) is in flight ... domain 1 ends ... S2 acknowledged ... S4 says both
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    host.leases.acquire(plain(2));
    let op = lab.run_to_write(&mut host, 1);
    end(&lab, &mut host, 1);
    lab.finish(&mut host, &op, Fate::Done);
    let seen = lab.run(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Stopped);
    assert_eq!(lab.says(0, 2).unwrap().state, LeaseState::Own);
    assert!(seen.iter().any(|event| matches!(event, LeaseEvent::Ended { .. })));
}

#[test]
fn closing_ends_what_is_queued_and_leaves_no_want() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[want(1, 1)]);
    let mut host = lab.host(who(0, 1));
    host.leases.acquire(plain(1));
    lab.run(&mut host);
    host.leases.close();
    assert_eq!(outcome(&lab.run(&mut host)), AcquireOutcome::LostLease);
    assert!(host.leases.is_quiet());
    assert_eq!(lab.says(0, 1), None);
}

#[test]
fn the_page_version_changes_with_each_write() {
    let mut lab = Lab::new(3);
    let mut host = lab.host(who(0, 1));
    let before = host.leases.page_versions();
    won(lab.acquire(&mut host, plain(1)));
    assert_ne!(host.leases.page_versions(), before);
}

#[test]
fn the_next_generation_keeps_orphans_stopped_and_saved_and_makes_own_an_orphan() {
    let mut lab = Lab::new(3);
    let owned = LeaseEntry { pred: Some(who(2, 1)), failures: 1, ..entry(1, LeaseState::Own, 4) };
    let wanting = LeaseEntry { want_term: Term(9), ..entry(3, LeaseState::Stopped, 2) };
    let saved = entry(4, LeaseState::Saved, 2);
    let entries = [
        owned,
        entry(2, LeaseState::Orphan, 2),
        wanting,
        saved,
        entry(5, LeaseState::Incoming, 6),
        want(6, 3),
    ];
    lab.put(who(0, 1), 2, &entries);
    let found = lab.copy(0, RecordCopy::A).unwrap();
    let next = for_next_generation(&found, who(0, 2), boot(who(0, 2)), Sequence(1));
    let orphan = LeaseEntry { failures: 1, ..entry(1, LeaseState::Orphan, 4) };
    let kept = [orphan, entry(2, LeaseState::Orphan, 2), entry(3, LeaseState::Stopped, 2), saved];
    assert_eq!(
        next.entries().copied().collect::<Vec<_>>(),
        kept,
        "no want, no incoming, no predecessor, no lower term"
    );
    assert_eq!((next.incarnation, next.boot_id), (who(0, 2), boot(who(0, 2))));
}

#[test]
fn a_sector_unreadable_after_a_restart_is_not_used() {
    let mut lab = Lab::new(3);
    lab.damage(0, RecordCopy::A);
    lab.damage(0, RecordCopy::B);
    let config: LeasesConfig = lab.config(who(0, 1));
    let mut host = lab.host(who(1, 1));
    host.me = who(0, 1);
    host.leases = Leases::after_restart(config, &[]);
    host.leases.acquire(plain(1));
    let seen = lab.run(&mut host);
    assert!(seen.iter().any(|event| matches!(event, LeaseEvent::Note(_))), "{seen:?}");
    assert!(host.leases.page(0).is_none());
    // Whoever waits for it is told, and does not wait for ever.
    assert_eq!(outcome(&seen), AcquireOutcome::Unreadable(who(0, 1).slot));
}
