//! A look at every slot's claim and record, as the first step of joining.
//!
//! Sectors whose CRC fails in the large read are read again by themselves before they count as damaged: large reads tear
//! on NFS. It judges nothing.

use super::reads::{Reads, ReadsDone};
use crate::format::{Claim, Copies, DecodeError, HostRecord, Layout, Place, RecordCopy};
use crate::ids::Slot;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::Now;

/// What a sector is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum What {
    Claim(Slot),
    Record(Slot, RecordCopy),
}

/// All claims and records as read, by slot.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slots {
    /// The claims.
    pub claims: Vec<Result<Claim, DecodeError>>,
    /// The records.
    pub records: Vec<Copies<HostRecord>>,
}

/// The procedure.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Survey {
    layout: Layout,
    reads: Reads,
    found: Option<Slots>,
    again: Vec<What>,
}

impl Survey {
    /// A survey that has not begun.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let ranges = [layout.claims(), layout.host_records()];
        let ranges = ranges.into_iter().map(|range| (range.start, bytes_of(&range))).collect();
        Self { layout, reads: Reads::new(ranges), found: None, again: Vec::new() }
    }

    /// The next read, a pause after a failed one, or all slots.
    pub fn poll(&mut self, now: &Now) -> Step<Result<Slots, IoError>> {
        loop {
            let done = match self.reads.poll(now.instant) {
                Step::Io(op) => return Step::Io(op),
                Step::Wait(until) => return Step::Wait(until),
                Step::Done(Err(error)) => return Step::Done(Err(error)),
                Step::Done(Ok(done)) => done,
            };
            match self.found.take() {
                None => self.first_look(&done),
                Some(slots) => return Step::Done(Ok(self.second_look(slots, &done))),
            }
        }
    }

    /// The end of the read that was asked for.
    pub fn handle_io(&mut self, done: &IoDone) {
        self.reads.handle_io(done);
    }

    /// The last failed read, for people.
    #[must_use]
    pub fn trouble(&self) -> Option<&IoError> {
        self.reads.trouble()
    }

    fn first_look(&mut self, done: &ReadsDone) {
        let (claims_at, records_at) = (self.layout.claims().start, self.layout.host_records().start);
        let cut = |bytes: &[u8], base: u64, place: &Place| cut(bytes, base, place).to_vec();
        let (claims, records) = (&done.bytes[0], &done.bytes[1]);
        let mut slots = Slots { claims: Vec::new(), records: Vec::new() };
        for slot in self.layout.slots() {
            let place = self.layout.claim(slot);
            slots.claims.push(Claim::decode(&place, &cut(claims, claims_at, &place)));
            let record = |copy| {
                let place = self.layout.host_record(slot, copy);
                HostRecord::decode(&place, &cut(records, records_at, &place))
            };
            slots.records.push(Copies { a: record(RecordCopy::A), b: record(RecordCopy::B) });
        }
        self.again = slots.damaged();
        self.reads = Reads::new(self.again.iter().map(|what| range_of(&self.place(*what))).collect());
        self.found = Some(slots);
    }

    fn second_look(&self, mut slots: Slots, done: &ReadsDone) -> Slots {
        for (what, bytes) in self.again.iter().zip(&done.bytes) {
            let place = self.place(*what);
            match what {
                What::Claim(slot) => slots.claims[slot.index()] = Claim::decode(&place, bytes),
                What::Record(slot, copy) => {
                    let record = HostRecord::decode(&place, bytes);
                    let copies = &mut slots.records[slot.index()];
                    *(if *copy == RecordCopy::A { &mut copies.a } else { &mut copies.b }) = record;
                }
            }
        }
        slots
    }

    fn place(&self, what: What) -> Place {
        match what {
            What::Claim(slot) => self.layout.claim(slot),
            What::Record(slot, copy) => self.layout.host_record(slot, copy),
        }
    }
}

impl Slots {
    fn damaged(&self) -> Vec<What> {
        let claims = self
            .claims
            .iter()
            .zip(0u16..)
            .filter(|(claim, _)| damaged(claim))
            .map(|(_, n)| What::Claim(Slot(n)));
        let records = self.records.iter().zip(0u16..).flat_map(|(copies, n)| {
            RecordCopy::BOTH
                .into_iter()
                .filter(|copy| damaged(copies.get(*copy)))
                .map(move |copy| What::Record(Slot(n), copy))
        });
        claims.chain(records).collect()
    }
}

/// Offset and length of a sector, as a read wants them.
pub(super) fn range_of(place: &Place) -> (u64, usize) {
    (place.offset, place.len)
}

/// A read of this sector.
pub(super) fn read_of(place: &Place) -> IoOp {
    IoOp::Read { offset: place.offset, len: place.len }
}

/// A write of this sector.
pub(super) fn write_of(place: &Place, data: Vec<u8>) -> IoOp {
    IoOp::Write { offset: place.offset, data }
}

fn damaged<T>(sector: &Result<T, DecodeError>) -> bool {
    sector.as_ref().is_err_and(|error| *error != DecodeError::Empty)
}

/// The bytes of a place within a larger read that began at `base`; fewer when the read came short.
fn cut<'a>(bytes: &'a [u8], base: u64, place: &Place) -> &'a [u8] {
    let start = usize::try_from(place.offset.saturating_sub(base)).unwrap_or(usize::MAX);
    bytes.get(start..start.saturating_add(place.len)).unwrap_or_default()
}

fn bytes_of(range: &std::ops::Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Survey {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.reads.each_mark(f);
    }
}
