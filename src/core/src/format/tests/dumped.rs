//! A dump shows all of a file, and survives any damage.

use proptest::prelude::*;
use proptest::sample::Index;

use super::any::*;
use crate::format::dump::{Content, Item, Role, Shape, Summary, dump};
use crate::format::init::header_writes;
use crate::format::*;
use crate::ids::{BootId, ClusterId, HostKey, Incarnation, Nonce, Sequence, Slot};

pub(super) fn dumped(file: &[u8], shape: Option<Shape>) -> (Summary, Vec<Item>) {
    let mut items = Vec::new();
    let mut read = |offset: u64, len: usize| {
        assert!(len <= 256 << 10, "reads are bounded");
        let from = usize::try_from(offset).unwrap().min(file.len());
        Ok(file[from..file.len().min(from + len)].to_vec())
    };
    let summary = dump(file.len() as u64, shape, &mut read, &mut |item| items.push(item));
    (summary, items)
}

fn header() -> Header {
    Header {
        layout: small_layout(),
        cluster_name: ClusterName::cut("small"),
        cluster_id: ClusterId::ZERO,
        policy: Policy::TEST,
        min_write_drain: std::time::Duration::from_secs(1),
        longest_verdict_after: LONGEST_VERDICT_AFTER_DEFAULT,
        features: Features::default(),
    }
}

/// A fresh file.
fn fresh() -> Vec<u8> {
    let mut file = vec![0; usize::try_from(small_layout().total_size()).unwrap()];
    for (place, bytes) in header_writes(&header()) {
        put(&mut file, &place, &bytes);
    }
    file
}

fn put(file: &mut [u8], place: &Place, bytes: &[u8]) {
    let at = usize::try_from(place.offset).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A fresh file in which slot 1 is in use, as a host leaves it.
fn joined() -> Vec<u8> {
    let (layout, slot, mut file) = (small_layout(), Slot(1), fresh());
    let incarnation = Incarnation { slot, generation: crate::ids::Generation(1) };
    let record = HostRecord {
        incarnation,
        host_key: HostKey([7; 16]),
        state: HostState::Held,
        ..HostRecord::default()
    };
    let claim = Claim {
        slot,
        boot_id: BootId::ZERO,
        host_key: record.host_key,
        nonce: Nonce(0),
        name: HostName::cut("host-2"),
    };
    put(&mut file, &layout.claim(slot), &claim.encode(&layout.claim(slot)));
    for copy in RecordCopy::BOTH {
        let place = layout.host_record(slot, copy);
        put(&mut file, &place, &record.encode(&place));
        let place = layout.lease_page(0, slot, copy);
        put(&mut file, &place, &LeasePage::new(incarnation, BootId::ZERO, Sequence(0)).encode(&place));
    }
    file
}

fn bad(items: &[Item]) -> Vec<(Role, &Content)> {
    items.iter().filter(|item| item.is_bad()).map(|item| (item.role, &item.content)).collect()
}

#[test]
fn a_fresh_file_is_well_and_all_its_sectors_are_empty() {
    let (summary, items) = dumped(&fresh(), None);
    assert!(summary.is_well());
    assert_eq!(items.iter().map(|item| item.role).collect::<Vec<_>>(), [Role::FirstHeader, Role::LastHeader]);
    // 3 claims, 6 copies of records, 8 observer sectors, 12 notes, 6 sectors of the page.
    assert_eq!(summary.counts.empty, 3 + 6 + 8 + 12 + 6);
}

#[test]
fn a_host_that_has_joined_is_shown_with_all_its_sectors() {
    let (summary, items) = dumped(&joined(), None);
    assert!(summary.is_well(), "{items:?}");
    let roles: Vec<Role> = items.iter().map(|item| item.role).collect();
    let (a, b, slot) = (RecordCopy::A, RecordCopy::B, Slot(1));
    let theirs = [Role::Claim(slot), Role::HostRecord(slot, a), Role::HostRecord(slot, b)];
    let pages = [Role::LeasePage(0, slot, a), Role::LeasePage(0, slot, b)];
    assert_eq!(roles, [&[Role::FirstHeader], &theirs[..], &pages[..], &[Role::LastHeader]].concat());
}

#[test]
fn with_a_bad_first_header_the_last_one_is_found_at_its_mebibyte() {
    let mut file = joined();
    file[100] ^= 1;
    let (summary, items) = dumped(&file, None);
    assert_eq!(summary.layout, Some(small_layout()));
    assert!(!summary.is_well());
    assert!(matches!(bad(&items)[..], [(Role::FirstHeader, Content::Damaged(DecodeError::BadCrc { .. }))]));
}

#[test]
fn the_last_header_is_also_found_on_a_device_that_is_larger() {
    let mut file = joined();
    file[..4096].fill(0);
    file.resize(file.len() + 3 * 1024 * 1024, 0);
    let (summary, items) = dumped(&file, None);
    assert_eq!(summary.layout, Some(small_layout()));
    assert_eq!(bad(&items), [(Role::FirstHeader, &Content::Empty)]);
}

#[test]
fn headers_that_say_different_things_are_told() {
    let mut file = joined();
    let other = Header { cluster_name: ClusterName::cut("other"), ..header() };
    put(&mut file, &small_layout().last_header(), &other.encode(&small_layout().last_header()));
    let (summary, items) = dumped(&file, None);
    assert!(!summary.is_well());
    let last = items.last().unwrap();
    assert_eq!(last.remarks, ["the two headers say different things"]);
}

#[test]
fn a_file_with_features_that_are_not_known_here_is_not_well() {
    let (layout, mut file) = (small_layout(), joined());
    let newer = Header { features: Features { incompat: 1, ..Features::default() }, ..header() };
    for (place, bytes) in header_writes(&newer) {
        put(&mut file, &place, &bytes);
    }
    let (summary, items) = dumped(&file, None);
    assert_eq!((summary.is_well(), summary.layout), (false, Some(layout)));
    assert!(items[0].remarks[0].starts_with("features that this version does not know"));
}

#[test]
fn with_both_headers_gone_every_sector_that_says_what_it_is_is_still_shown() {
    let mut file = joined();
    let end = file.len();
    file[..4096].fill(0xaa);
    file[end - 4096..].fill(0xaa);
    let (summary, items) = dumped(&file, None);
    assert_eq!((summary.layout, summary.counts.whole, summary.counts.bad), (None, 5, 2), "{items:?}");
    let shape = Shape { unit: Unit::Bytes512, max_hosts: 3, pages: 1 };
    let (summary, items) = dumped(&file, Some(shape));
    assert_eq!(summary.layout, Some(small_layout()), "the identity is taken from a sector");
    assert!(items.iter().any(|item| item.role == Role::HostRecord(Slot(1), RecordCopy::B) && !item.is_bad()));
}

#[test]
fn a_truncated_file_is_decoded_as_far_as_it_goes() {
    let file = joined();
    for len in [0, 1, 511, 4095, 4096, 4700, 10_000, 60_000, file.len() - 1] {
        let (summary, _) = dumped(&file[..len], None);
        assert!(!summary.is_well(), "{len} bytes");
        assert_eq!(summary.layout.is_some(), len >= 4096, "{len} bytes");
    }
}

#[test]
fn what_is_wrong_is_said_of_the_sector_that_it_is_wrong_with() {
    let (layout, slot) = (small_layout(), Slot(1));
    let record = |key| HostRecord {
        incarnation: Incarnation { slot, generation: crate::ids::Generation(1) },
        host_key: HostKey([key; 16]),
        ..HostRecord::default()
    };
    let place = layout.host_record(slot, RecordCopy::B);
    let page = layout.lease_page(0, slot, RecordCopy::A);
    let rows: [(&str, Place, Vec<u8>); 4] = [
        ("not of the machine", place, record(8).encode(&place)),
        ("never written, although slot 1 is in use", page, vec![0; 4096]),
        ("without a claim", layout.claim(slot), vec![0; 512]),
        ("Stray", Place { offset: layout.claims().end, ..place }, vec![1]),
    ];
    for (what, place, bytes) in rows {
        let mut file = joined();
        put(&mut file, &place, &bytes);
        let (summary, items) = dumped(&file, None);
        assert!(!summary.is_well(), "{what}");
        assert!(format!("{items:?}").contains(what), "{what}: {items:?}");
    }
}

#[test]
fn a_medium_that_gives_no_long_reads_is_read_sector_by_sector() {
    let file = joined();
    let broken = small_layout().observer(3).range();
    let mut read = |offset: u64, len: usize| {
        if offset < broken.end && offset + len as u64 > broken.start {
            return Err("input/output error".to_owned());
        }
        let from = usize::try_from(offset).unwrap().min(file.len());
        Ok(file[from..file.len().min(from + len)].to_vec())
    };
    let mut items = Vec::new();
    let summary = dump(file.len() as u64, None, &mut read, &mut |item| items.push(item));
    assert_eq!(summary.counts.bad, 1);
    assert_eq!(bad(&items), [(Role::Observer(3), &Content::Unreadable("input/output error".into()))]);
}

#[test]
fn a_sector_that_was_torn_in_a_long_read_is_read_again_by_itself() {
    let file = joined();
    let place = small_layout().host_record(Slot(1), RecordCopy::A);
    let mut read = |offset: u64, len: usize| {
        let from = usize::try_from(offset).unwrap().min(file.len());
        let mut bytes = file[from..file.len().min(from + len)].to_vec();
        if len > 4096 && offset <= place.offset && !bytes.is_empty() {
            bytes[usize::try_from(place.offset - offset).unwrap() + 200] ^= 1;
        }
        Ok(bytes)
    };
    assert!(dump(file.len() as u64, None, &mut read, &mut |_| {}).is_well());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_dump_of_a_mutated_file_never_panics(
        file in any_file(),
        flips in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..40),
        blanks in proptest::collection::vec((any::<Index>(), 0..9000_usize, any::<u8>()), 0..4),
        keep in any::<Index>(),
        whole in any::<bool>(),
    ) {
        let mut file = file;
        // Most of a small file's last MiB is unused: mutate where something lies, and the end.
        let used = 70_000;
        for (at, byte) in flips {
            file[at.index(used)] ^= byte;
        }
        for (at, len, byte) in blanks {
            let from = at.index(used);
            file[from..from + len].fill(byte);
        }
        if !whole {
            file.truncate(keep.index(file.len()));
        }
        let shape = Shape { unit: Unit::Bytes512, max_hosts: 3, pages: 1 };
        dumped(&file, None);
        dumped(&file, Some(shape));
    }
}
