//! A client's way to the lease storage, and what is on it.

use leasefence_core::storage::{IoError, IoRequest};
use leasefence_core::time::Now;

use crate::plan::Sector;

/// What a path does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    /// Cuts of the way there, and of the way back, that are in force.
    pub(crate) requests_cut: u8,
    pub(crate) answers_cut: u8,
    /// The most that each way takes.
    pub(crate) latency: u64,
    /// Slowness on top of it.
    pub(crate) slow: u64,
    /// A call returns an error after this long.
    pub(crate) times_out: Option<u64>,
    /// Writes that return an error and land so much later.
    pub(crate) lands_late: (u8, u64),
    /// Writes that are done and return an error.
    pub(crate) ack_lost: u8,
    /// Reads that return an error.
    pub(crate) reads_fail: u8,
    /// Reads that are answered so much later.
    pub(crate) reads_late: (u8, u64),
    /// Of the next write to such a sector each: how long it is on its way, and whether its call returns an error at once.
    pub(crate) slow_writes: Vec<(Sector, u64, bool)>,
    /// The next large write is half done for so long.
    pub(crate) torn: Option<u64>,
    /// It leads to other files: so many faults say so.
    pub(crate) replaced: u8,
    /// Record writes are acknowledged, and lost.
    pub(crate) renewals_lost: u8,
    /// The file was made anew: writes go into the old one.
    pub(crate) made_anew: u8,
    /// It shows a copy that nobody else writes.
    pub(crate) picture: Option<Vec<u8>>,
    /// Reads show what was there so long ago.
    pub(crate) stale: Option<u64>,
    /// The next write is done again so much later.
    pub(crate) twice: Option<u64>,
}

/// How far a request is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// On its way to the server, or held where the way is cut.
    Going,
    /// The server holds a write before it applies it.
    Held,
    /// The answer is on its way, or held where the way back is cut.
    Answering(Result<Vec<u8>, IoError>),
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) number: u32,
    pub(crate) request: IoRequest,
    pub(crate) issued: Now,
    pub(crate) stage: Stage,
}

/// One who uses the lease storage: a host's storage thread, or the observer's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) path: Path,
    pub(crate) flight: Option<Flight>,
    /// Came back, and was not taken yet: its process is stopped.
    pub(crate) back: Option<(IoRequest, Now, Result<Vec<u8>, IoError>)>,
    pub(crate) issued: u32,
    /// When the storage served its last read of all records.
    pub(crate) records_read: u64,
}

impl Path {
    /// True while nothing is wrong with it.
    pub(crate) fn is_whole(&self) -> bool {
        self.requests_cut + self.answers_cut + self.replaced + self.made_anew == 0
            && self.reads_fail == 0
            && self.reads_late.0 == 0
            && self.stale.is_none()
            && self.picture.is_none()
    }

    /// What the picture shows.
    pub(crate) fn pictured(&self, offset: u64, len: usize) -> Vec<u8> {
        let start = usize::try_from(offset).unwrap_or_default();
        self.picture.as_ref().map_or_else(Vec::new, |picture| picture[start..start + len].to_vec())
    }
}
