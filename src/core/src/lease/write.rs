//! Writing the own sector of a lease page: both copies, A then B; acknowledged means both.
//!
//! In turn by parity, one damaged copy gave two owners. It never writes while an earlier write to either copy may still
//! land, and never without the own lease.

use super::own::{Edit, OwnPage};
use super::types::LeaseContext;
use crate::format::{Layout, LeasePage, RecordCopy};
use crate::planted::planted;
use crate::storage::{IoDone, IoOp, Step};

/// How a write of both copies ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriteEnd {
    /// Both copies are acknowledged.
    Acknowledged,
    /// One of the two calls failed: the sector is unknown, and not written until that is over.
    Unknown,
    /// The own lease ended before both copies were issued.
    LostLease,
}

/// One write of an own sector.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SectorWrite {
    layout: Layout,
    page: u8,
    content: LeasePage,
    edits: Vec<Edit>,
    revision: u64,
    /// The copy that is next, or being written.
    next: RecordCopy,
    end: Option<WriteEnd>,
}

impl SectorWrite {
    /// A write of the sector as it is in memory, with these edits, which memory takes over once both copies are acknowledged.
    #[must_use]
    pub fn new(layout: Layout, own: &mut OwnPage, edits: Vec<Edit>) -> Self {
        let (content, revision) = own.snapshot(&edits);
        let in_turn = RecordCopy::of_sequence(content.sequence);
        let next = if planted!(OneCopyOfPage) { in_turn } else { RecordCopy::A };
        Self { layout, page: own.page(), content, edits, revision, next, end: None }
    }

    /// The next write, or the end. Not to be called while its own write is outstanding.
    pub fn poll(&mut self, ctx: &LeaseContext<'_>) -> Step<WriteEnd> {
        if self.end.is_none() && !ctx.may_write {
            self.end = Some(WriteEnd::LostLease);
        }
        if self.end.is_none() && sector_unknown(&self.layout, self.page, &self.content, ctx) {
            self.end = Some(WriteEnd::Unknown);
        }
        if let Some(end) = self.end {
            return Step::Done(end);
        }
        let place = self.layout.lease_page(self.page, self.content.incarnation.slot, self.next);
        Step::Io(IoOp::Write { offset: place.offset, data: self.content.encode(&place) })
    }

    /// The end of the write that was asked for. Memory follows when both are acknowledged; when one is unknown, memory
    /// stays, and must be written again.
    pub fn handle_io(&mut self, own: &mut OwnPage, done: &IoDone) {
        if done.result.is_err() {
            own.distrust();
            self.end = Some(WriteEnd::Unknown);
        } else if self.next == RecordCopy::A && !planted!(OneCopyOfPage) {
            self.next = RecordCopy::B;
        } else {
            own.acknowledged(&self.edits, self.revision);
            self.end = Some(WriteEnd::Acknowledged);
        }
    }
}

/// True while a write to either copy may still land.
fn sector_unknown(layout: &Layout, page: u8, content: &LeasePage, ctx: &LeaseContext<'_>) -> bool {
    unknown_copy(layout, page, content.incarnation.slot, ctx)
}

/// True while a write to either copy of this slot's sector may still land.
pub(super) fn unknown_copy(
    layout: &Layout,
    page: u8,
    slot: crate::ids::Slot,
    ctx: &LeaseContext<'_>,
) -> bool {
    if planted!(RewriteWhileUnknown) {
        return false;
    }
    RecordCopy::BOTH.into_iter().any(|copy| {
        let place = layout.lease_page(page, slot, copy);
        ctx.unknown.covers(place.offset, place.len)
    })
}

#[cfg(feature = "model-check")]
impl SectorWrite {
    pub(super) fn revision_mut(&mut self) -> &mut u64 {
        &mut self.revision
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for SectorWrite {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.content.each_mark(f);
        self.edits.each_mark(f);
    }
}
