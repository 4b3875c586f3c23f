//! A host's record: its lease, its promises, and what it asks of and says about others. 512 bytes.
//!
//! ```text
//!  64 host_key 16 | process nonce 8 | freed_generation 4
//!  92 state 1 | watchdog class 1 | flags 2
//!  96 terms 24: ttl, budget, drain, renewal, scan (ms, 4 each), drift ppm 2, wd_actual (10 ms) 2
//! 120 the fencer's echo of them 24
//! 144 issue time: own monotonic ns 8, wall ns 8 | age of the last good scan ms 4
//! 164 protocol min 1 | max 1 | key id 2
//! 168 host name 48 | API address 16 | port 2 | spare 2
//! 236 version of each lease page 16 x 2
//! 268 4 fence requests x 20: slot 2, spare 2, generation 4, nonce 4, since_sequence 8
//! 348 8 convictions x 12: slot 2, kind 1, spare 1, generation 4, since (wall s) 4
//! 444 survival maximum ms 4 | survival set 32 | authentication tag 16
//! 496 spare 16
//! ```
//!
//! Two copies by sequence parity; a reader takes the valid one with the highest (generation, sequence), see
//! [`super::Copies::newest`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::accusation::{CONVICTION_LEN, CONVICTIONS, Conviction, FENCE_REQUESTS, FenceRequest, REQUEST_LEN};
use super::copies::Versioned;
use super::host_state::{HostState, RecordFlags, WatchdogClass};
use super::layout::{MAX_PAGES, Place};
use super::raw;
use super::sector::{DecodeError, HEADER_LEN, SectorHeader, SectorKind};
use super::text::HostName;
use crate::ids::{BootId, Generation, HostKey, Incarnation, Nonce, Sequence};
use crate::terms::Terms;

const TERMS_LEN: usize = 24;
const PAGE_VERSIONS: usize = MAX_PAGES as usize;

const HOST_KEY_AT: usize = HEADER_LEN;
const NONCE_AT: usize = HOST_KEY_AT + 16;
const FREED_AT: usize = NONCE_AT + 8;
const STATE_AT: usize = FREED_AT + 4;
const CLASS_AT: usize = STATE_AT + 1;
const FLAGS_AT: usize = CLASS_AT + 1;
const TERMS_AT: usize = FLAGS_AT + 2;
const ECHO_AT: usize = TERMS_AT + TERMS_LEN;
const ISSUED_AT: usize = ECHO_AT + TERMS_LEN;
const WALL_AT: usize = ISSUED_AT + 8;
const SCAN_AGE_AT: usize = WALL_AT + 8;
const PROTOCOL_MIN_AT: usize = SCAN_AGE_AT + 4;
const PROTOCOL_MAX_AT: usize = PROTOCOL_MIN_AT + 1;
const KEY_ID_AT: usize = PROTOCOL_MAX_AT + 1;
const NAME_AT: usize = KEY_ID_AT + 2;
const ADDRESS_AT: usize = NAME_AT + 48;
const PORT_AT: usize = ADDRESS_AT + 16;
const PAGE_VERSIONS_AT: usize = PORT_AT + 4;
const REQUESTS_AT: usize = PAGE_VERSIONS_AT + 2 * PAGE_VERSIONS;
const CONVICTIONS_AT: usize = REQUESTS_AT + FENCE_REQUESTS * REQUEST_LEN;
const SURVIVAL_MAX_AT: usize = CONVICTIONS_AT + CONVICTIONS * CONVICTION_LEN;
const SURVIVAL_SET_AT: usize = SURVIVAL_MAX_AT + 4;
const TAG_AT: usize = SURVIVAL_SET_AT + 32;
const SPARE_AT: usize = TAG_AT + 16;
const _: () = assert!(STATE_AT == 92 && TERMS_AT == 96 && ISSUED_AT == 144 && NAME_AT == 168);
const _: () = assert!(PAGE_VERSIONS_AT == 236 && REQUESTS_AT == 268 && CONVICTIONS_AT == 348);
const _: () = assert!(SURVIVAL_MAX_AT == 444 && SPARE_AT + 16 == 512);

/// "Never scanned" in the place of an age.
const NO_SCAN: u32 = u32::MAX;

/// A host's record. The default is all zero, `joining`, of no host.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct HostRecord {
    /// Whose it is.
    pub incarnation: Incarnation,
    /// The boot in which it was written.
    pub boot_id: BootId,
    /// Number of the write: even ones go into copy A, odd ones into copy B.
    pub sequence: Sequence,
    /// The machine; zero when the slot is `free`.
    pub host_key: HostKey,
    /// The process that wrote it.
    pub process_nonce: Nonce,
    /// The highest generation that `slot free` ended: carried on for ever.
    pub freed_generation: Generation,
    /// What the host says it is.
    pub state: HostState,
    /// What resets it.
    pub watchdog_class: WatchdogClass,
    /// What it permits, and what it asks of the whole cluster for a moment.
    pub flags: RecordFlags,
    /// What it promises.
    pub terms: Terms,
    /// The terms that its fencer has taken over; they differ while a change is under way.
    pub echo: Terms,
    /// When the write was issued, on the own monotonic clock in nanoseconds. Means nothing to another host (R2).
    pub issued_ns: u64,
    /// The same in wall time, nanoseconds since 1970, for people.
    pub wall_ns: u64,
    /// How old its last good scan was; none before the first.
    pub scan_age: Option<Duration>,
    /// The oldest protocol it speaks.
    pub protocol_min: u8,
    /// The newest protocol it speaks.
    pub protocol_max: u8,
    /// Which key made the authentication tag; 0 in this version.
    pub key_id: u16,
    /// Its name.
    pub host_name: HostName,
    /// Where its API answers over the network.
    pub api_address: Option<SocketAddr>,
    /// Version of each lease page: a hint, nothing decides by it.
    pub page_versions: [u16; PAGE_VERSIONS],
    /// Whom it asks to fence.
    pub fence_requests: [Option<FenceRequest>; FENCE_REQUESTS],
    /// Whom it holds for gone.
    pub convictions: [Option<Conviction>; CONVICTIONS],
    /// Survival maximum: reserved, written zero in this version; every observer adds the largest one of the valid copies to ttl.
    pub survival_max: Duration,
    /// Survival set, a bit a slot: reserved, written zero in this version.
    pub survival_set: [u8; 32],
    /// Authentication tag: reserved, written zero in this version.
    pub auth_tag: [u8; 16],
}

impl HostRecord {
    /// Each term as the reader must take it: while terms and echo differ, the one with the later verdict.
    #[must_use]
    pub fn effective_terms(&self) -> Terms {
        let (own, echo) = (&self.terms, &self.echo);
        Terms {
            lease_ttl: own.lease_ttl.max(echo.lease_ttl),
            fence_budget: own.fence_budget.max(echo.fence_budget),
            write_drain: own.write_drain.max(echo.write_drain),
            renewal_interval: own.renewal_interval.max(echo.renewal_interval),
            scan_interval: own.scan_interval.max(echo.scan_interval),
            drift_ppm: own.drift_ppm.max(echo.drift_ppm),
            watchdog_actual: own.watchdog_actual.max(echo.watchdog_actual),
        }
    }

    /// The bytes of one unit.
    #[must_use]
    pub fn encode(&self, place: &Place) -> Vec<u8> {
        let header = SectorHeader::of(self.incarnation, self.boot_id, self.sequence);
        header.encode(SectorKind::HostRecord, place, |record| {
            self.fill_identity(record);
            self.fill_promises(record);
            self.fill_lists(record);
        })
    }

    fn fill_identity(&self, record: &mut [u8]) {
        raw::put(record, HOST_KEY_AT, &self.host_key.0);
        raw::put_u64(record, NONCE_AT, self.process_nonce.0);
        raw::put_u32(record, FREED_AT, self.freed_generation.0);
        self.host_name.encode(&mut record[NAME_AT..ADDRESS_AT]);
        if let Some(address) = self.api_address {
            raw::put(record, ADDRESS_AT, &mapped(address.ip()).octets());
            raw::put_u16(record, PORT_AT, address.port());
        }
    }

    fn fill_promises(&self, record: &mut [u8]) {
        record[STATE_AT] = self.state.code();
        record[CLASS_AT] = self.watchdog_class.code();
        raw::put_u16(record, FLAGS_AT, self.flags.0);
        put_terms(&mut record[TERMS_AT..ECHO_AT], &self.terms);
        put_terms(&mut record[ECHO_AT..ISSUED_AT], &self.echo);
        raw::put_u64(record, ISSUED_AT, self.issued_ns);
        raw::put_u64(record, WALL_AT, self.wall_ns);
        raw::put_u32(record, SCAN_AGE_AT, scan_age_ms(self.scan_age));
        record[PROTOCOL_MIN_AT] = self.protocol_min;
        record[PROTOCOL_MAX_AT] = self.protocol_max;
        raw::put_u16(record, KEY_ID_AT, self.key_id);
        raw::put_ms(record, SURVIVAL_MAX_AT, self.survival_max);
        raw::put(record, SURVIVAL_SET_AT, &self.survival_set);
        raw::put(record, TAG_AT, &self.auth_tag);
    }

    fn fill_lists(&self, record: &mut [u8]) {
        for (index, version) in self.page_versions.iter().enumerate() {
            raw::put_u16(record, PAGE_VERSIONS_AT + 2 * index, *version);
        }
        let requests = record[REQUESTS_AT..CONVICTIONS_AT].chunks_exact_mut(REQUEST_LEN);
        for (room, request) in requests.zip(&self.fence_requests) {
            request.iter().for_each(|request| request.encode(room));
        }
        let convictions = record[CONVICTIONS_AT..SURVIVAL_MAX_AT].chunks_exact_mut(CONVICTION_LEN);
        for (room, conviction) in convictions.zip(&self.convictions) {
            conviction.iter().for_each(|conviction| conviction.encode(room));
        }
    }

    /// The record in the bytes of one unit.
    ///
    /// # Errors
    /// What is wrong with it; an unknown state, class or conviction is an error: such a record gives no verdict.
    pub fn decode(place: &Place, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (header, record) = SectorHeader::decode(SectorKind::HostRecord, place, bytes)?;
        let mut page_versions = [0; PAGE_VERSIONS];
        for (index, version) in page_versions.iter_mut().enumerate() {
            *version = raw::get_u16(record, PAGE_VERSIONS_AT + 2 * index);
        }
        let scan_age = raw::get_u32(record, SCAN_AGE_AT);
        Ok(Self {
            incarnation: header.incarnation(),
            boot_id: header.boot_id,
            sequence: header.sequence,
            host_key: HostKey(raw::get(record, HOST_KEY_AT)),
            process_nonce: Nonce(raw::get_u64(record, NONCE_AT)),
            freed_generation: Generation(raw::get_u32(record, FREED_AT)),
            state: HostState::from_code(record[STATE_AT])?,
            watchdog_class: WatchdogClass::from_code(record[CLASS_AT])?,
            flags: RecordFlags(raw::get_u16(record, FLAGS_AT)),
            terms: get_terms(&record[TERMS_AT..ECHO_AT]),
            echo: get_terms(&record[ECHO_AT..ISSUED_AT]),
            issued_ns: raw::get_u64(record, ISSUED_AT),
            wall_ns: raw::get_u64(record, WALL_AT),
            scan_age: (scan_age != NO_SCAN).then(|| Duration::from_millis(scan_age.into())),
            protocol_min: record[PROTOCOL_MIN_AT],
            protocol_max: record[PROTOCOL_MAX_AT],
            key_id: raw::get_u16(record, KEY_ID_AT),
            host_name: HostName::decode(&record[NAME_AT..ADDRESS_AT], "host name")?,
            api_address: address_of(record),
            page_versions,
            fence_requests: requests_of(record),
            convictions: convictions_of(record)?,
            survival_max: raw::get_ms(record, SURVIVAL_MAX_AT),
            survival_set: raw::get(record, SURVIVAL_SET_AT),
            auth_tag: raw::get(record, TAG_AT),
        })
    }
}

impl Versioned for HostRecord {
    fn version(&self) -> (Generation, Sequence) {
        (self.incarnation.generation, self.sequence)
    }
}

fn requests_of(record: &[u8]) -> [Option<FenceRequest>; FENCE_REQUESTS] {
    let mut requests = [None; FENCE_REQUESTS];
    let rooms = record[REQUESTS_AT..CONVICTIONS_AT].chunks_exact(REQUEST_LEN);
    for (request, room) in requests.iter_mut().zip(rooms) {
        *request = FenceRequest::decode(room);
    }
    requests
}

fn convictions_of(record: &[u8]) -> Result<[Option<Conviction>; CONVICTIONS], DecodeError> {
    let mut convictions = [None; CONVICTIONS];
    let rooms = record[CONVICTIONS_AT..SURVIVAL_MAX_AT].chunks_exact(CONVICTION_LEN);
    for (conviction, room) in convictions.iter_mut().zip(rooms) {
        *conviction = Conviction::decode(room)?;
    }
    Ok(convictions)
}

/// Rounded up in each unit, so that no reader counts a promise shorter than its holder does.
fn put_terms(room: &mut [u8], terms: &Terms) {
    raw::put_ms(room, 0, terms.lease_ttl);
    raw::put_ms(room, 4, terms.fence_budget);
    raw::put_ms(room, 8, terms.write_drain);
    raw::put_ms(room, 12, terms.renewal_interval);
    raw::put_ms(room, 16, terms.scan_interval);
    raw::put_u16(room, 20, terms.drift_ppm);
    let tens_of_ms = terms.watchdog_actual.as_nanos().div_ceil(10_000_000);
    raw::put_u16(room, 22, u16::try_from(tens_of_ms).unwrap_or(u16::MAX));
}

fn get_terms(room: &[u8]) -> Terms {
    Terms {
        lease_ttl: raw::get_ms(room, 0),
        fence_budget: raw::get_ms(room, 4),
        write_drain: raw::get_ms(room, 8),
        renewal_interval: raw::get_ms(room, 12),
        scan_interval: raw::get_ms(room, 16),
        drift_ppm: raw::get_u16(room, 20),
        watchdog_actual: Duration::from_millis(10 * u64::from(raw::get_u16(room, 22))),
    }
}

fn scan_age_ms(age: Option<Duration>) -> u32 {
    age.map_or(NO_SCAN, |age| u32::try_from(age.as_millis()).unwrap_or(NO_SCAN - 1))
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn address_of(record: &[u8]) -> Option<SocketAddr> {
    let (octets, port) = (raw::get::<16>(record, ADDRESS_AT), raw::get_u16(record, PORT_AT));
    let ip = Ipv6Addr::from(octets).to_canonical();
    (octets != [0; 16] || port != 0).then(|| SocketAddr::new(ip, port))
}
