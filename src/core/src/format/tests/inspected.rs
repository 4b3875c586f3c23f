//! What `init` may write, and what it judges to be on a medium.

use std::time::Duration;

use proptest::prelude::*;

use super::any::*;
use crate::format::init::*;
use crate::format::*;
use crate::ids::{BootId, ClusterId, HostKey, Incarnation, Nonce, Slot};
use crate::terms::Terms;

fn usual() -> InitParameters {
    InitParameters {
        file_id: FILE,
        cluster_id: ClusterId([2; 16]),
        cluster_name: "prod".into(),
        sector_size: 4096,
        max_hosts: 64,
        pages: 16,
        policy: Policy::default(),
        min_write_drain: Duration::from_secs(1),
        longest_verdict_after: LONGEST_VERDICT_AFTER_DEFAULT,
    }
}

#[test]
fn the_usual_parameters_give_two_headers_at_the_ends_of_ten_mebibytes() {
    let header = usual().header().unwrap();
    let [(last, last_bytes), (first, first_bytes)] = header_writes(&header);
    assert_eq!((first.offset, last.offset), (0, 10 * MIB - 4096));
    assert_eq!(Header::decode(0, &first_bytes), Ok(header.clone()));
    assert_eq!(Header::decode(last.offset, &last_bytes), Ok(header));
    assert!(Header::decode(0, &last_bytes).is_err(), "the one is not taken for the other");
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let refused = |change: fn(&mut InitParameters)| {
        let mut parameters = usual();
        change(&mut parameters);
        parameters.header().unwrap_err()
    };
    assert_eq!(refused(|p| p.sector_size = 1024), InitError::SectorSize(1024));
    assert_eq!(refused(|p| p.max_hosts = 0), InitError::Layout(LayoutError::MaxHosts(0)));
    assert_eq!(refused(|p| p.max_hosts = 257), InitError::Layout(LayoutError::MaxHosts(257)));
    assert_eq!(refused(|p| p.pages = 17), InitError::Layout(LayoutError::Pages(17)));
    assert_eq!(refused(|p| p.cluster_name.clear()), InitError::NoName);
    assert!(matches!(refused(|p| p.cluster_name = "x".repeat(65)), InitError::Name(_)));
    assert!(matches!(refused(|p| p.cluster_name = "a\nb".into()), InitError::Name(_)));
    assert!(matches!(refused(|p| p.min_write_drain = Duration::from_millis(999)), InitError::WriteDrain(_)));
    assert!(matches!(
        refused(|p| p.longest_verdict_after = Duration::from_secs(1)),
        InitError::Longest { .. }
    ));
    let test = InitParameters { policy: Policy::TEST, min_write_drain: Duration::from_millis(50), ..usual() };
    assert!(test.header().is_ok(), "a test cluster may be as quick as it likes");
}

fn judged(pieces: &[(u64, &[u8])]) -> Contents {
    let mut inspection = Inspection::default();
    for (offset, bytes) in pieces {
        inspection.feed(*offset, bytes);
    }
    inspection.contents()
}

#[test]
fn a_medium_is_empty_only_when_every_byte_is_zero() {
    assert_eq!(judged(&[]), Contents::Empty);
    assert_eq!(judged(&[(0, &[0; 9000])]), Contents::Empty);
    let mut one = vec![0; 9000];
    one[8999] = 7;
    assert_eq!(judged(&[(4096, &one)]), Contents::Foreign { at: 4096 + 8999, bytes: vec![7] });
}

#[test]
fn a_lease_file_is_known_by_either_header_and_by_any_sector_when_both_are_gone() {
    let header = usual().header().unwrap();
    let [(last, last_bytes), (_, first_bytes)] = header_writes(&header);
    let whole = Contents::LeaseFile(Box::new(header.clone()));
    let noise = [0x55_u8; 4096];
    assert_eq!(judged(&[(0, &first_bytes)]), whole);
    assert_eq!(judged(&[(0, &noise), (last.offset, &last_bytes)]), whole);
    let place = header.layout.claim(Slot(5));
    let claim = Claim {
        slot: Slot(5),
        boot_id: BootId::ZERO,
        host_key: HostKey::ZERO,
        nonce: Nonce(0),
        name: HostName::default(),
    };
    let pieces: [(u64, &[u8]); 2] = [(0, &noise), (place.offset, &claim.encode(&place))];
    assert_eq!(judged(&pieces), Contents::Headless { at: place.offset });
}

#[test]
fn a_lease_file_of_features_that_are_not_known_here_is_newer_not_empty() {
    let incompat = Features { incompat: 1, ..Features::default() };
    for features in [incompat, Features { ro_compat: 1, ..Features::default() }] {
        let header = Header { features, ..usual().header().unwrap() };
        let bytes = header.encode(&header.layout.first_header());
        assert!(matches!(judged(&[(0, &bytes)]), Contents::Newer(_)), "{features:?}");
    }
}

proptest! {
    #[test]
    fn whatever_lies_there_is_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000), at in 0..100_u64) {
        let empty = bytes.iter().all(|byte| *byte == 0);
        prop_assert_eq!(judged(&[(at * 4096, &bytes)]) == Contents::Empty, empty);
    }
}

/// A header of eight hosts, and the bytes of its claims and records with these records in them.
fn cluster(records: &[HostRecord]) -> (Header, Vec<u8>) {
    let header = InitParameters { max_hosts: 8, ..usual() }.header().unwrap();
    let range = WatchPlan::range_of(&header.layout);
    let mut scan = vec![0; usize::try_from(range.end - range.start).unwrap()];
    for record in records {
        let place = header.layout.host_record(record.incarnation.slot, RecordCopy::A);
        let at = usize::try_from(place.offset - range.start).unwrap();
        scan[at..at + place.len].copy_from_slice(&record.encode(&place));
    }
    (header, scan)
}

fn record(slot: u16, ttl_s: u64) -> HostRecord {
    let terms = Terms { lease_ttl: Duration::from_secs(ttl_s), ..Terms::default() };
    let incarnation = Incarnation { slot: Slot(slot), ..Incarnation::default() };
    HostRecord {
        incarnation,
        terms,
        state: HostState::Held,
        host_name: HostName::cut("h"),
        ..HostRecord::default()
    }
}

#[test]
fn a_lease_file_is_watched_for_the_longest_verdict_after_found() {
    let (header, scan) = cluster(&[record(0, 30), record(1, 120), record(2, 8)]);
    assert_eq!(WatchPlan::of(&header, &scan).at_least, Duration::from_secs(120));
    let (header, scan) = cluster(&[]);
    assert_eq!(
        WatchPlan::of(&header, &scan).at_least,
        SHORTEST_WATCH,
        "a claimant may be about to write its record"
    );
    let survivor = HostRecord { survival_max: Duration::from_secs(60), ..record(1, 120) };
    let (header, scan) = cluster(&[survivor]);
    assert_eq!(WatchPlan::of(&header, &scan).at_least, Duration::from_secs(180));
    let changing = HostRecord { echo: record(1, 200).terms, ..record(1, 120) };
    let (header, scan) = cluster(&[changing]);
    assert_eq!(WatchPlan::of(&header, &scan).at_least, Duration::from_secs(200));
}

#[test]
fn a_damaged_record_is_watched_as_long_as_the_header_allows() {
    let (header, mut scan) = cluster(&[record(0, 30)]);
    let at = scan.iter().rposition(|byte| *byte != 0).unwrap();
    scan[at] ^= 1;
    assert_eq!(WatchPlan::of(&header, &scan).at_least, header.longest_verdict_after);
}

#[test]
fn hosts_in_maintenance_are_named_since_watching_proves_nothing_of_them() {
    let resting =
        HostRecord { state: HostState::Disarmed, host_name: HostName::cut("host-2"), ..record(1, 30) };
    let (header, scan) = cluster(&[record(0, 30), resting]);
    assert_eq!(WatchPlan::of(&header, &scan).disarmed, ["host-2"]);
}
