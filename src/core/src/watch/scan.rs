//! One scan: a single read of all hosts' records (and of the observer sectors behind them, where they are wanted), and
//! a read by itself of each sector whose CRC failed in it. It decides nothing about hosts.

use std::collections::VecDeque;

use super::Watch;
use super::reading::Reading;
use crate::format::{Copies, DecodeError, HostRecord, Layout, RecordCopy};
use crate::ids::Slot;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::{Instant, Now};

/// What a scan showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// Every slot's two copies. A slot is left out when a sector of it could not be read again by itself.
    pub readings: Vec<(Slot, Reading)>,
    /// The bytes of the observer sectors, one after the other; empty unless they were asked for.
    pub observers: Vec<u8>,
    /// Before the first read was issued.
    pub started: Instant,
    /// After the last read returned.
    pub ended: Now,
}

/// A scan under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    layout: Layout,
    with_observers: bool,
    /// What is known of each slot from an earlier scan, by slot.
    known: Vec<Option<Reading>>,
    /// By slot; empty until the large read has ended.
    readings: Vec<Reading>,
    /// What the large read gave, while sectors of it are read again by themselves.
    bytes: Vec<u8>,
    observers: Vec<u8>,
    started: Instant,
    ended: Now,
    /// Sectors to be read by themselves: a large read tears on NFS, where one sector does not.
    again: VecDeque<(Slot, RecordCopy)>,
    dropped: Vec<Slot>,
    failed: Option<IoError>,
}

impl Scan {
    /// A scan of the file's host records; `with_observers` of the observer sectors as well.
    #[must_use]
    pub fn new(layout: Layout, with_observers: bool) -> Self {
        Self {
            layout,
            with_observers,
            known: Vec::new(),
            readings: Vec::new(),
            bytes: Vec::new(),
            observers: Vec::new(),
            started: Instant::default(),
            ended: Now::default(),
            again: VecDeque::new(),
            dropped: Vec::new(),
            failed: None,
        }
    }

    /// Takes over what the last scan showed: units whose bytes are still the same are not decoded again.
    #[must_use]
    pub fn knowing(self, watch: &Watch) -> Self {
        Self { known: watch.slots().map(|slot| slot.reading().cloned()).collect(), ..self }
    }

    /// What it needs next, or what it showed. Its error is that of the large read: no slot was read.
    #[must_use]
    pub fn poll(&self) -> Step<Result<Scanned, IoError>> {
        if let Some(error) = &self.failed {
            return Step::Done(Err(error.clone()));
        }
        if self.readings.is_empty() {
            return Step::Io(IoOp::Read { offset: self.layout.host_records().start, len: self.len() });
        }
        match self.again.front() {
            Some((slot, copy)) => {
                let place = self.layout.host_record(*slot, *copy);
                Step::Io(IoOp::Read { offset: place.offset, len: place.len })
            }
            None => Step::Done(Ok(self.scanned())),
        }
    }

    /// The end of the read that `poll` asked for.
    pub fn handle_io(&mut self, done: &IoDone) {
        if self.readings.is_empty() {
            self.take_large(done);
        } else if let Some((slot, copy)) = self.again.pop_front() {
            self.take_single(slot, copy, done);
        }
    }

    fn len(&self) -> usize {
        let end =
            if self.with_observers { self.layout.observers().end } else { self.layout.host_records().end };
        usize::try_from(end - self.layout.host_records().start).unwrap_or(usize::MAX)
    }

    fn take_large(&mut self, done: &IoDone) {
        (self.started, self.ended) = (done.issued.instant, done.ended);
        let bytes = match &done.result {
            Ok(bytes) if bytes.len() == self.len() => bytes,
            Ok(bytes) => {
                let text = format!("read {} of {} bytes of the host records", bytes.len(), self.len());
                self.failed = Some(IoError::Failed(text));
                return;
            }
            Err(error) => {
                self.failed = Some(error.clone());
                return;
            }
        };
        for slot in self.layout.slots() {
            let reading = self.reading(slot, bytes);
            let damaged = |copy: &RecordCopy| {
                reading.copies().get(*copy).as_ref().is_err_and(|error| *error != DecodeError::Empty)
            };
            self.again.extend(RecordCopy::BOTH.into_iter().filter(damaged).map(|copy| (slot, copy)));
            self.readings.push(reading);
        }
        if !self.again.is_empty() {
            self.bytes.clone_from(bytes);
        }
        if self.with_observers {
            let start = self.layout.observers().start - self.layout.host_records().start;
            self.observers = bytes[usize::try_from(start).unwrap_or(usize::MAX)..].to_vec();
        }
    }

    fn take_single(&mut self, slot: Slot, copy: RecordCopy, done: &IoDone) {
        self.ended = done.ended;
        let range = self.range(slot, copy);
        match &done.result {
            Ok(bytes) if bytes.len() == range.len() => {
                self.bytes[range].copy_from_slice(bytes);
                self.readings[slot.index()] = self.reading(slot, &self.bytes);
            }
            Err(error @ IoError::Replaced(_)) => self.failed = Some(error.clone()),
            Ok(_) | Err(_) => self.dropped.push(slot),
        }
    }

    fn range(&self, slot: Slot, copy: RecordCopy) -> std::ops::Range<usize> {
        let place = self.layout.host_record(slot, copy);
        let start = usize::try_from(place.offset - self.layout.host_records().start).unwrap_or(usize::MAX);
        start..start + place.len
    }

    fn scanned(&self) -> Scanned {
        let (started, ended) = (self.started, self.ended);
        let slots = self.layout.slots().zip(&self.readings).filter(|(slot, _)| !self.dropped.contains(slot));
        // Each reading ends with the last read of the scan.
        let whole = |reading: &Reading| {
            let mut reading = reading.clone();
            reading.ended = ended;
            reading
        };
        let readings = slots.map(|(slot, reading)| (slot, whole(reading))).collect();
        Scanned { readings, observers: self.observers.clone(), started, ended }
    }

    /// A slot's copies in the bytes of the large read.
    fn reading(&self, slot: Slot, bytes: &[u8]) -> Reading {
        let units = RecordCopy::BOTH.map(|copy| &bytes[self.range(slot, copy)]);
        let known = self.known.get(slot.index()).and_then(Option::as_ref);
        known.and_then(|known| known.again(units, self.started, self.ended)).unwrap_or_else(|| {
            // A host writes its copies in turn: one of them is as it was.
            let decode = |copy, unit| {
                let again = known.and_then(|known| known.copy_again(copy, unit));
                again.unwrap_or_else(|| HostRecord::decode(&self.layout.host_record(slot, copy), unit))
            };
            let copies = Copies { a: decode(RecordCopy::A, units[0]), b: decode(RecordCopy::B, units[1]) };
            Reading::new(copies, units, self.started, self.ended)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Unit;
    use crate::ids::{FileId, Generation, Incarnation, Sequence};
    use crate::storage::IoId;

    const SLOT: Slot = Slot(1);

    fn layout() -> Layout {
        Layout::new(FileId([1; 16]), Unit::Bytes4096, 3, 1).unwrap()
    }

    /// Where a copy of the slot's record begins in a scan's bytes.
    fn place(copy: RecordCopy) -> usize {
        Scan::new(layout(), false).range(SLOT, copy).start
    }

    /// A file of one host, whose copies have these sequences.
    fn file(sequences: [u64; 2]) -> Vec<u8> {
        let mut bytes = vec![0; Scan::new(layout(), false).len()];
        for (copy, sequence) in RecordCopy::BOTH.into_iter().zip(sequences) {
            let incarnation = Incarnation { slot: SLOT, generation: Generation(1) };
            let record = HostRecord { incarnation, sequence: Sequence(sequence), ..HostRecord::default() };
            let unit = record.encode(&layout().host_record(SLOT, copy));
            bytes[place(copy)..][..unit.len()].copy_from_slice(&unit);
        }
        bytes
    }

    fn scan(bytes: &[u8], known: &[(Slot, Reading)]) -> Vec<(Slot, Reading)> {
        let known = known.iter().map(|(_, reading)| Some(reading.clone())).collect();
        let mut scan = Scan { known, ..Scan::new(layout(), false) };
        loop {
            match scan.poll() {
                Step::Io(IoOp::Read { offset, len }) => {
                    let start = usize::try_from(offset - layout().host_records().start).unwrap();
                    let result = Ok(bytes[start..start + len].to_vec());
                    let now = Now::default();
                    scan.handle_io(&IoDone { id: IoId(0), issued: now, ended: now, result });
                }
                Step::Done(scanned) => return scanned.unwrap().readings,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_scan_that_knows_the_last_one_shows_the_same_as_one_that_knows_nothing() {
        let mut torn = file([2, 1]);
        torn[place(RecordCopy::A) + 100] ^= 1;
        let mut followed = file([2, 1]);
        followed[place(RecordCopy::B) + 600] = 7;
        let nobody = vec![0; torn.len()];
        let files = [file([2, 1]), file([2, 3]), file([4, 3]), torn, followed, nobody];
        for before in &files {
            for after in &files {
                let known = scan(before, &[]);
                assert_eq!(scan(after, &known), scan(after, &[]));
            }
        }
    }
}
