//! Where things lie.

use std::ops::Range;

use proptest::prelude::*;

use super::any::*;
use crate::format::*;
use crate::ids::{DomainId, FileId, Slot};

/// Every sector of a file, in any order.
fn places(layout: &Layout) -> Vec<Range<u64>> {
    let mut places = vec![layout.first_header().range(), layout.last_header().range()];
    for slot in layout.slots() {
        places.push(layout.claim(slot).range());
        places.extend(RecordCopy::BOTH.map(|copy| layout.host_record(slot, copy).range()));
        places.extend((0..JOURNAL_RING).map(|index| layout.journal(slot, index).range()));
        for page in 0..layout.pages() {
            places.extend(RecordCopy::BOTH.map(|copy| layout.lease_page(page, slot, copy).range()));
        }
    }
    places.extend((0..OBSERVER_SECTORS).map(|index| layout.observer(index).range()));
    places
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_two_sectors_overlap_and_all_lie_in_the_file(layout in any_layout()) {
        let mut places = places(&layout);
        places.sort_by_key(|place| place.start);
        for pair in places.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start, "{pair:?}");
        }
        prop_assert_eq!(places.last().unwrap().end, layout.total_size());
        prop_assert_eq!(layout.total_size() % MIB, 0);
    }

    #[test]
    fn every_area_begins_at_a_multiple_of_4096(layout in any_layout()) {
        let areas = [layout.claims(), layout.host_records(), layout.observers(), layout.journals(), layout.lease_pages()];
        prop_assert!(areas.iter().all(|area| area.start % 4096 == 0));
        prop_assert!(areas.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}

#[test]
fn the_picture_of_a_small_file() {
    let layout = Layout::new(FileId([1; 16]), Unit::Bytes4096, 2, 2).unwrap();
    let kib = |place: Place| place.offset / 4096;
    let (one, two) = (Slot(0), Slot(1));
    let row: Vec<u64> = [
        layout.first_header(),
        layout.claim(one),
        layout.claim(two),
        layout.host_record(one, RecordCopy::A),
        layout.host_record(two, RecordCopy::A),
        layout.host_record(one, RecordCopy::B),
        layout.host_record(two, RecordCopy::B),
        layout.observer(0),
        layout.observer(7),
        layout.journal(one, 0),
        layout.journal(one, 3),
        layout.journal(two, 0),
        layout.lease_page(0, one, RecordCopy::A),
        layout.lease_page(0, two, RecordCopy::A),
        layout.lease_page(0, one, RecordCopy::B),
        layout.lease_page(1, one, RecordCopy::A),
        layout.last_header(),
    ]
    .map(kib)
    .to_vec();
    assert_eq!(row, [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 18, 19, 23, 24, 25, 27, 255]);
}

#[test]
fn sizes_are_those_of_the_documentation() {
    let layout = Layout::new(FileId([1; 16]), Unit::Bytes4096, 64, 16).unwrap();
    let len = |range: Range<u64>| (range.end - range.start) >> 10;
    assert_eq!(layout.total_size(), 10 * MIB, "64 hosts, 16 pages: just under 10 MiB before the padding");
    assert_eq!(len(layout.host_records()), 512, "KiB, what a scan reads");
    assert_eq!(len(layout.lease_page_range(15)), 512, "KiB, what a scan of one page reads");
}

#[test]
fn a_domain_belongs_in_the_page_that_its_uuid_hashes_to() {
    let layout = Layout::new(FileId([1; 16]), Unit::Bytes4096, 64, 16).unwrap();
    let pages: Vec<u8> = (1..=8).map(|number| layout.page_of(DomainId([number; 16]))).collect();
    assert_eq!(
        pages, PAGES_OF_THE_FIRST_EIGHT,
        "two versions that disagree would not see each other's leases"
    );
}

const PAGES_OF_THE_FIRST_EIGHT: [u8; 8] = [12, 9, 3, 9, 9, 4, 7, 7];

#[test]
fn counts_out_of_range_are_refused() {
    let layout = |hosts, pages| Layout::new(FileId([1; 16]), Unit::Bytes4096, hosts, pages);
    assert_eq!(layout(0, 16), Err(LayoutError::MaxHosts(0)));
    assert_eq!(layout(257, 16), Err(LayoutError::MaxHosts(257)));
    assert_eq!(layout(64, 0), Err(LayoutError::Pages(0)));
    assert_eq!(layout(64, 17), Err(LayoutError::Pages(17)));
    assert!(layout(256, 16).is_ok() && layout(1, 1).is_ok());
}
