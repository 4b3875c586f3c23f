//! Strategies: any value of each record, and a small file full of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use proptest::array::{uniform4, uniform8, uniform16, uniform32};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::format::init::header_writes;
use crate::format::*;
use crate::ids::{
    BootId, ClusterId, DomainId, FileId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot, Term,
};
use crate::terms::Terms;

pub(super) const FILE: FileId = FileId([0xf1; 16]);

/// Three hosts, one page, and units of 512 bytes, so that areas do not end where the next begins.
pub(super) fn small_layout() -> Layout {
    Layout::new(FILE, Unit::Bytes512, 3, 1).unwrap()
}

pub(super) fn any_layout() -> impl Strategy<Value = Layout> {
    let units = select(vec![Unit::Bytes512, Unit::Bytes4096]);
    (uniform16(any::<u8>()), units, 1..=256_u16, 1..=16_u8)
        .prop_map(|(file_id, unit, hosts, pages)| Layout::new(FileId(file_id), unit, hosts, pages).unwrap())
}

fn incarnation(slots: u16) -> impl Strategy<Value = Incarnation> {
    (0..slots, 1..u32::MAX)
        .prop_map(|(slot, generation)| Incarnation { slot: Slot(slot), generation: Generation(generation) })
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()))
}

fn text<const N: usize>() -> impl Strategy<Value = FixedText<N>> {
    any::<String>().prop_map(|text| FixedText::cut(&text))
}

fn boot() -> impl Strategy<Value = BootId> {
    uniform16(any::<u8>()).prop_map(BootId)
}

fn domain() -> impl Strategy<Value = DomainId> {
    uniform16(1_u8..).prop_map(DomainId)
}

pub(super) fn any_terms() -> impl Strategy<Value = Terms> {
    (millis(), millis(), millis(), millis(), millis(), any::<u16>(), any::<u16>()).prop_map(
        |(lease_ttl, fence_budget, write_drain, renewal_interval, scan_interval, drift_ppm, tens)| Terms {
            lease_ttl,
            fence_budget,
            write_drain,
            renewal_interval,
            scan_interval,
            drift_ppm,
            watchdog_actual: Duration::from_millis(10 * u64::from(tens)),
        },
    )
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()),
    ];
    (ip, 1..u16::MAX).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn request() -> impl Strategy<Value = FenceRequest> {
    (incarnation(256), any::<u32>(), any::<u64>()).prop_map(|(target, nonce, since)| FenceRequest {
        target,
        nonce,
        since_sequence: Sequence(since),
    })
}

fn conviction() -> impl Strategy<Value = Conviction> {
    let kind = select(vec![ConvictionKind::Expired, ConvictionKind::Confirmed]);
    (incarnation(256), kind, any::<u32>()).prop_map(|(target, kind, since_s)| Conviction {
        target,
        kind,
        since_s,
    })
}

fn state() -> impl Strategy<Value = HostState> {
    select((1..=7).map(|code| HostState::from_code(code).unwrap()).collect::<Vec<_>>())
}

fn class() -> impl Strategy<Value = WatchdogClass> {
    select((0..=3).map(|code| WatchdogClass::from_code(code).unwrap()).collect::<Vec<_>>())
}

pub(super) fn any_header() -> impl Strategy<Value = Header> {
    let fixed = (any_layout(), text(), uniform16(any::<u8>()), any::<u32>(), millis(), millis());
    (fixed, any::<[u64; 3]>()).prop_map(|((layout, cluster_name, id, policy, drain, longest), features)| {
        Header {
            layout,
            cluster_name,
            cluster_id: ClusterId(id),
            policy: Policy(policy),
            min_write_drain: drain,
            longest_verdict_after: longest,
            features: Features { incompat: features[0], ro_compat: features[1], compat: features[2] },
        }
    })
}

pub(super) fn any_claim(slots: u16) -> impl Strategy<Value = Claim> {
    (0..slots, boot(), uniform16(any::<u8>()), any::<u64>(), text()).prop_map(
        |(slot, boot_id, key, nonce, name)| Claim {
            slot: Slot(slot),
            boot_id,
            host_key: HostKey(key),
            nonce: Nonce(nonce),
            name,
        },
    )
}

pub(super) fn any_host_record(slots: u16) -> impl Strategy<Value = HostRecord> {
    let identity =
        (incarnation(slots), boot(), any::<u64>(), uniform16(any::<u8>()), any::<u64>(), any::<u32>());
    let promises = (state(), class(), any::<u16>(), any_terms(), any_terms(), any::<[u64; 2]>());
    let scan_age = option::of((0..u32::MAX - 1).prop_map(|ms| Duration::from_millis(ms.into())));
    let people = (scan_age, any::<[u8; 2]>(), any::<u16>(), text(), option::of(address()));
    let lists =
        (uniform16(any::<u16>()), uniform4(option::of(request())), uniform8(option::of(conviction())));
    let reserved = (millis(), uniform32(any::<u8>()), uniform16(any::<u8>()));
    (identity, promises, people, lists, reserved).prop_map(|(identity, promises, people, lists, reserved)| {
        HostRecord {
            incarnation: identity.0,
            boot_id: identity.1,
            sequence: Sequence(identity.2),
            host_key: HostKey(identity.3),
            process_nonce: Nonce(identity.4),
            freed_generation: Generation(identity.5),
            state: promises.0,
            watchdog_class: promises.1,
            flags: RecordFlags(promises.2),
            terms: promises.3,
            echo: promises.4,
            issued_ns: promises.5[0],
            wall_ns: promises.5[1],
            scan_age: people.0,
            protocol_min: people.1[0],
            protocol_max: people.1[1],
            key_id: people.2,
            host_name: people.3,
            api_address: people.4,
            page_versions: lists.0,
            fence_requests: lists.1,
            convictions: lists.2,
            survival_max: reserved.0,
            survival_set: reserved.1,
            auth_tag: reserved.2,
        }
    })
}

pub(super) fn any_observer() -> impl Strategy<Value = ObserverSector> {
    (boot(), any::<u64>(), any::<u64>(), any::<u64>(), text()).prop_map(
        |(boot_id, sequence, nonce, wall_ns, name)| ObserverSector {
            boot_id,
            sequence: Sequence(sequence),
            nonce: Nonce(nonce),
            wall_ns,
            name,
        },
    )
}

pub(super) fn any_note(slots: u16) -> impl Strategy<Value = JournalNote> {
    (incarnation(slots), boot(), any::<u64>(), any::<u8>(), incarnation(256), any::<u64>(), text()).prop_map(
        |(writer, boot_id, sequence, event, subject, wall_ns, text)| JournalNote {
            writer,
            boot_id,
            sequence: Sequence(sequence),
            event: JournalEvent::from_code(event),
            subject,
            wall_ns,
            text,
        },
    )
}

fn entry() -> impl Strategy<Value = LeaseEntry> {
    let states = [
        LeaseState::Empty,
        LeaseState::Own,
        LeaseState::Orphan,
        LeaseState::Stopped,
        LeaseState::Incoming,
        LeaseState::Saved,
    ];
    let bases = [LeaseBase::None, LeaseBase::Recoverable, LeaseBase::Stopped, LeaseBase::Saved];
    let lease =
        (domain(), any::<[u32; 2]>(), select(states.to_vec()), any::<[u8; 4]>(), select(bases.to_vec()));
    let rest = (option::of(incarnation(256)), any::<u16>(), any::<[u32; 3]>(), any::<u64>());
    (lease, rest).prop_map(|((domain, terms, state, bytes, base), (pred, vcpus, words, hash))| LeaseEntry {
        domain,
        term: Term(terms[0]),
        want_term: Term(terms[1]),
        state,
        flags: LeaseFlags(bytes[0]),
        priority: bytes[1],
        base,
        pred,
        vcpus,
        memory_mib: words[0],
        definition_hash: hash,
        definition_version: words[1],
        changed_s: words[2],
        failures: bytes[2],
        deaths: bytes[3],
    })
}

pub(super) fn any_lease_page(slots: u16) -> impl Strategy<Value = LeasePage> {
    (incarnation(slots), boot(), any::<u64>(), vec(entry(), 0..=PAGE_ENTRIES)).prop_map(
        |(incarnation, boot_id, sequence, entries)| {
            let mut page = LeasePage::new(incarnation, boot_id, Sequence(sequence));
            for entry in entries {
                page.insert(entry).unwrap();
            }
            page
        },
    )
}

/// A small file in which every sector holds some record.
pub(super) fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let layout = small_layout();
    let slots = layout.max_hosts();
    (
        any_header(),
        any_claim(slots),
        any_host_record(slots),
        any_observer(),
        any_note(slots),
        any_lease_page(slots),
    )
        .prop_map(move |(header, claim, record, observer, note, page)| {
            let mut file = vec![0; usize::try_from(layout.total_size()).unwrap()];
            let mut put = |place: Place, bytes: Vec<u8>| {
                let at = usize::try_from(place.offset).unwrap();
                file[at..at + bytes.len()].copy_from_slice(&bytes);
            };
            for (place, bytes) in header_writes(&Header { layout, ..header }) {
                put(place, bytes);
            }
            for slot in layout.slots() {
                let whose = |incarnation: Incarnation| Incarnation { slot, ..incarnation };
                let mut theirs = page.clone();
                theirs.incarnation = whose(page.incarnation);
                let place = layout.claim(slot);
                put(place, Claim { slot, host_key: record.host_key, ..claim.clone() }.encode(&place));
                for copy in RecordCopy::BOTH {
                    let place = layout.host_record(slot, copy);
                    put(
                        place,
                        HostRecord { incarnation: whose(record.incarnation), ..record.clone() }
                            .encode(&place),
                    );
                    let place = layout.lease_page(0, slot, copy);
                    put(place, theirs.encode(&place));
                }
                for index in 0..JOURNAL_RING {
                    let place = layout.journal(slot, index);
                    put(place, JournalNote { writer: whose(note.writer), ..note.clone() }.encode(&place));
                }
            }
            for index in 0..OBSERVER_SECTORS {
                let place = layout.observer(index);
                put(place, observer.encode(&place));
            }
            file
        })
}
