//! The owner's look at its own sectors: every few seconds, copy by copy, against memory.
//!
//! A damaged one is written again from memory; one that another incarnation, or another process with this identity, wrote
//! is foreign: the host fences. It decides; it never writes.

use super::own::OwnPage;
use crate::format::{DecodeError, Layout, LeasePage, Place, RecordCopy};
use crate::storage::{IoDone, IoOp, Step};

/// What a copy of an own sector turned out to be.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reread {
    /// What memory says, or nobody could tell (it was not readable just now).
    Fine,
    /// Damaged, or older and mine: it must be written again.
    Damaged(String),
    /// Valid, and not mine: a higher generation, another boot, or a sequence that was never issued.
    Foreign(String),
}

/// One look at one copy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CopyRead {
    place: Place,
    copy: RecordCopy,
    end: Option<Reread>,
}

impl CopyRead {
    /// A look at this copy of the own sector.
    #[must_use]
    pub fn new(layout: &Layout, own: &OwnPage, copy: RecordCopy) -> Self {
        let place = layout.lease_page(own.page(), own.incarnation().slot, copy);
        Self { place, copy, end: None }
    }

    /// The read, or what it showed.
    #[must_use]
    pub fn poll(&self) -> Step<Reread> {
        match &self.end {
            Some(end) => Step::Done(end.clone()),
            None => Step::Io(IoOp::Read { offset: self.place.offset, len: self.place.len }),
        }
    }

    /// The end of the read.
    pub fn handle_io(&mut self, own: &OwnPage, done: &IoDone) {
        self.end = Some(match &done.result {
            Ok(bytes) if *bytes == own.bytes(&self.place) => Reread::Fine,
            Ok(bytes) => self.judge(own.content(), LeasePage::decode(&self.place, bytes)),
            Err(_) => Reread::Fine,
        });
    }

    fn judge(&self, mine: &LeasePage, found: Result<LeasePage, DecodeError>) -> Reread {
        let what = format!("copy {:?} of the own lease page sector at byte {}", self.copy, self.place.offset);
        match found {
            Err(error) => Reread::Damaged(format!("{what}: {error}")),
            Ok(found) if is_foreign(mine, &found) => Reread::Foreign(format!(
                "{what} was written by {} with sequence {}, which this process never issued",
                found.incarnation, found.sequence
            )),
            Ok(found) => Reread::Damaged(format!("{what} holds sequence {} again", found.sequence)),
        }
    }
}

/// Of a generation above mine, of mine with another boot id, or of mine with a sequence above the highest issued.
fn is_foreign(mine: &LeasePage, found: &LeasePage) -> bool {
    let same_life = found.incarnation.generation == mine.incarnation.generation;
    found.incarnation.generation > mine.incarnation.generation
        || (same_life && found.boot_id != mine.boot_id)
        || (same_life && found.sequence > mine.sequence)
}
