//! `leasefence slot free`, sentence by sentence. Slot 0 is the machine `alpha`'s; host 1 lives.

use std::time::Duration;

use super::lab::{A, B, BOOT, Fate, Lab, OLD_BOOT, record};
use crate::evidence::Evidence;
use crate::format::{HostState, LeaseEntry, LeasePage, LeaseState, RecordCopy};
use crate::ids::{DomainId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot, Term};
use crate::slot::{Freer, SlotFree};

const DEAD: Incarnation = Incarnation { slot: Slot(0), generation: Generation(5) };
const LIVE: Incarnation = Incarnation { slot: Slot(1), generation: Generation(2) };

fn lab() -> Lab {
    let mut lab = Lab::new(2);
    lab.put_claim(0, A, "alpha");
    lab.put_records(0, A, 5, HostState::Held);
    lab.put_claim(1, B, "beta");
    lab.put_records(1, B, 2, HostState::Held);
    for (who, page) in [(DEAD, 0), (DEAD, 1), (LIVE, 0), (LIVE, 1)] {
        lab.put_page(page, &LeasePage::new(who, OLD_BOOT, Sequence(1)));
    }
    lab
}

fn free_with(lab: &Lab, machine: &str, evidence: &[(Incarnation, Evidence)]) -> SlotFree {
    let drain = Duration::from_millis(400);
    let evidence = evidence.to_vec();
    let freer = Freer { boot_id: BOOT, process_nonce: Nonce(8), write_drain: drain, evidence };
    SlotFree::new(lab.layout, Slot(0), machine.to_owned(), freer)
}

fn free(lab: &Lab) -> SlotFree {
    free_with(lab, "alpha", &[(DEAD, Evidence::Confirmed)])
}

fn refusal(lab: &mut Lab, procedure: &mut SlotFree) -> String {
    let error = lab.run(procedure).expect_err("must be refused").to_string();
    assert_eq!(lab.writes(), Vec::<&str>::new(), "{error}");
    error
}

fn entry(state: LeaseState, term: u32) -> LeaseEntry {
    LeaseEntry { domain: DomainId([9; 16]), state, term: Term(term), ..LeaseEntry::default() }
}

fn put_entry(lab: &mut Lab, who: Incarnation, entry: LeaseEntry) {
    let mut page = LeasePage::new(who, OLD_BOOT, Sequence(2));
    page.insert(entry).unwrap();
    lab.put_page(1, &page);
}

#[test]
fn the_free_record_is_read_back_twice_write_drain_apart_and_only_then_the_claim_is_zeroed() {
    let mut lab = lab();
    let mut procedure = free(&lab);
    lab.run(&mut procedure).unwrap();
    assert_eq!(lab.writes(), ["write record 0 A", "write record 0 B", "write claim 0"]);
    let written = lab.when("write record 0 B");
    let looks: Vec<u64> =
        lab.log.iter().filter(|(at, n)| n == "read record 0 A" && *at > written).map(|(at, _)| *at).collect();
    // The dead host's write_drain (1 s) is longer than the freeing host's.
    assert!(looks.len() == 2 && looks[1] - looks[0] >= 1_000, "{looks:?}");
    assert!(lab.when("write claim 0") > looks[1]);
    let freed = lab.record_at(0, RecordCopy::B);
    assert_eq!((freed.state, freed.host_key), (HostState::Free, HostKey::ZERO));
    assert_eq!((freed.incarnation.generation, freed.freed_generation), (Generation(5), Generation(5)));
    assert!(lab.get(&lab.layout.claim(Slot(0))).iter().all(|byte| *byte == 0));
}

#[test]
fn a_freed_slot_is_claimed_with_a_higher_generation() {
    let mut lab = lab();
    let mut procedure = free(&lab);
    lab.run(&mut procedure).unwrap();
    let mut join = crate::slot::Join::new(lab.layout, super::lab::joiner(HostKey([3; 16])));
    let end = super::lab::joined(lab.run(&mut join));
    assert_eq!(end.record.incarnation, Incarnation { generation: Generation(6), ..DEAD });
    assert_eq!(end.record.freed_generation, Generation(5));
}

#[test]
fn only_the_machine_that_the_claim_names_is_freed() {
    for name in ["beta", "", "alph"] {
        let mut lab = lab();
        let mut procedure = free_with(&lab, name, &[(DEAD, Evidence::Confirmed)]);
        assert!(refusal(&mut lab, &mut procedure).contains("its claim names the machine `alpha`"));
    }
}

#[test]
fn only_a_highest_generation_that_is_released_superseded_or_confirmed_is_freed() {
    let older = Incarnation { generation: Generation(4), ..DEAD };
    let refused: [&[_]; 4] =
        [&[], &[(DEAD, Evidence::Expired)], &[(DEAD, Evidence::Fenced)], &[(older, Evidence::Confirmed)]];
    for evidence in refused {
        let mut lab = lab();
        let mut procedure = free_with(&lab, "alpha", evidence);
        let error = refusal(&mut lab, &mut procedure);
        assert!(error.contains("incarnation 0.5") && error.contains("leasefence confirm alpha"), "{error}");
    }
    for kind in [Evidence::Released, Evidence::Superseded, Evidence::Confirmed] {
        let mut lab = lab();
        let mut procedure = free_with(&lab, "alpha", &[(DEAD, kind)]);
        assert_eq!(lab.run(&mut procedure), Ok(()));
    }
    let mut lab = lab();
    lab.put_records(0, A, 5, HostState::Released);
    let mut procedure = free_with(&lab, "alpha", &[]);
    assert_eq!(lab.run(&mut procedure), Ok(()), "its own word in the record");
}

#[test]
fn a_slot_whose_own_or_orphan_is_still_the_top_is_not_freed() {
    for state in [LeaseState::Own, LeaseState::Orphan] {
        for (other, overtaken) in [
            (None, false),
            (Some(entry(LeaseState::Stopped, 3)), false),
            (Some(entry(LeaseState::Stopped, 4)), false),
            (Some(entry(LeaseState::Incoming, 5)), false),
            (Some(entry(LeaseState::Own, 5)), true),
            (Some(entry(LeaseState::Stopped, 5)), true),
        ] {
            let mut lab = lab();
            put_entry(&mut lab, DEAD, entry(state, 4));
            other.into_iter().for_each(|entry| put_entry(&mut lab, LIVE, entry));
            let mut procedure = free(&lab);
            match overtaken {
                true => assert_eq!(lab.run(&mut procedure), Ok(()), "{other:?}"),
                false => {
                    assert!(refusal(&mut lab, &mut procedure).contains("last word on 1 domain"), "{other:?}");
                }
            }
        }
    }
    let mut lab = lab();
    put_entry(&mut lab, DEAD, entry(LeaseState::Stopped, 4));
    let mut procedure = free(&lab);
    assert_eq!(lab.run(&mut procedure), Ok(()), "a stopped entry stays in its page");
}

#[test]
fn another_hosts_unreadable_sector_might_say_more_and_refuses() {
    let mut lab = lab();
    put_entry(&mut lab, DEAD, entry(LeaseState::Own, 4));
    for copy in RecordCopy::BOTH {
        let place = lab.layout.lease_page(1, Slot(1), copy);
        lab.put(&place, &[0x55; 4096]);
    }
    let mut procedure = free(&lab);
    assert!(refusal(&mut lab, &mut procedure).contains("slot 1's sector of lease page 1 is unreadable"));
}

#[test]
fn its_own_unreadable_pages_are_written_empty_first() {
    let mut lab = lab();
    for copy in RecordCopy::BOTH {
        let place = lab.layout.lease_page(1, Slot(0), copy);
        lab.put(&place, &[0x55; 4096]);
    }
    let mut procedure = free(&lab);
    assert_eq!(lab.run(&mut procedure), Ok(()));
    assert_eq!(lab.writes()[..3], ["write page 1 0 A", "write page 1 0 B", "write record 0 A"]);
    assert_eq!(lab.page_at(1, 0, RecordCopy::B).incarnation, DEAD);
}

#[test]
fn a_burned_claim_is_freed_on_the_operators_word_alone() {
    for state in [None, Some(HostState::Free)] {
        let mut lab = Lab::new(2);
        lab.put_claim(0, A, "alpha");
        state.into_iter().for_each(|state| lab.put_records(0, HostKey::ZERO, 5, state));
        let mut procedure = free_with(&lab, "alpha", &[]);
        assert_eq!(lab.run(&mut procedure), Ok(()), "{state:?}");
        assert_eq!(lab.writes(), ["write claim 0"]);
    }
}

#[test]
fn any_other_difference_of_keys_and_any_unreadable_record_is_refused() {
    let mut lab = lab();
    lab.put_claim(0, B, "alpha");
    let mut first = free(&lab);
    assert!(refusal(&mut lab, &mut first).contains("name different machines"));
    let mut lab = self::lab();
    let place = lab.layout.host_record(Slot(0), RecordCopy::A);
    lab.put(&place, &[0x55; 4096]);
    let mut second = free(&lab);
    assert!(refusal(&mut lab, &mut second).contains("last generation is not known"));
    let mut lab = self::lab();
    let place = lab.layout.claim(Slot(0));
    lab.put(&place, &[0x55; 4096]);
    let mut third = free(&lab);
    assert!(refusal(&mut lab, &mut third).contains("no machine can be named"));
    let mut lab = self::lab();
    lab.put(&place, &[0; 4096]);
    let mut fourth = free(&lab);
    assert!(refusal(&mut lab, &mut fourth).contains("free already"));
}

#[test]
fn a_free_record_proves_nothing_about_a_claimant_that_stands_before_its_first_record() {
    // The slot was freed; the machine `gamma` has claimed it and has not written its record yet.
    let mut lab = lab();
    let mut once = free(&lab);
    lab.run(&mut once).unwrap();
    lab.put_claim(0, HostKey([3; 16]), "gamma");
    lab.log.clear();
    let mut twice = free(&lab);
    assert!(refusal(&mut lab, &mut twice).contains("names the machine `gamma`"));
}

#[test]
fn a_slot_that_changes_meanwhile_is_not_freed() {
    for (when, writes) in [("read page 1", 0), ("write record 0 B", 2), ("read record 0 B", 2)] {
        let mut lab = lab();
        let mut procedure = free(&lab);
        let mut done = false;
        let end = lab.run_with(&mut procedure, |lab, name| {
            let second = when != "read record 0 B" || lab.writes().len() == 2;
            if name == when && second && !done {
                done = true;
                lab.advance(1);
                let late = record(0, A, 5, 40, HostState::Held);
                lab.put_record(&late);
            }
            Fate::Took(1)
        });
        assert!(end.unwrap_err().to_string().contains("changed by somebody else"), "{when}");
        assert_eq!(lab.writes().len(), writes, "{when}: the claim stays");
    }
}

#[test]
fn a_write_of_unknown_outcome_ends_it_and_is_not_repeated() {
    for (which, writes) in [("write record 0 A", 1), ("write record 0 B", 2), ("write claim 0", 3)] {
        let mut lab = lab();
        let mut procedure = free(&lab);
        let end =
            lab.run_with(
                &mut procedure,
                |_, name| if name == which { Fate::FailsLanded(1) } else { Fate::Took(1) },
            );
        let error = end.unwrap_err().to_string();
        assert!(error.contains("unknown outcome") && error.contains("on this host"), "{error}");
        assert_eq!(lab.writes().len(), writes);
    }
}
