//! One scan: a single read of all hosts' records (and of the observer sectors behind them, where they are wanted), and
//! a read by itself of each sector whose CRC failed in it. It decides nothing about hosts.

use std::collections::VecDeque;

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
    bytes: Vec<u8>,
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
            bytes: Vec::new(),
            started: Instant::default(),
            ended: Now::default(),
            again: VecDeque::new(),
            dropped: Vec::new(),
            failed: None,
        }
    }

    /// What it needs next, or what it showed. Its error is that of the large read: no slot was read.
    #[must_use]
    pub fn poll(&self) -> Step<Result<Scanned, IoError>> {
        if let Some(error) = &self.failed {
            return Step::Done(Err(error.clone()));
        }
        if self.bytes.is_empty() {
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
        if self.bytes.is_empty() {
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
        match &done.result {
            Ok(bytes) if bytes.len() == self.len() => self.bytes.clone_from(bytes),
            Ok(bytes) => {
                let text = format!("read {} of {} bytes of the host records", bytes.len(), self.len());
                self.failed = Some(IoError::Failed(text));
                return;
            }
            Err(error) => {
                self.failed = Some(error.clone());
                return;
            }
        }
        for slot in self.layout.slots() {
            for copy in RecordCopy::BOTH {
                if self.decode(slot, copy).is_err_and(|error| error != DecodeError::Empty) {
                    self.again.push_back((slot, copy));
                }
            }
        }
    }

    fn take_single(&mut self, slot: Slot, copy: RecordCopy, done: &IoDone) {
        self.ended = done.ended;
        let range = self.range(slot, copy);
        match &done.result {
            Ok(bytes) if bytes.len() == range.len() => self.bytes[range].copy_from_slice(bytes),
            Err(error @ IoError::Replaced(_)) => self.failed = Some(error.clone()),
            Ok(_) | Err(_) => self.dropped.push(slot),
        }
    }

    fn range(&self, slot: Slot, copy: RecordCopy) -> std::ops::Range<usize> {
        let place = self.layout.host_record(slot, copy);
        let start = usize::try_from(place.offset - self.layout.host_records().start).unwrap_or(usize::MAX);
        start..start + place.len
    }

    fn unit(&self, slot: Slot, copy: RecordCopy) -> &[u8] {
        &self.bytes[self.range(slot, copy)]
    }

    fn decode(&self, slot: Slot, copy: RecordCopy) -> Result<HostRecord, DecodeError> {
        HostRecord::decode(&self.layout.host_record(slot, copy), self.unit(slot, copy))
    }

    fn scanned(&self) -> Scanned {
        let slots = self.layout.slots().filter(|slot| !self.dropped.contains(slot));
        let readings = slots.map(|slot| (slot, self.reading(slot))).collect();
        let start = usize::try_from(self.layout.observers().start - self.layout.host_records().start);
        let observers =
            start.ok().and_then(|start| self.bytes.get(start..)).map(<[u8]>::to_vec).unwrap_or_default();
        Scanned { readings, observers, started: self.started, ended: self.ended }
    }

    fn reading(&self, slot: Slot) -> Reading {
        let copies = Copies { a: self.decode(slot, RecordCopy::A), b: self.decode(slot, RecordCopy::B) };
        let units = [self.unit(slot, RecordCopy::A), self.unit(slot, RecordCopy::B)];
        Reading::new(copies, units, self.started, self.ended)
    }
}
