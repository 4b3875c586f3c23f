//! What the core asks of the storage thread, and what comes back.
//!
//! A host has at most one request outstanding. A write that did not succeed is *unknown*, never "failed": it may
//! still land, much later (R5), and the type says so.

use crate::time::Now;

/// Names one request, so that its completion cannot be mistaken for another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct IoId(pub u64);

/// One operation on the lease file. Offsets and lengths are bytes, multiples of the file's unit.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum IoOp {
    /// Read `len` bytes at `offset`, through a descriptor that was freshly opened by path for this pass, after
    /// comparing it with the held one (device, inode, links): a file that was replaced is [`IoError::Replaced`].
    Read {
        /// Byte offset.
        offset: u64,
        /// Bytes to read.
        len: usize,
    },
    /// Write `data` at `offset` through the held descriptor (`O_DIRECT|O_DSYNC`).
    Write {
        /// Byte offset.
        offset: u64,
        /// The bytes of whole units.
        data: Vec<u8>,
    },
}

/// A request to the storage thread.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IoRequest {
    /// Echoed in the completion.
    pub id: IoId,
    /// What to do.
    pub op: IoOp,
}

/// The end of a request. The two stamps are the storage thread's own, taken right before and right after the call,
/// so that R3's "from before the write" and "after the read" hold whatever delays this message.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IoDone {
    /// Which request.
    pub id: IoId,
    /// Before the call was issued.
    pub issued: Now,
    /// After it returned.
    pub ended: Now,
    /// The bytes read (empty for a write), or why not.
    pub result: Result<Vec<u8>, IoError>,
}

/// Why a request did not succeed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum IoError {
    /// The call returned an error or came short. For a write the outcome is unknown: it may land later (R5).
    #[error("{0}")]
    Failed(String),
    /// The path now leads to another file than the one held: a lost lease (ARCHITECTURE 5).
    #[error("the lease file was replaced: {0}")]
    Replaced(String),
}

/// What a procedure of several storage steps (a claim, a rejoin, an acquire, …) needs next.
///
/// Every such procedure has the same two calls: `poll(&mut self, now: &Now) -> Step<Outcome>`, which never changes the
/// answer until something happens, and `handle_io(&mut self, done: &IoDone)`, which takes the end of the operation that
/// `poll` asked for. The member decides when it may use the storage thread; the procedure never assumes that it is alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step<T> {
    /// Issue this, as soon as the storage thread is free, and hand the completion to `handle_io`.
    Io(IoOp),
    /// Nothing to do before this instant; poll again then.
    Wait(crate::time::Instant),
    /// It has ended.
    Done(T),
}
