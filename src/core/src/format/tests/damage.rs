//! No damage goes unseen, and each sort of it has its own name.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::any::*;
use crate::format::*;
use crate::ids::{FileId, Slot};

/// One value of a strategy, always the same.
fn one<T: Strategy>(strategy: T) -> T::Value {
    strategy.new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

type Decodes = Box<dyn Fn(&[u8]) -> bool>;

/// One sector of each kind: its name, its bytes, and whether bytes still decode in its place.
fn one_of_each() -> Vec<(&'static str, Vec<u8>, Decodes)> {
    let layout = Layout::new(FILE, Unit::Bytes4096, 3, 1).unwrap();
    let slot = Slot(1);
    let header = Header { layout, ..one(any_header()) };
    let claim = Claim { slot, ..one(any_claim(3)) };
    let (observer, note, page) = (one(any_observer()), one(any_note(2)), one(any_lease_page(2)));
    let record = one(any_host_record(2));
    let at_claim = layout.claim(slot);
    let at_record = layout.host_record(record.incarnation.slot, RecordCopy::B);
    let at_observer = layout.observer(7);
    let at_note = layout.journal(note.writer.slot, 3);
    let at_page = layout.lease_page(0, page.incarnation.slot, RecordCopy::B);
    vec![
        ("header", header.encode(&layout.first_header()), Box::new(|b| Header::decode(0, b).is_ok())),
        ("claim", claim.encode(&at_claim), Box::new(move |b| Claim::decode(&at_claim, b).is_ok())),
        ("record", record.encode(&at_record), Box::new(move |b| HostRecord::decode(&at_record, b).is_ok())),
        (
            "observer",
            observer.encode(&at_observer),
            Box::new(move |b| ObserverSector::decode(&at_observer, b).is_ok()),
        ),
        ("note", note.encode(&at_note), Box::new(move |b| JournalNote::decode(&at_note, b).is_ok())),
        ("page", page.encode(&at_page), Box::new(move |b| LeasePage::decode(&at_page, b).is_ok())),
    ]
}

#[test]
fn any_flipped_bit_of_any_sector_is_seen_padding_included() {
    for (name, mut bytes, decodes) in one_of_each() {
        assert!(decodes(&bytes), "{name}");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(!decodes(&bytes), "{name}: bit {bit} of byte {at} was flipped and nobody saw it");
                bytes[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn a_sector_torn_at_any_512_bytes_is_seen() {
    for (name, bytes, decodes) in one_of_each().into_iter().filter(|(name, ..)| matches!(*name, "page")) {
        for cut in (512..4096).step_by(512) {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            assert!(torn == bytes || !decodes(&torn), "{name} torn at {cut}");
        }
    }
}

/// A record, its place, and what each sort of damage to it is called.
#[test]
fn every_sort_of_damage_has_its_own_name() {
    let layout = Layout::new(FILE, Unit::Bytes4096, 3, 1).unwrap();
    let record = HostRecord { host_name: HostName::cut("host-2"), ..HostRecord::default() };
    let place = layout.host_record(Slot(0), RecordCopy::A);
    let good = record.encode(&place);
    let read = |bytes: &[u8]| HostRecord::decode(&place, bytes).unwrap_err();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(read(&vec![0; 4096]), DecodeError::Empty);
    assert_eq!(read(&good[..512]), DecodeError::Length { got: 512, want: 4096 });
    assert_eq!(read(&with(0, b'X')), DecodeError::BadMagic(*b"XFNC"));
    assert!(matches!(read(&with(300, 1)), DecodeError::BadCrc { .. }));
    assert_eq!(read(&with(512, 1)), DecodeError::Padding { at: 512 });
    assert_eq!(read(&with(4095, 1)), DecodeError::Padding { at: 4095 });

    let theirs = Place { file_id: FileId([9; 16]), ..place };
    assert_eq!(read(&record.encode(&theirs)), DecodeError::ForeignFile(FileId([9; 16])));
    let elsewhere = layout.host_record(Slot(0), RecordCopy::B);
    let got = elsewhere.unit_number();
    assert_eq!(read(&record.encode(&elsewhere)), DecodeError::Misdirected { got, want: place.unit_number() });
    let neighbour = HostRecord {
        incarnation: crate::ids::Incarnation { slot: Slot(1), ..record.incarnation },
        ..record.clone()
    };
    assert_eq!(read(&neighbour.encode(&place)), DecodeError::WrongSlot { got: Slot(1), want: Slot(0) });
    let claim = Claim {
        slot: Slot(0),
        boot_id: record.boot_id,
        host_key: record.host_key,
        nonce: record.process_nonce,
        name: HostName::default(),
    };
    assert_eq!(read(&claim.encode(&place)), DecodeError::WrongKind { got: 2, want: SectorKind::HostRecord });
    let page = LeasePage::default();
    assert_eq!(read(&page.encode(&place)), DecodeError::WrongKind { got: 6, want: SectorKind::HostRecord });
}

/// The CRC of a record whose bytes were changed, as a later version or another program would write them.
fn resealed(mut bytes: Vec<u8>, record_len: usize) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..56]);
    hasher.update(&bytes[60..record_len]);
    bytes[56..60].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}

#[test]
fn a_later_version_is_told_from_damage_and_an_unknown_state_is_no_state() {
    let place = small_layout().host_record(Slot(0), RecordCopy::A);
    let good = HostRecord::default().encode(&place);
    let read = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        HostRecord::decode(&place, &resealed(bytes, 512)).unwrap_err()
    };
    assert_eq!(read(5, 2), DecodeError::WrongVersion(2));
    assert_eq!(read(92, 0), DecodeError::BadValue { field: "state", value: 0 });
    assert_eq!(read(92, 8), DecodeError::BadValue { field: "state", value: 8 });
    assert_eq!(read(93, 4), DecodeError::BadValue { field: "watchdog class", value: 4 });
    assert_eq!(read(168, 0xff), DecodeError::BadValue { field: "host name", value: 0 });
    assert_eq!(
        read(168, 0x1b),
        DecodeError::BadValue { field: "host name", value: 0 },
        "no escape reaches a terminal"
    );
}

#[test]
fn a_page_that_names_a_domain_twice_or_none_is_not_believed() {
    let place = small_layout().lease_page(0, Slot(0), RecordCopy::A);
    let mut page = LeasePage::default();
    page.insert(LeaseEntry { domain: crate::ids::DomainId([1; 16]), ..LeaseEntry::default() }).unwrap();
    page.insert(LeaseEntry { domain: crate::ids::DomainId([2; 16]), ..LeaseEntry::default() }).unwrap();
    let good = page.encode(&place);
    let mut twice = good.clone();
    twice[128..144].fill(1);
    let mut none = good.clone();
    none[64..80].fill(0);
    none[88] = 1;
    let read = |bytes| LeasePage::decode(&place, &resealed(bytes, 4096)).unwrap_err();
    assert_eq!(read(twice), DecodeError::BadValue { field: "uuid (twice)", value: 0 });
    assert_eq!(read(none), DecodeError::BadValue { field: "uuid (nil)", value: 0 });
}

#[test]
fn a_full_page_refuses_another_domain_and_evicts_nothing() {
    let entry =
        |number: u8| LeaseEntry { domain: crate::ids::DomainId([number; 16]), ..LeaseEntry::default() };
    let mut page = LeasePage::default();
    for number in 1..=62 {
        assert_eq!(page.insert(entry(number)), Ok(None));
    }
    assert_eq!(page.insert(entry(63)), Err(PageFull));
    assert_eq!(page.len(), 62);
    assert_eq!(page.insert(entry(62)), Ok(Some(entry(62))), "the domain's own entry is replaced");
    assert!(page.remove(crate::ids::DomainId([1; 16])).is_some());
    assert_eq!(page.insert(entry(63)), Ok(None));
    assert_eq!(page.insert(entry(0)), Err(PageFull), "the nil uuid marks a place that is not in use");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4200), sealed in any::<bool>()) {
        let layout = small_layout();
        let mut bytes = bytes;
        if sealed && bytes.len() >= 512 {
            let len = if bytes.len() >= 4096 { 4096 } else { 512 };
            bytes.truncate(len);
            bytes[..4].copy_from_slice(&MAGIC);
            bytes[5] = FORMAT_VERSION;
            bytes[8..24].copy_from_slice(&FILE.0);
            bytes = resealed(bytes, len);
        }
        for slot in layout.slots() {
            for copy in RecordCopy::BOTH {
                drop(HostRecord::decode(&layout.host_record(slot, copy), &bytes));
                drop(LeasePage::decode(&layout.lease_page(0, slot, copy), &bytes));
            }
            drop(Claim::decode(&layout.claim(slot), &bytes));
            drop(JournalNote::decode(&layout.journal(slot, 0), &bytes));
        }
        drop(ObserverSector::decode(&layout.observer(0), &bytes));
        drop(Header::decode(0, &bytes));
    }
}
