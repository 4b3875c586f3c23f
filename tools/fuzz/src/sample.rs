//! A small whole lease file, every sector in use.

use std::time::Duration;

use leasefence_core::format::init::header_writes;
use leasefence_core::format::{
    Claim, ClusterName, Conviction, ConvictionKind, Features, FenceRequest, Header, HostName, HostRecord,
    HostState, JOURNAL_RING, JournalEvent, JournalNote, JournalText, LONGEST_VERDICT_AFTER_DEFAULT, Layout,
    LeaseBase, LeaseEntry, LeasePage, LeaseState, OBSERVER_SECTORS, ObserverSector, Place, Policy,
    RecordCopy, Unit,
};
use leasefence_core::ids::{
    BootId, ClusterId, DomainId, FileId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot, Term,
};
use leasefence_core::terms::Terms;

use crate::rng::Rng;

/// How many hosts it has.
pub(crate) const HOSTS: u16 = 3;

/// Units of 512 bytes, so that areas do not end where the next begins.
pub(crate) fn layout() -> Layout {
    Layout::new(FileId([0xf1; 16]), Unit::Bytes512, HOSTS, 1).expect("these counts are in range")
}

/// The whole file.
pub(crate) fn file(rng: &mut Rng) -> Vec<u8> {
    let layout = layout();
    let mut file = vec![0; usize::try_from(layout.total_size()).expect("a small file")];
    for (place, bytes) in header_writes(&header(layout)) {
        put(&mut file, &place, &bytes);
    }
    for index in 0..OBSERVER_SECTORS {
        let place = layout.observer(index);
        put(&mut file, &place, &observer(rng).encode(&place));
    }
    for slot in layout.slots() {
        host(&mut file, &layout, slot, rng);
    }
    file
}

fn host(file: &mut [u8], layout: &Layout, slot: Slot, rng: &mut Rng) {
    let incarnation = Incarnation { slot, generation: Generation(1 + u32::from(rng.byte())) };
    let host_key = HostKey(rng.sixteen());
    let name = HostName::cut(&format!("host-{slot}"));
    let place = layout.claim(slot);
    let claim =
        Claim { slot, boot_id: BootId([1; 16]), host_key, nonce: Nonce(rng.draw()), name: name.clone() };
    put(file, &place, &claim.encode(&place));
    for copy in RecordCopy::BOTH {
        let place = layout.host_record(slot, copy);
        put(file, &place, &record(incarnation, host_key, name.clone(), rng).encode(&place));
        let place = layout.lease_page(0, slot, copy);
        put(file, &place, &page(incarnation, rng).encode(&place));
    }
    for index in 0..JOURNAL_RING {
        let place = layout.journal(slot, index);
        put(file, &place, &note(incarnation, rng).encode(&place));
    }
}

fn put(file: &mut [u8], place: &Place, bytes: &[u8]) {
    let at = usize::try_from(place.offset).expect("a small file");
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn header(layout: Layout) -> Header {
    Header {
        layout,
        cluster_name: ClusterName::cut("fuzz"),
        cluster_id: ClusterId([2; 16]),
        policy: Policy::TEST,
        min_write_drain: Duration::from_secs(1),
        longest_verdict_after: LONGEST_VERDICT_AFTER_DEFAULT,
        features: Features::default(),
    }
}

fn record(incarnation: Incarnation, host_key: HostKey, host_name: HostName, rng: &mut Rng) -> HostRecord {
    let terms = Terms { lease_ttl: Duration::from_secs(rng.byte().into()), ..Terms::default() };
    let target = Incarnation { slot: Slot(0), generation: Generation(1) };
    let mut record = HostRecord {
        incarnation,
        host_key,
        host_name,
        sequence: Sequence(rng.draw() % 1000),
        state: HostState::Held,
        terms,
        echo: terms,
        ..HostRecord::default()
    };
    record.fence_requests[rng.below(4)] =
        Some(FenceRequest { target, nonce: 1, since_sequence: Sequence(1) });
    record.convictions[rng.below(8)] = Some(Conviction { target, kind: ConvictionKind::Expired, since_s: 1 });
    record
}

fn observer(rng: &mut Rng) -> ObserverSector {
    ObserverSector {
        boot_id: BootId([1; 16]),
        sequence: Sequence(1),
        nonce: Nonce(rng.draw()),
        wall_ns: rng.draw(),
        name: HostName::cut("observer"),
    }
}

fn note(writer: Incarnation, rng: &mut Rng) -> JournalNote {
    JournalNote {
        writer,
        boot_id: BootId([1; 16]),
        sequence: Sequence(rng.draw() % 1000),
        event: JournalEvent::from_code(rng.byte()),
        subject: writer,
        wall_ns: rng.draw(),
        text: JournalText::cut("something happened"),
    }
}

fn page(incarnation: Incarnation, rng: &mut Rng) -> LeasePage {
    let mut page = LeasePage::new(incarnation, BootId([1; 16]), Sequence(rng.draw() % 1000));
    for _ in 0..rng.below(63) {
        let entry = LeaseEntry {
            domain: DomainId(rng.sixteen()),
            term: Term(u32::from(rng.byte())),
            state: LeaseState::Own,
            base: LeaseBase::Stopped,
            ..LeaseEntry::default()
        };
        page.insert(entry).expect("at most 62 entries");
    }
    page
}
