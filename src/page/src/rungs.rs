//! What the fencer did at the last end of a lease, rung by rung, and what came of it. For people: nothing is decided by it.

use leasefence_core::ids::Incarnation;

use crate::codec::{Decoded, EncodeError, Half, Reader, Writer};

/// The ladder of one fence. Times are milliseconds after the latch; none where that rung was not reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rungs {
    /// Whose lease ended; zero before the first end.
    pub incarnation: Incarnation,
    /// Domain processes that were sent SIGKILL through their pidfds.
    pub signalled: u32,
    /// Those that could not be signalled, at the last try.
    pub not_signalled: u32,
    /// Cgroups that were killed whole, beside that.
    pub cgroups: u32,
    /// Cgroups of domain processes that were left alone, since a process in them is no domain's, or which could not be killed.
    pub cgroups_left: u32,
    /// Processes whose exit was seen.
    pub exits: u32,
    /// Processes whose exit has not been seen.
    pub left: u32,
    /// When the last process was signalled for the first time.
    pub signalled_ms: Option<u32>,
    /// When the last exit was seen.
    pub exits_ms: Option<u32>,
    /// When the reset was tried first.
    pub reset_ms: Option<u32>,
    /// Storages to be shown quiet.
    pub storages: u16,
    /// Those of them that were.
    pub quiet: u16,
}

impl Half for Rungs {
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut to = Writer::new(out);
        to.incarnation(self.incarnation);
        for number in [
            self.signalled,
            self.not_signalled,
            self.cgroups,
            self.cgroups_left,
            self.exits,
            self.left,
            code(self.signalled_ms),
            code(self.exits_ms),
            code(self.reset_ms),
        ] {
            to.u32(number);
        }
        to.u32(u32::from(self.storages) | u32::from(self.quiet) << 16);
        Ok(to.len())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut from = Reader::new(bytes);
        self.incarnation = from.incarnation()?;
        self.signalled = from.u32()?;
        self.not_signalled = from.u32()?;
        self.cgroups = from.u32()?;
        self.cgroups_left = from.u32()?;
        self.exits = from.u32()?;
        self.left = from.u32()?;
        self.signalled_ms = time(from.u32()?);
        self.exits_ms = time(from.u32()?);
        self.reset_ms = time(from.u32()?);
        (self.storages, self.quiet) = (from.u16()?, from.u16()?);
        from.end()
    }
}

/// The highest number is none.
fn code(time: Option<u32>) -> u32 {
    time.map_or(u32::MAX, |ms| ms.min(u32::MAX - 1))
}

fn time(code: u32) -> Option<u32> {
    (code != u32::MAX).then_some(code)
}
