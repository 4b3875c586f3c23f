//! Which copy counts, and which terms.

use std::time::Duration;

use crate::format::*;
use crate::ids::{Generation, Incarnation, Sequence, Slot};
use crate::terms::Terms;

fn copy(generation: u32, sequence: u64) -> Result<HostRecord, DecodeError> {
    let incarnation = Incarnation { slot: Slot(0), generation: Generation(generation) };
    Ok(HostRecord { incarnation, sequence: Sequence(sequence), ..HostRecord::default() })
}

#[test]
fn the_reader_takes_the_valid_copy_with_the_highest_generation_and_sequence() {
    let damaged = || Err(DecodeError::BadMagic(*b"oops"));
    let rows = [
        // copy A        copy B        taken
        (copy(1, 4), copy(1, 5), Some(RecordCopy::B)),
        (copy(1, 6), copy(1, 5), Some(RecordCopy::A)),
        (copy(2, 1), copy(1, 9), Some(RecordCopy::A)),
        (copy(1, 9), copy(2, 1), Some(RecordCopy::B)),
        (damaged(), copy(1, 5), Some(RecordCopy::B)),
        (copy(1, 4), damaged(), Some(RecordCopy::A)),
        (copy(1, 4), copy(1, 4), Some(RecordCopy::A)),
        (damaged(), damaged(), None),
        (Err(DecodeError::Empty), Err(DecodeError::Empty), None),
    ];
    for (a, b, taken) in rows {
        let copies = Copies { a, b };
        assert_eq!(copies.newest().map(|(copy, _)| copy), taken, "{copies:?}");
    }
}

#[test]
fn host_records_take_turns_by_sequence() {
    assert_eq!(RecordCopy::of_sequence(Sequence(8)), RecordCopy::A);
    assert_eq!(RecordCopy::of_sequence(Sequence(9)), RecordCopy::B);
}

#[test]
fn while_terms_and_echo_differ_each_term_is_the_one_with_the_later_verdict() {
    let terms = |ttl, budget| Terms {
        lease_ttl: Duration::from_secs(ttl),
        fence_budget: Duration::from_secs(budget),
        drift_ppm: 500,
        ..Terms::default()
    };
    let record = HostRecord { terms: terms(8, 4), echo: terms(30, 2), ..HostRecord::default() };
    assert_eq!(record.effective_terms(), terms(30, 4));
}

#[test]
fn a_scan_that_came_short_has_no_copy_where_it_ends() {
    let layout = Layout::new(crate::ids::FileId([1; 16]), Unit::Bytes512, 2, 1).unwrap();
    let place = layout.host_record(Slot(0), RecordCopy::A);
    let scan = HostRecord::default().encode(&place);
    let copies = Copies::<HostRecord>::in_scan(&layout, Slot(0), &scan);
    assert!(copies.a.is_ok());
    assert_eq!(copies.b, Err(DecodeError::Length { got: 0, want: 512 }));
}
