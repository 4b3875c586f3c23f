//! The joining record: copy A, then copy B, then both read back.
//!
//! Each try takes new sequences, and none of it changes a term or weakens a promise: it may be repeated while an earlier
//! write is unknown (R11 exempts it).

use super::pause::Pause;
use super::reads::Reads;
use crate::format::{HostRecord, HostState, Layout, RecordCopy};
use crate::ids::Sequence;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::{Instant, Now};

/// The procedure.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct RecordWrite {
    layout: Layout,
    record: HostRecord,
    /// The write that `poll` has handed out.
    op: Option<IoOp>,
    /// What each copy was acknowledged with.
    written: [Option<Vec<u8>>; 2],
    back: Option<Reads>,
    pause: Pause,
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum RecordEnd {
    /// Both copies show what was written; the record as written last.
    Written(Box<HostRecord>),
    /// A copy shows another machine's or a later record.
    Foreign(String),
    /// The path leads to another file.
    Storage(IoError),
}

impl RecordWrite {
    /// Writes `record` as `joining`, from the first even sequence after `highest` on.
    pub(super) fn new(layout: Layout, record: HostRecord, highest: Sequence) -> Self {
        let first = next_even(highest);
        let record = HostRecord { state: HostState::Joining, sequence: first, ..record };
        Self { layout, record, op: None, written: [None, None], back: None, pause: Pause::default() }
    }

    /// The record whose write is asked for: the page must carry its incarnation and sequence before the write leaves.
    pub(super) fn issuing(&self) -> Option<&HostRecord> {
        self.op.as_ref().map(|_| &self.record)
    }

    pub(super) fn poll(&mut self, now: &Now) -> Step<RecordEnd> {
        if let Some(back) = &mut self.back {
            let done = match back.poll(now.instant) {
                Step::Io(op) => return Step::Io(op),
                Step::Wait(until) => return Step::Wait(until),
                Step::Done(Err(error)) => return Step::Done(RecordEnd::Storage(error)),
                Step::Done(Ok(done)) => done,
            };
            match self.judge(&done.bytes) {
                Some(end) => return Step::Done(end),
                None => self.again(done.ended),
            }
        }
        match self.pause.left(now.instant) {
            Some(until) => Step::Wait(until),
            None => Step::Io(self.next_write(now)),
        }
    }

    pub(super) fn handle_io(&mut self, done: &IoDone) {
        if let Some(back) = &mut self.back {
            back.handle_io(done);
            return;
        }
        let Some(IoOp::Write { data, .. }) = self.op.take() else { return };
        let copy = RecordCopy::of_sequence(self.record.sequence);
        match &done.result {
            Ok(_) => self.acknowledged(copy, data),
            Err(error) => {
                self.pause.after(done.ended.instant, error);
                // The same copy again, under a later sequence: the write that failed may land any time.
                self.record.sequence = self.record.sequence.next().next();
            }
        }
    }

    pub(super) fn trouble(&self) -> Option<&IoError> {
        self.back.as_ref().and_then(Reads::trouble).or_else(|| self.pause.why())
    }

    fn acknowledged(&mut self, copy: RecordCopy, data: Vec<u8>) {
        match copy {
            RecordCopy::A => {
                self.written[0] = Some(data);
                self.record.sequence = self.record.sequence.next();
            }
            RecordCopy::B => {
                self.written[1] = Some(data);
                let places =
                    RecordCopy::BOTH.map(|copy| self.layout.host_record(self.record.incarnation.slot, copy));
                self.back = Some(Reads::new(places.iter().map(super::survey::range_of).collect()));
            }
        }
    }

    fn next_write(&mut self, now: &Now) -> IoOp {
        if self.op.is_none() {
            self.record.issued_ns = now.instant.boot_ns;
            self.record.wall_ns = now.wall_ns;
        }
        let copy = RecordCopy::of_sequence(self.record.sequence);
        let place = self.layout.host_record(self.record.incarnation.slot, copy);
        let record = &self.record;
        self.op.get_or_insert_with(|| super::survey::write_of(&place, record.encode(&place))).clone()
    }

    /// None when a copy shows something older or damaged: a late write of this machine's own, to be written over.
    fn judge(&self, bytes: &[Vec<u8>]) -> Option<RecordEnd> {
        let slot = self.record.incarnation.slot;
        let mut whole = true;
        for ((copy, bytes), written) in RecordCopy::BOTH.into_iter().zip(bytes).zip(&self.written) {
            if written.as_ref() == Some(bytes) {
                continue;
            }
            whole = false;
            if let Ok(found) = HostRecord::decode(&self.layout.host_record(slot, copy), bytes)
                && self.is_foreign(&found)
            {
                return Some(RecordEnd::Foreign(format!(
                    "host `{}`, incarnation {}",
                    found.host_name, found.incarnation
                )));
            }
        }
        whole.then(|| RecordEnd::Written(Box::new(self.record.clone())))
    }

    /// Valid, and of another key, or of a generation above mine, or of mine with another boot id.
    fn is_foreign(&self, found: &HostRecord) -> bool {
        let (mine, theirs) = (self.record.incarnation.generation, found.incarnation.generation);
        let other_boot = theirs == mine && found.boot_id != self.record.boot_id;
        // A record that `slot free` left has no key, and is older than mine.
        let other_key = found.host_key != self.record.host_key && found.state != HostState::Free;
        other_key || theirs > mine || other_boot
    }

    fn again(&mut self, ended: Instant) {
        let why = IoError::Failed("the joining record read back is not what was written".to_owned());
        self.pause.after(ended, &why);
        self.back = None;
        self.written = [None, None];
        self.record.sequence = next_even(self.record.sequence);
    }
}

/// Copy A takes the even sequences.
pub(super) fn next_even(highest: Sequence) -> Sequence {
    let next = highest.next();
    if RecordCopy::of_sequence(next) == RecordCopy::A { next } else { next.next() }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for RecordWrite {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.record.each_mark(f);
        self.back.each_mark(f);
        self.pause.each_mark(f);
    }
}
