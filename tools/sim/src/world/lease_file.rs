//! The lease file on its storage: bytes, and the writes that have not landed yet.

use std::collections::{BTreeMap, VecDeque};

use leasefence_core::format::init::{InitParameters, header_writes};
use leasefence_core::format::{Claim, HostRecord, Layout, LeasePage, Place, Policy, RecordCopy};
use leasefence_core::ids::{ClusterId, FileId, Generation, Incarnation, Slot};
use std::time::Duration;

use crate::plan::ClusterPlan;

/// The state's byte in a host record.
pub(crate) const STATE_AT: usize = 92;

/// Where the low byte of the flags lies there.
pub(crate) const FLAGS_AT: u64 = 94;

/// Generation and sequence in a sector's bytes, or in those of a write to one: which of two was issued later.
pub(crate) fn version_in(bytes: &[u8]) -> Option<(u32, u64)> {
    let generation = bytes.get(28..32)?.try_into().ok()?;
    let sequence = bytes.get(48..56)?.try_into().ok()?;
    Some((u32::from_le_bytes(generation), u64::from_le_bytes(sequence)))
}

/// A write that its caller has no answer for.
#[derive(Clone, Debug)]
pub(crate) struct LateWrite {
    pub(crate) client: usize,
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
    /// It waits in its client until the way there is whole.
    pub(crate) parked: bool,
}

/// The bytes that all share.
#[derive(Clone, Debug)]
pub(crate) struct LeaseFile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) layout: Layout,
    pub(crate) late: BTreeMap<u32, LateWrite>,
    pub(crate) written: u32,
    /// What the last write of a host record covered, by its offset.
    pub(crate) covered: BTreeMap<u64, Vec<u8>>,
    /// What was overwritten, newest last, while some path shows old bytes.
    pub(crate) history: Option<VecDeque<(u64, u64, Vec<u8>)>>,
}

impl LeaseFile {
    pub(crate) fn new(plan: &ClusterPlan, keeps_history: bool) -> Self {
        let header = InitParameters {
            file_id: FileId([9; 16]),
            cluster_id: ClusterId([8; 16]),
            cluster_name: "sim".to_owned(),
            sector_size: plan.unit,
            max_hosts: plan.max_hosts,
            pages: plan.pages,
            policy: plan.policy,
            // Less than a second is for tests alone.
            min_write_drain: Duration::from_millis(if plan.policy.contains(Policy::TEST) {
                500
            } else {
                1_000
            }),
            longest_verdict_after: Duration::from_secs(900),
        }
        .header()
        .expect("the parameters of a plan are good");
        let size = usize::try_from(header.layout.total_size()).expect("a small file");
        let mut file = Self {
            bytes: vec![0; size],
            layout: header.layout,
            late: BTreeMap::new(),
            written: 0,
            covered: BTreeMap::new(),
            history: keeps_history.then(VecDeque::new),
        };
        for (place, bytes) in header_writes(&header) {
            file.write(0, place.offset, &bytes);
        }
        file
    }

    pub(crate) fn write(&mut self, at: u64, offset: u64, data: &[u8]) {
        let start = usize::try_from(offset).expect("inside the file");
        let place = &mut self.bytes[start..start + data.len()];
        if let Some(history) = &mut self.history {
            history.push_back((at, offset, place.to_vec()));
        }
        if self.layout.host_records().contains(&offset) {
            let covered = self.covered.entry(offset).or_default();
            covered.clear();
            covered.extend_from_slice(place);
        }
        place.copy_from_slice(data);
    }

    pub(crate) fn byte(&self, offset: u64) -> u8 {
        usize::try_from(offset).ok().and_then(|at| self.bytes.get(at)).copied().unwrap_or_default()
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let start = usize::try_from(offset).expect("inside the file");
        self.bytes[start..start + len].to_vec()
    }

    fn bytes_of(&self, place: &Place) -> &[u8] {
        let start = usize::try_from(place.offset).expect("inside the file");
        &self.bytes[start..start + place.len]
    }

    /// A copy of a host's record, if it can be read.
    pub(crate) fn record(&self, slot: Slot, copy: RecordCopy) -> Option<HostRecord> {
        let place = self.layout.host_record(slot, copy);
        HostRecord::decode(&place, self.bytes_of(&place)).ok()
    }

    /// Whose record has been written here; none where no record lies. The slot is the place's.
    pub(crate) fn recorded_at(&self, offset: u64, len: usize) -> Option<Incarnation> {
        let slot = self.slot_of_record(offset)?;
        let (generation, _) = version_in(&self.read(offset, len))?;
        Some(Incarnation { slot, generation: Generation(generation) })
    }

    /// Whose record's place begins here.
    pub(crate) fn slot_of_record(&self, offset: u64) -> Option<Slot> {
        if !self.layout.host_records().contains(&offset) {
            return None;
        }
        let here = |slot: &Slot| {
            RecordCopy::BOTH.iter().any(|copy| self.layout.host_record(*slot, *copy).offset == offset)
        };
        self.layout.slots().find(here)
    }

    /// The state's code in the record that begins here: it alone often decides whether the rest is worth decoding.
    pub(crate) fn state_at(&self, offset: u64) -> u8 {
        usize::try_from(offset).ok().and_then(|at| self.bytes.get(at + STATE_AT)).copied().unwrap_or_default()
    }

    /// A slot's claim, if it can be read.
    pub(crate) fn claim(&self, slot: Slot) -> Option<Claim> {
        let place = self.layout.claim(slot);
        Claim::decode(&place, self.bytes_of(&place)).ok()
    }

    /// A copy of a host's sector of a lease page, if it can be read.
    pub(crate) fn lease_page(&self, page: u8, slot: Slot, copy: RecordCopy) -> Option<LeasePage> {
        let place = self.layout.lease_page(page, slot, copy);
        LeasePage::decode(&place, self.bytes_of(&place)).ok()
    }

    /// Both copies of it, those that can be read.
    pub(crate) fn lease_pages(&self, page: u8, slot: Slot) -> impl Iterator<Item = LeasePage> {
        RecordCopy::BOTH.into_iter().filter_map(move |copy| self.lease_page(page, slot, copy))
    }

    /// Which copy of whose sector of which lease page begins here.
    pub(crate) fn sector_at(&self, offset: u64) -> Option<(u8, Slot, RecordCopy)> {
        let layout = &self.layout;
        if !layout.lease_pages().contains(&offset) {
            return None;
        }
        let copies = (0..layout.pages()).flat_map(|page| RecordCopy::BOTH.map(|copy| (page, copy)));
        let (page, copy) =
            copies.into_iter().find(|(page, copy)| layout.lease_page_copy(*page, *copy).contains(&offset))?;
        let slot = layout.slots().find(|slot| layout.lease_page(page, *slot, copy).offset == offset)?;
        Some((page, slot, copy))
    }

    /// The lease page in which a read lies, and where in it.
    pub(crate) fn page_at(&self, offset: u64) -> Option<(u8, usize)> {
        if !self.layout.lease_pages().contains(&offset) {
            return None;
        }
        let page =
            (0..self.layout.pages()).find(|page| self.layout.lease_page_range(*page).contains(&offset))?;
        let from = offset - self.layout.lease_page_range(page).start;
        Some((page, usize::try_from(from).ok()?))
    }

    /// What a read would have shown at the time `then`.
    pub(crate) fn read_as_of(&self, then: u64, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (at, offset, before) in self.history.iter().flatten().rev() {
            if *at <= then {
                break;
            }
            let start = usize::try_from(*offset).expect("inside the file");
            bytes[start..start + before.len()].copy_from_slice(before);
        }
        let start = usize::try_from(offset).expect("inside the file");
        bytes[start..start + len].to_vec()
    }

    /// Notes a write that is to land later; gives its number.
    pub(crate) fn keep(&mut self, write: LateWrite) -> u32 {
        self.written += 1;
        self.late.insert(self.written, write);
        self.written
    }
}
