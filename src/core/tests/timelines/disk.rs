//! The lease file in memory, and what can happen to one host's way to it.

use std::time::Duration;

use leasefence_core::format::{Header, RecordCopy};
use leasefence_core::ids::Slot;
use leasefence_core::storage::{IoError, IoOp};

/// What one host's storage does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// Every operation takes this long, and does what it says.
    Works(Duration),
    /// Nothing comes back until it works again; then what was outstanding is done.
    Cut,
    /// Writes are acknowledged, and lost.
    LosesWrites,
    /// Writes of the second copies of host records are acknowledged, and lost.
    LosesCopyB,
    /// Writes return an error at once, and land so much later.
    LandsLate(Duration),
    /// Reads return an error at once.
    ReadsFail,
    /// Reads and writes go to a copy of the file, which nobody else sees.
    Picture,
    /// The path leads to another file: every read says so.
    Replaced,
}

/// Bytes that everybody shares.
#[derive(Clone, Debug)]
pub(crate) struct Disk(pub(crate) Vec<u8>);

impl Disk {
    /// True for a write into the second copy of a host record.
    pub(crate) fn is_copy_b(&self, op: &IoOp) -> bool {
        let layout = Header::decode(0, &self.0[..4096]).expect("it was written").layout;
        let start = layout.host_record(Slot(0), RecordCopy::B).offset;
        matches!(op, IoOp::Write { offset, .. } if (start..layout.host_records().end).contains(offset))
    }

    /// Does one operation.
    pub(crate) fn perform(&mut self, op: &IoOp) -> Result<Vec<u8>, IoError> {
        match op {
            IoOp::Read { offset, len } => {
                let start = usize::try_from(*offset).expect("small");
                Ok(self.0[start..start + len].to_vec())
            }
            IoOp::Write { offset, data } => {
                let start = usize::try_from(*offset).expect("small");
                self.0[start..start + data.len()].copy_from_slice(data);
                Ok(Vec::new())
            }
        }
    }
}
