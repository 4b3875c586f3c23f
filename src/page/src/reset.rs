//! What agent and fencer tell each other of this host's own reset: the agent what its configuration wants, the fencer what
//! came of it. Nothing is decided by it here; when the host is reset is `leasefence_core::fencing`'s.

use crate::codec::{Decoded, EncodeError, Half, Reader, Undecodable, Writer};
use crate::layout::RESET_NOTE_BYTES;
use crate::text::Text;

/// What the agent's configuration wants: `fence.reset`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ResetWish {
    /// True when this host is to reset itself where it cannot show itself fenced.
    pub on: bool,
}

/// What the fencer says of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ResetReport {
    /// The wish that this answers.
    pub wish: ResetWish,
    /// True while the fencer holds the trigger open, and will pull it. A record says "reset on" only while this does.
    pub on: bool,
    /// True when the wish must wait until nothing is armed: what is said is what goes on meanwhile.
    pub deferred: bool,
    /// What people should know: why there is none, or what kept it from working.
    pub note: Text<RESET_NOTE_BYTES>,
}

impl Half for ResetWish {
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut to = Writer::new(out);
        to.u8(u8::from(self.on));
        Ok(to.len())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut from = Reader::new(bytes);
        self.on = from.bool()?;
        from.end()
    }
}

impl Half for ResetReport {
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut to = Writer::new(out);
        to.u8(u8::from(self.wish.on) | u8::from(self.on) << 1 | u8::from(self.deferred) << 2);
        to.text(&self.note);
        Ok(to.len())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut from = Reader::new(bytes);
        let flags = from.u8()?;
        if flags > 7 {
            return Err(Undecodable);
        }
        self.wish.on = flags & 1 != 0;
        (self.on, self.deferred) = (flags & 2 != 0, flags & 4 != 0);
        self.note = from.text()?;
        from.end()
    }
}
