//! Several reads as one step: all succeed, or all are made again.

use super::pause::Pause;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::Instant;

/// A list of byte ranges that are read one after another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Reads {
    ranges: Vec<(u64, usize)>,
    got: Vec<Vec<u8>>,
    began: Option<Instant>,
    ended: Instant,
    pause: Pause,
    replaced: Option<IoError>,
}

/// What they gave.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ReadsDone {
    /// In the order of the ranges.
    pub(super) bytes: Vec<Vec<u8>>,
    /// When the first was issued.
    pub(super) began: Instant,
    /// When the last had ended.
    pub(super) ended: Instant,
}

impl Reads {
    pub(super) fn new(ranges: Vec<(u64, usize)>) -> Self {
        let got = Vec::new();
        Self { ranges, got, began: None, ended: Instant::default(), pause: Pause::default(), replaced: None }
    }

    /// The next read, a pause, or all bytes. Another file in the lease file's place is the one error that is not tried again.
    pub(super) fn poll(&mut self, now: Instant) -> Step<Result<ReadsDone, IoError>> {
        if let Some(error) = &self.replaced {
            return Step::Done(Err(error.clone()));
        }
        if let Some(until) = self.pause.left(now) {
            return Step::Wait(until);
        }
        match self.ranges.get(self.got.len()) {
            Some((offset, len)) => Step::Io(IoOp::Read { offset: *offset, len: *len }),
            None => Step::Done(Ok(ReadsDone {
                bytes: self.got.clone(),
                began: self.began.unwrap_or(now),
                ended: self.ended,
            })),
        }
    }

    pub(super) fn handle_io(&mut self, done: &IoDone) {
        match &done.result {
            Ok(bytes) => {
                self.began.get_or_insert(done.issued.instant);
                self.ended = done.ended.instant;
                self.got.push(bytes.clone());
            }
            Err(error @ IoError::Replaced(_)) => self.replaced = Some(error.clone()),
            Err(error) => {
                self.got.clear();
                self.began = None;
                self.pause.after(done.ended.instant, error);
            }
        }
    }

    /// The last failure, for people.
    pub(super) fn trouble(&self) -> Option<&IoError> {
        self.pause.why()
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Reads {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.began.each_mark(f);
        self.ended.each_mark(f);
        self.pause.each_mark(f);
    }
}
