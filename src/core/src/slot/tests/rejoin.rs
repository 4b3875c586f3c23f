//! The rejoin after a new boot, sentence by sentence.

use std::time::Duration;

use super::lab::{A, B, BOOT, Fate, Lab, OLD_BOOT, joined, joiner, record, refusal};
use crate::format::{HostRecord, HostState, LeaseEntry, LeaseFlags, LeasePage, LeaseState, RecordCopy};
use crate::ids::{DomainId, Generation, Incarnation, Sequence, Slot, Term};
use crate::slot::{Join, Joiner};

const ME: Incarnation = Incarnation { slot: Slot(1), generation: Generation(5) };

/// Slot 1 of 2 is A's, incarnation 1.5, written by the boot before.
fn lab() -> Lab {
    let mut lab = Lab::new(2);
    lab.put_claim(1, A, "alpha");
    lab.put_records(1, A, 5, HostState::Held);
    lab
}

fn join(lab: &Lab) -> Join {
    Join::new(lab.layout, joiner(A))
}

fn entry(domain: u8, state: LeaseState, term: u32) -> LeaseEntry {
    LeaseEntry { domain: DomainId([domain; 16]), state, term: Term(term), ..LeaseEntry::default() }
}

#[test]
fn a_machine_with_a_record_of_its_own_rejoins_and_claims_nothing() {
    let mut lab = lab();
    let mut join = join(&lab);
    let end = joined(lab.run(&mut join));
    assert_eq!(end.record.incarnation, Incarnation { generation: Generation(6), ..ME });
    assert_eq!((end.record.boot_id, end.record.state), (BOOT, HostState::Joining));
    assert_eq!((end.record.sequence, lab.record_at(1, RecordCopy::A).sequence), (Sequence(13), Sequence(12)));
    assert!(!lab.names().iter().any(|name| name.contains("claim ")), "{:?}", lab.names());
}

#[test]
fn b_the_uptime_is_at_least_write_drain_before_anything_is_looked_at_or_written() {
    let mut lab = lab();
    let young = Joiner { uptime: Duration::from_millis(200), ..joiner(A) };
    let mut join = Join::new(lab.layout, young);
    let start = lab.ms();
    joined(lab.run(&mut join));
    // `fast`: write_drain 1 s, of which 0.2 s have passed.
    assert!(lab.when("read record 1 A") >= start + 800, "{:?}", lab.log);
}

#[test]
fn a_the_own_record_is_watched_for_three_renewals_and_a_second_and_for_verdict_after_without_a_firmware_uuid()
{
    for (has_machine_uuid, watched) in [(true, 3 * 500 + 1_000), (false, 11_012)] {
        let mut lab = lab();
        let mut join = Join::new(lab.layout, Joiner { has_machine_uuid, ..joiner(A) });
        joined(lab.run(&mut join));
        let looks: Vec<u64> =
            lab.log.iter().filter(|(_, n)| n == "read record 1 A").map(|(at, _)| *at).collect();
        assert!(looks[1] - looks[0] >= watched && looks[1] - looks[0] < watched + 10, "{looks:?}");
        assert!(lab.when("write page 0 1 A") > looks[1], "nothing is written before");
    }
}

#[test]
fn a_change_while_it_is_watched_is_a_live_clone_and_nothing_is_written() {
    let mut lab = lab();
    let mut join = join(&lab);
    let mut looks = 0;
    let end = lab.run_with(&mut join, |lab, name| {
        looks += usize::from(name == "read record 1 A");
        if looks == 2 && name == "read record 1 A" {
            lab.put_record(&record(1, A, 5, 13, HostState::Held));
        }
        Fate::Took(1)
    });
    let error = refusal(end);
    assert!(error.contains("clone of this machine runs") && error.contains("slot 1"), "{error}");
    assert_eq!(lab.writes(), Vec::<&str>::new());
}

#[test]
fn a_late_write_of_the_boot_before_is_no_clone() {
    let mut lab = lab();
    let young = Joiner { uptime: Duration::ZERO, ..joiner(A) };
    let mut join = Join::new(lab.layout, young);
    let end = lab.run_with(&mut join, |lab, name| {
        if name == "read record 1 A" && lab.writes().is_empty() {
            lab.put_record(&record(1, A, 5, 12, HostState::Held)); // lands while the uptime is waited for
        }
        Fate::Took(1)
    });
    assert_eq!(joined(end).record.sequence, Sequence(15), "above the late one");
}

#[test]
fn c_the_generation_is_above_both_copies_and_all_own_lease_pages() {
    let mut lab = lab();
    lab.put_record(&record(1, A, 7, 12, HostState::Joining));
    let mut first = join(&lab);
    let seven = record(1, A, 7, 12, HostState::Joining).incarnation;
    assert_eq!(joined(lab.run(&mut first)).record.incarnation.generation, seven.generation.next());
    let mut lab = self::lab();
    lab.put_page(1, &LeasePage::new(Incarnation { generation: Generation(9), ..ME }, OLD_BOOT, Sequence(3)));
    let mut second = join(&lab);
    assert_eq!(joined(lab.run(&mut second)).record.incarnation.generation, Generation(10));
}

#[test]
fn d_own_becomes_orphan_orphan_stopped_and_saved_are_kept_wants_are_cleared_and_incoming_is_dropped() {
    let mut lab = lab();
    let mut page = LeasePage::new(ME, OLD_BOOT, Sequence(8));
    let want = LeaseEntry { want_term: Term(9), ..entry(6, LeaseState::Empty, 0) };
    let own = LeaseEntry { want_term: Term(8), flags: LeaseFlags::HA, ..entry(1, LeaseState::Own, 4) };
    let rest = [LeaseState::Orphan, LeaseState::Stopped, LeaseState::Saved, LeaseState::Incoming];
    let rest = (2u8..).zip(rest).map(|(domain, state)| entry(domain, state, 5));
    for entry in rest.chain([want, own]) {
        page.insert(entry).unwrap();
    }
    lab.put_page(0, &page);
    let mut join = join(&lab);
    let end = joined(lab.run(&mut join));
    let found: Vec<_> =
        end.pages[0].entries().map(|e| (e.domain.0[0], e.state, e.term.0, e.want_term.0)).collect();
    assert_eq!(
        found,
        [
            (1, LeaseState::Orphan, 4, 0),
            (2, LeaseState::Orphan, 5, 0),
            (3, LeaseState::Stopped, 5, 0),
            (4, LeaseState::Saved, 5, 0),
        ]
    );
    for copy in RecordCopy::BOTH {
        assert_eq!(lab.page_at(0, 1, copy), end.pages[0]);
        assert_eq!(lab.page_at(1, 1, copy), end.pages[1], "an empty page too");
    }
    assert!(lab.when("write page 1 1 B") < lab.when("write record 1 A"), "(d) comes before (e)");
}

#[test]
fn d_an_unreadable_own_page_is_mended_by_the_rejoin() {
    let mut lab = lab();
    for copy in RecordCopy::BOTH {
        let place = lab.layout.lease_page(0, Slot(1), copy);
        lab.put(&place, &[0x55; 4096]);
    }
    let mut join = join(&lab);
    joined(lab.run(&mut join));
    assert!(lab.page_at(0, 1, RecordCopy::A).is_empty());
}

#[test]
fn e_the_freed_generation_is_carried_on() {
    let mut lab = lab();
    let older = HostRecord { freed_generation: Generation(3), ..record(1, A, 5, 10, HostState::Held) };
    lab.put_record(&older);
    let mut join = join(&lab);
    assert_eq!(joined(lab.run(&mut join)).record.freed_generation, Generation(3));
}

#[test]
fn e_the_record_is_read_back_and_another_machines_there_ends_it() {
    for (found, foreign) in [
        (record(1, B, 6, 12, HostState::Joining), true),
        (record(1, A, 9, 12, HostState::Joining), true),
        (record(1, A, 6, 12, HostState::Joining), true), // mine, but of another boot
        (record(1, A, 5, 12, HostState::Held), false),   // older and mine: a late write, written over
    ] {
        let mut lab = lab();
        let mut join = join(&lab);
        let mut done = false;
        let end = lab.run_with(&mut join, |lab, name| {
            if name == "read record 1 A" && lab.writes().contains(&"write record 1 B") && !done {
                done = true;
                lab.put_record(&found);
            }
            Fate::Took(1)
        });
        match foreign {
            true => assert!(refusal(end).contains("another machine's record"), "{found:?}"),
            false => assert_eq!(joined(end).record.sequence, Sequence(15)),
        }
    }
}

#[test]
fn a_failed_page_write_is_repeated_with_the_same_bytes_and_nothing_goes_on_before() {
    let mut lab = lab();
    let mut join = join(&lab);
    let mut failures = 2;
    joined(lab.run_with(&mut join, |_, name| {
        let fails = name == "write page 0 1 B" && failures > 0;
        failures -= i32::from(fails);
        if fails { Fate::Fails(5) } else { Fate::Took(1) }
    }));
    let writes = lab.writes();
    assert_eq!(
        writes[..5],
        ["write page 0 1 A", "write page 0 1 B", "write page 0 1 B", "write page 0 1 B", "write page 1 1 A"]
    );
}

#[test]
fn this_machines_key_in_two_records_is_refused() {
    let mut lab = lab();
    lab.put_records(0, A, 2, HostState::Joining);
    let mut join = join(&lab);
    assert!(refusal(lab.run(&mut join)).contains("slots 0 and 1 both carry this machine's key"));
    assert_eq!(lab.writes(), Vec::<&str>::new());
}

#[test]
fn a_copy_that_cannot_be_read_is_borne_only_where_the_claim_is_this_machines() {
    let damage = |lab: &mut Lab, copy| {
        let place = lab.layout.host_record(Slot(1), copy);
        lab.put(&place, &[0x55; 4096]);
    };
    let mut mine = lab();
    damage(&mut mine, RecordCopy::A);
    let mut first = join(&mine);
    assert_eq!(joined(mine.run(&mut first)).record.incarnation.generation, Generation(6));
    let mut theirs = lab();
    theirs.put_claim(1, B, "beta");
    damage(&mut theirs, RecordCopy::A);
    let mut second = join(&theirs);
    assert!(refusal(theirs.run(&mut second)).contains("its claim is not this machine's"));
    let mut lost = lab();
    damage(&mut lost, RecordCopy::A);
    damage(&mut lost, RecordCopy::B);
    let mut third = join(&lost);
    assert!(refusal(lost.run(&mut third)).contains("no copy of its record is readable"));
    assert_eq!((theirs.writes(), lost.writes()), (Vec::new(), Vec::new()));
}

#[test]
fn a_sector_that_a_large_read_shows_torn_is_read_again_by_itself() {
    let mut lab = lab();
    let whole = lab.get(&lab.layout.host_record(Slot(1), RecordCopy::B)).to_vec();
    let place = lab.layout.host_record(Slot(1), RecordCopy::B);
    lab.put_claim(1, B, "beta"); // so that a damaged copy would be refused
    lab.put(&place, &[0x55; 4096]);
    let mut join = join(&lab);
    let end = lab.run_with(&mut join, |lab, name| {
        if name == "read record 1 B" && lab.writes().is_empty() {
            lab.put(&place, &whole);
        }
        Fate::Took(1)
    });
    joined(end);
}
