//! The bytes of one record of each kind, pinned: format 1 must not drift.

use std::fmt::Write as _;
use std::time::Duration;

use crate::format::*;
use crate::ids::{
    BootId, ClusterId, DomainId, FileId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot, Term,
};
use crate::terms::Terms;

const BOOT: BootId = BootId([0xb0; 16]);
const KEY: HostKey = HostKey([0x4b; 16]);
const WHO: Incarnation = Incarnation { slot: Slot(2), generation: Generation(3) };
const WHOM: Incarnation = Incarnation { slot: Slot(1), generation: Generation(7) };

fn layout() -> Layout {
    Layout::new(FileId([0xf1; 16]), Unit::Bytes4096, 64, 16).unwrap()
}

/// The bytes as rows of sixteen, without the rows that are all zero.
fn rows(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, row) in bytes.chunks(16).enumerate().filter(|(_, row)| row.iter().any(|byte| *byte != 0)) {
        write!(text, "\n{:03x}", index * 16).unwrap();
        for (column, byte) in row.iter().enumerate() {
            write!(text, "{}{byte:02x}", if column % 4 == 0 { " " } else { "" }).unwrap();
        }
    }
    text
}

#[track_caller]
fn assert_rows(bytes: &[u8], golden: &str) {
    let got = rows(bytes);
    assert_eq!(got, golden.trim_end().replace("\n        ", "\n"), "\n--- these bytes:{got}\n---");
}

#[test]
fn a_header() {
    let header = Header {
        layout: layout(),
        cluster_name: ClusterName::cut("prod"),
        cluster_id: ClusterId([0xc1; 16]),
        policy: Policy::ACCEPT_NONE.with(Policy::TEST),
        min_write_drain: Duration::from_secs(1),
        longest_verdict_after: LONGEST_VERDICT_AFTER_DEFAULT,
        features: Features { incompat: 0, ro_compat: 2, compat: 4 },
    };
    assert_rows(&header.encode(&layout().last_header()), HEADER);
}

#[test]
fn a_claim() {
    let claim = Claim {
        slot: WHO.slot,
        boot_id: BOOT,
        host_key: KEY,
        nonce: Nonce(9),
        name: HostName::cut("host-3"),
    };
    assert_rows(&claim.encode(&layout().claim(WHO.slot)), CLAIM);
}

#[test]
fn a_host_record() {
    let terms = Terms {
        lease_ttl: Duration::from_secs(30),
        fence_budget: Duration::from_millis(3500),
        write_drain: Duration::from_secs(2),
        renewal_interval: Duration::from_secs(1),
        scan_interval: Duration::from_secs(1),
        drift_ppm: 500,
        watchdog_actual: Duration::from_secs(6),
    };
    let mut record = HostRecord {
        incarnation: WHO,
        boot_id: BOOT,
        sequence: Sequence(0x1_0000_0005),
        host_key: KEY,
        process_nonce: Nonce(0x11),
        freed_generation: Generation(1),
        state: HostState::Held,
        watchdog_class: WatchdogClass::Hardware,
        flags: RecordFlags::RESET_ON,
        terms,
        echo: Terms { lease_ttl: Duration::from_secs(8), ..terms },
        issued_ns: 0x1122_3344,
        wall_ns: 0x5566_7788,
        scan_age: None,
        protocol_min: 1,
        protocol_max: 1,
        key_id: 0,
        host_name: HostName::cut("host-3"),
        api_address: Some(([10, 0, 0, 3], 0x1f90).into()),
        page_versions: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        ..HostRecord::default()
    };
    record.fence_requests[0] = Some(FenceRequest { target: WHOM, nonce: 0x99, since_sequence: Sequence(4) });
    record.convictions[7] =
        Some(Conviction { target: WHOM, kind: ConvictionKind::Confirmed, since_s: 0x6925_0000 });
    assert_rows(&record.encode(&layout().host_record(WHO.slot, RecordCopy::B)), HOST_RECORD);
}

#[test]
fn an_observer_sector() {
    let sector = ObserverSector {
        boot_id: BOOT,
        sequence: Sequence(5),
        nonce: Nonce(0xaabb),
        wall_ns: 0x5566_7788,
        name: HostName::cut("manager"),
    };
    assert_rows(&sector.encode(&layout().observer(7)), OBSERVER);
}

#[test]
fn a_journal_note() {
    let note = JournalNote {
        writer: WHO,
        boot_id: BOOT,
        sequence: Sequence(5),
        event: JournalEvent::Confirmed,
        subject: WHOM,
        wall_ns: 0x5566_7788,
        text: JournalText::cut("root: its power is off"),
    };
    assert_rows(&note.encode(&layout().journal(WHO.slot, 1)), NOTE);
}

#[test]
fn a_lease_page_sector() {
    let mut page = LeasePage::new(WHO, BOOT, Sequence(5));
    let entry = LeaseEntry {
        domain: DomainId([0xd1; 16]),
        term: Term(7),
        want_term: Term(8),
        state: LeaseState::Own,
        flags: LeaseFlags::PROTECTED.set(LeaseFlags::HA, true),
        priority: 5,
        base: LeaseBase::Recoverable,
        pred: Some(WHOM),
        vcpus: 4,
        memory_mib: 8192,
        definition_hash: 0x0102_0304_0506_0708,
        definition_version: 6,
        changed_s: 0x6925_0000,
        failures: 1,
        deaths: 2,
    };
    page.insert(entry).unwrap();
    page.insert(LeaseEntry { domain: DomainId([0xd0; 16]), ..LeaseEntry::default() }).unwrap();
    assert_rows(&page.encode(&layout().lease_page(3, WHO.slot, RecordCopy::A)), PAGE);
}

const HEADER: &str = "
        000 4c464e43 01010000 f1f1f1f1 f1f1f1f1
        010 f1f1f1f1 f1f1f1f1 f84f0000 00000000
        030 00000000 00000000 3b163393 00000000
        040 70726f64 00000000 00000000 00000000
        080 c1c1c1c1 c1c1c1c1 c1c1c1c1 c1c1c1c1
        090 00100000 40001000 0c000000 e8030000
        0a0 a0bb0d00 00000000 00000000 00000000
        0b0 02000000 00000000 04000000 00000000";
const CLAIM: &str = "
        000 4c464e43 02010200 f1f1f1f1 f1f1f1f1
        010 f1f1f1f1 f1f1f1f1 18000000 00000000
        020 b0b0b0b0 b0b0b0b0 b0b0b0b0 b0b0b0b0
        030 01000000 00000000 8d64a962 00000000
        040 4b4b4b4b 4b4b4b4b 4b4b4b4b 4b4b4b4b
        050 09000000 00000000 686f7374 2d330000";
const HOST_RECORD: &str = "
        000 4c464e43 03010200 f1f1f1f1 f1f1f1f1
        010 f1f1f1f1 f1f1f1f1 18040000 03000000
        020 b0b0b0b0 b0b0b0b0 b0b0b0b0 b0b0b0b0
        030 05000000 01000000 f73db5c1 00000000
        040 4b4b4b4b 4b4b4b4b 4b4b4b4b 4b4b4b4b
        050 11000000 00000000 01000000 02030100
        060 30750000 ac0d0000 d0070000 e8030000
        070 e8030000 f4015802 401f0000 ac0d0000
        080 d0070000 e8030000 e8030000 f4015802
        090 44332211 00000000 88776655 00000000
        0a0 ffffffff 01010000 686f7374 2d330000
        0e0 0000ffff 0a000003 901f0000 00000100
        0f0 02000300 04000500 06000700 08000900
        100 0a000b00 0c000d00 0e000f00 01000000
        110 07000000 99000000 04000000 00000000
        1b0 01000200 07000000 00002569 00000000";
const OBSERVER: &str = "
        000 4c464e43 04010000 f1f1f1f1 f1f1f1f1
        010 f1f1f1f1 f1f1f1f1 40060000 00000000
        020 b0b0b0b0 b0b0b0b0 b0b0b0b0 b0b0b0b0
        030 05000000 00000000 77c08c2c 00000000
        040 bbaa0000 00000000 88776655 00000000
        050 6d616e61 67657200 00000000 00000000";
const NOTE: &str = "
        000 4c464e43 05010200 f1f1f1f1 f1f1f1f1
        010 f1f1f1f1 f1f1f1f1 90060000 03000000
        020 b0b0b0b0 b0b0b0b0 b0b0b0b0 b0b0b0b0
        030 05000000 00000000 6e7a1743 00000000
        040 03000100 07000000 88776655 00000000
        050 726f6f74 3a206974 7320706f 77657220
        060 6973206f 66660000 00000000 00000000";
const PAGE: &str = "
        000 4c464e43 06010200 f1f1f1f1 f1f1f1f1
        010 f1f1f1f1 f1f1f1f1 581a0000 03000000
        020 b0b0b0b0 b0b0b0b0 b0b0b0b0 b0b0b0b0
        030 05000000 00000000 242648d6 00000000
        040 d0d0d0d0 d0d0d0d0 d0d0d0d0 d0d0d0d0
        080 d1d1d1d1 d1d1d1d1 d1d1d1d1 d1d1d1d1
        090 07000000 08000000 01030501 01000400
        0a0 07000000 00200000 08070605 04030201
        0b0 06000000 00002569 01020000 00000000";
