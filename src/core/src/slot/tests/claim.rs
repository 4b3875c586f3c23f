//! The claim, sentence by sentence.

use super::lab::{A, B, BOOT, Fate, Lab, joined, joiner, record, refusal};
use crate::format::{HostState, LeasePage, RecordCopy};
use crate::hash::h64;
use crate::ids::{Generation, HostKey, Incarnation, Sequence, Slot};
use crate::slot::Join;

fn join(lab: &Lab, key: HostKey) -> Join {
    Join::new(lab.layout, joiner(key))
}

#[test]
fn a_slot_is_claimed_in_seven_steps() {
    let mut lab = Lab::new(1);
    let mut join = join(&lab, A);
    let end = joined(lab.run(&mut join));
    let trial = ["read claim 0"; 5];
    let check = ["read claim 0", "read record 0 A", "read record 0 B"];
    let pages = |word: &str| ["0 0 A", "0 0 B", "1 0 A", "1 0 B"].map(|page| format!("{word} page {page}"));
    let mut expected: Vec<String> = vec!["read claims".into(), "read records".into()];
    let mut add = |names: &[&str]| expected.extend(names.iter().map(|name| (*name).to_owned()));
    add(&trial);
    add(&["read claim 0", "write claim 0"]);
    add(&check);
    expected.extend(pages("read"));
    let mut add = |names: &[&str]| expected.extend(names.iter().map(|name| (*name).to_owned()));
    add(&["write record 0 A", "write record 0 B", "read record 0 A", "read record 0 B"]);
    expected.extend(pages("write"));
    // One slot: the reads of all claims and of one claim are the same bytes.
    let names: Vec<_> = lab.names().into_iter().map(str::to_owned).collect();
    assert_eq!(names[2..], expected[2..], "{names:?}");
    assert_eq!(end.record.incarnation, Incarnation { slot: Slot(0), generation: Generation(1) });
    assert_eq!(lab.record_at(0, RecordCopy::B), end.record);
    assert_eq!((end.record.state, end.record.boot_id), (HostState::Joining, BOOT));
    assert_eq!(
        lab.page_at(1, 0, RecordCopy::B),
        end.pages[1],
        "an empty page is written too: zeros are unreadable"
    );
}

#[test]
fn candidates_come_in_the_order_of_the_hash_of_key_and_slot() {
    for key in [A, B, HostKey([3; 16])] {
        let mut order: Vec<u16> = (0..8).collect();
        order.sort_by_key(|slot| h64(&[&key.0, &slot.to_le_bytes()]));
        let mut lab = Lab::new(8);
        lab.put_claim(order[0], B, "beta");
        let mut join = join(&lab, key);
        assert_eq!(joined(lab.run(&mut join)).record.incarnation.slot, Slot(order[1]));
    }
}

#[test]
fn a_claim_that_is_not_zero_is_taken_for_ever_also_my_own_older_one_and_an_unreadable_one() {
    let mut lab = Lab::new(3);
    lab.put_claim(0, A, "alpha");
    lab.put_claim(1, B, "beta");
    let place = lab.layout.claim(Slot(2));
    lab.put(&place, &[0x55; 4096]);
    let mut join = join(&lab, A);
    let error = refusal(lab.run(&mut join));
    assert!(
        error.contains("every one of its 3 slots is claimed") && error.contains("leasefence slot free"),
        "{error}"
    );
    assert_eq!(lab.writes(), Vec::<&str>::new());
}

#[test]
fn a_slot_whose_record_is_neither_zero_nor_free_is_no_candidate() {
    let mut lab = Lab::new(1);
    lab.put_record(&record(0, B, 4, 8, HostState::Free));
    lab.put_record(&record(0, B, 4, 7, HostState::Released));
    let mut first = join(&lab, A);
    assert!(refusal(lab.run(&mut first)).contains("full"), "one copy is not `free` yet");
    let place = lab.layout.host_record(Slot(0), RecordCopy::B);
    lab.put(&place, &[0x55; 4096]);
    let mut second = join(&lab, A);
    assert!(refusal(lab.run(&mut second)).contains("full"), "a copy is unreadable");
}

#[test]
fn five_trial_reads_each_under_a_quarter_of_the_deadline_come_before_a_claim() {
    let mut lab = Lab::new(2);
    let mut trials = 0;
    let mut join = join(&lab, A);
    lab.run_with(&mut join, |_, name| {
        trials += usize::from(name.starts_with("read claim ") && trials < 8);
        match trials {
            3 if name.starts_with("read claim ") => Fate::Took(500),
            _ => Fate::Took(1),
        }
    });
    let write = lab.names().iter().position(|name| name.starts_with("write claim")).unwrap();
    let before = lab.names()[..write].iter().filter(|name| name.starts_with("read claim ")).count();
    assert_eq!(before, 3 + 5 + 1, "the slow one starts the five anew, and the read of zeros follows");
}

#[test]
fn storage_that_is_too_slow_for_a_claim_burns_no_slot() {
    let mut lab = Lab::new(2);
    let mut join = join(&lab, A);
    let end = lab.run_with(&mut join, |_, name| {
        if name.starts_with("read claim ") { Fate::Took(700) } else { Fate::Took(1) }
    });
    let error = refusal(end);
    assert!(error.contains("700 ms, where a claim needs 500 ms"), "{error}");
    assert_eq!(lab.writes(), Vec::<&str>::new());
}

/// The first claim written meets this fate; how many slots were claimed after it?
fn claims_after(fate: Fate) -> usize {
    let mut lab = Lab::new(4);
    let mut join = join(&lab, A);
    let mut first = true;
    joined(lab.run_with(&mut join, |_, name| {
        let meets = name.starts_with("write claim") && std::mem::take(&mut first);
        if meets { fate } else { Fate::Took(1) }
    }));
    lab.writes().iter().filter(|name| name.starts_with("write claim")).count()
}

#[test]
fn a_claim_acknowledged_later_than_the_deadline_after_its_read_or_with_an_error_is_abandoned() {
    // The read of zeros took 1 ms of the 2 s.
    assert_eq!(claims_after(Fate::Took(1_999)), 1);
    assert_eq!(claims_after(Fate::Took(2_000)), 2);
    assert_eq!(claims_after(Fate::Fails(10)), 2);
    assert_eq!(claims_after(Fate::FailsLanded(10)), 2, "an unknown outcome is never taken for success");
}

#[test]
fn at_most_three_claims_are_burned_in_one_start() {
    let mut lab = Lab::new(8);
    let mut join = join(&lab, A);
    let end = lab.run_with(&mut join, |_, name| {
        if name.starts_with("write claim") { Fate::Took(2_500) } else { Fate::Took(1) }
    });
    let error = refusal(end);
    assert!(error.contains("gave up after 3 claims") && error.contains("2.501s, later than 2s"), "{error}");
    assert_eq!(lab.writes().len(), 3);
}

#[test]
fn the_claimant_waits_more_than_the_deadline_after_its_acknowledgement() {
    let mut lab = Lab::new(2);
    let mut join = join(&lab, A);
    let slot = joined(lab.run(&mut join)).record.incarnation.slot;
    let acknowledged = lab.when(&format!("write claim {slot}")) + 1;
    let checked = lab.log.iter().rfind(|(_, name)| *name == format!("read claim {slot}")).unwrap().0;
    // W = 2 s x (1 + 2 x 500 ppm) + 1 s
    assert_eq!(checked - acknowledged, 3_002);
    assert_eq!(crate::slot::claim_wait(100), crate::slot::claim_wait(500), "others may have a larger bound");
}

#[test]
fn whoever_finds_another_claim_or_no_free_record_after_the_wait_abandons_the_slot() {
    for what in ["claim", "zero", "record"] {
        let mut lab = Lab::new(2);
        let mut join = join(&lab, A);
        let mut first = None;
        let end = lab.run_with(&mut join, |lab, name| {
            let claimed = name.strip_prefix("write claim ").map(|slot| slot.parse::<u16>().unwrap());
            if let (Some(slot), Some(read)) = (first, name.strip_prefix("read claim "))
                && read == format!("{slot}")
            {
                match what {
                    "claim" => lab.put_claim(slot, B, "beta"),
                    "zero" => lab.put(&lab.layout.claim(Slot(slot)), &[0; 4096]),
                    _ => lab.put_records(slot, B, 1, HostState::Joining),
                }
            }
            first = first.or(claimed);
            Fate::Took(1)
        });
        let first = first.unwrap();
        assert_ne!(joined(end).record.incarnation.slot, Slot(first), "{what}");
        assert!(!lab.writes().contains(&format!("write record {first} A").as_str()), "{what}");
    }
}

#[test]
fn the_first_generation_lies_above_all_in_the_slots_records_and_lease_pages_and_the_freed_one_is_carried_on()
{
    let mut lab = Lab::new(1);
    for sequence in [20, 21] {
        let free = record(0, HostKey::ZERO, 4, sequence, HostState::Free);
        lab.put_record(&crate::format::HostRecord { freed_generation: Generation(4), ..free });
    }
    let old = Incarnation { slot: Slot(0), generation: Generation(6) };
    lab.put_page(1, &LeasePage::new(old, super::lab::OLD_BOOT, Sequence(40)));
    let mut join = join(&lab, A);
    let end = joined(lab.run(&mut join));
    assert_eq!(end.record.incarnation.generation, Generation(7));
    assert_eq!(end.record.freed_generation, Generation(4));
    assert_eq!(end.record.sequence, Sequence(23), "above the copies found; A even, B odd");
    assert_eq!((end.pages[1].sequence, end.pages[1].incarnation.generation), (Sequence(41), Generation(7)));
}

#[test]
fn a_joining_record_whose_write_fails_is_written_again_under_a_later_sequence_until_both_copies_read_back() {
    let mut lab = Lab::new(1);
    let mut join = join(&lab, A);
    let mut failures = 3;
    let end = joined(lab.run_with(&mut join, |_, name| {
        let fails = name == "write record 0 A" && failures > 0;
        failures -= i32::from(fails);
        if fails { Fate::FailsLanded(1) } else { Fate::Took(1) }
    }));
    assert_eq!(end.record.sequence, Sequence(9), "2, 4, 6 failed; A with 8, B with 9");
    assert_eq!(lab.record_at(0, RecordCopy::A).sequence, Sequence(8));
}

#[test]
fn the_page_learns_incarnation_and_sequence_of_a_record_before_its_write_leaves() {
    let mut lab = Lab::new(1);
    let mut join = join(&lab, A);
    let mut seen = Vec::new();
    loop {
        match join.poll(&lab.now) {
            crate::storage::Step::Done(_) => break,
            crate::storage::Step::Wait(_) => lab.advance(100),
            crate::storage::Step::Io(op) => {
                if let (Some(record), crate::storage::IoOp::Write { data, .. }) = (join.issuing(), &op) {
                    let copy = RecordCopy::of_sequence(record.sequence);
                    assert_eq!(record.encode(&lab.layout.host_record(Slot(0), copy)), *data);
                    seen.push(record.sequence);
                }
                let mut one = One(&mut join, Some(op));
                lab.run(&mut one);
            }
        }
    }
    assert_eq!(seen, [Sequence(2), Sequence(3)]);
}

/// One operation of a procedure.
struct One<'a>(&'a mut Join, Option<crate::storage::IoOp>);

impl super::lab::Procedure for One<'_> {
    type End = ();
    fn next(&mut self, _: &crate::time::Now) -> crate::storage::Step<()> {
        self.1.clone().map_or(crate::storage::Step::Done(()), crate::storage::Step::Io)
    }
    fn take(&mut self, done: &crate::storage::IoDone) {
        self.1 = None;
        self.0.handle_io(done);
    }
}

#[test]
fn a_replaced_lease_file_ends_the_claim_and_nothing_more_is_written() {
    let mut lab = Lab::new(2);
    let mut join = join(&lab, A);
    let end = lab.run_with(&mut join, |lab, name| {
        let after_claim = lab.writes().len() == 1 && name.starts_with("read");
        if after_claim { Fate::Replaced } else { Fate::Took(1) }
    });
    assert!(refusal(end).contains("replaced"));
    assert_eq!(lab.writes().len(), 1);
}
