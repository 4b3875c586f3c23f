//! Reading one lease page of all hosts: both copies of each sector, the damaged ones again by themselves.
//!
//! It reads and decodes; what the page means for a key is the view's business.

use super::types::LeaseContext;
use super::view::{PageScan, SectorView};
use crate::format::{Copies, DecodeError, Layout, LeasePage, Place, RecordCopy};
use crate::ids::Slot;
use crate::storage::{IoDone, IoOp, Step};
use crate::time::Instant;

/// One read of a page, in one large read and as many small ones as there are sectors that came damaged: large reads tear
/// on NFS, so that a sector counts as damaged only when it is so by itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PageRead {
    layout: Layout,
    page: u8,
    began: Option<Instant>,
    ended: Instant,
    copies: Vec<Copies<LeasePage>>,
    /// Sectors to read again, the last first.
    again: Vec<(Slot, RecordCopy)>,
    end: Option<Result<PageScan, String>>,
}

impl PageRead {
    /// A read that has not begun.
    #[must_use]
    pub fn new(layout: Layout, page: u8) -> Self {
        Self {
            layout,
            page,
            began: None,
            ended: Instant::default(),
            copies: Vec::new(),
            again: Vec::new(),
            end: None,
        }
    }

    /// The next read, or the page, or why it could not be read.
    #[must_use]
    pub fn poll(&self) -> Step<Result<PageScan, String>> {
        if let Some(end) = &self.end {
            return Step::Done(end.clone());
        }
        if let Some((slot, copy)) = self.again.last() {
            let place = self.layout.lease_page(self.page, *slot, *copy);
            return Step::Io(IoOp::Read { offset: place.offset, len: place.len });
        }
        let whole = self.layout.lease_page_range(self.page);
        let len = usize::try_from(whole.end - whole.start).unwrap_or(usize::MAX);
        Step::Io(IoOp::Read { offset: whole.start, len })
    }

    /// The end of the read that was asked for.
    pub fn handle_io(&mut self, ctx: &LeaseContext<'_>, done: &IoDone) {
        let bytes = match &done.result {
            Ok(bytes) => bytes,
            Err(error) => {
                self.end = Some(Err(format!("reading lease page {}: {error}", self.page)));
                return;
            }
        };
        self.ended = done.ended.instant;
        if self.began.is_none() {
            self.began = Some(done.issued.instant);
            self.take_whole(ctx, bytes);
        } else if let Some((slot, copy)) = self.again.pop() {
            self.take_one(slot, copy, bytes);
        }
        if self.again.is_empty() {
            self.end = Some(Ok(self.scan(ctx)));
        }
    }

    fn take_whole(&mut self, ctx: &LeaseContext<'_>, bytes: &[u8]) {
        let start = self.layout.lease_page_range(self.page).start;
        let decode = |place: Place| {
            let at = usize::try_from(place.offset - start).unwrap_or(usize::MAX);
            let end = at.saturating_add(place.len);
            LeasePage::decode(&place, bytes.get(at..end).unwrap_or_default())
        };
        for slot in self.layout.slots() {
            let [a, b] = RecordCopy::BOTH.map(|copy| decode(self.layout.lease_page(self.page, slot, copy)));
            let copies = Copies { a, b };
            if !(copies.both_empty() && (ctx.vacant)(slot)) {
                let bad = RecordCopy::BOTH.into_iter().filter(|copy| copies.get(*copy).is_err());
                self.again.extend(bad.map(|copy| (slot, copy)));
            }
            self.copies.push(copies);
        }
    }

    fn take_one(&mut self, slot: Slot, copy: RecordCopy, bytes: &[u8]) {
        let read = LeasePage::decode(&self.layout.lease_page(self.page, slot, copy), bytes);
        let Some(copies) = self.copies.get_mut(slot.index()) else { return };
        match copy {
            RecordCopy::A => copies.a = read,
            RecordCopy::B => copies.b = read,
        }
    }

    fn scan(&self, ctx: &LeaseContext<'_>) -> PageScan {
        let slots = self.layout.slots().zip(&self.copies);
        let sectors = slots.map(|(slot, copies)| judge(copies, (ctx.vacant)(slot))).collect();
        PageScan { page: self.page, began: self.began.unwrap_or_default(), ended: self.ended, sectors }
    }
}

/// The valid copy with the highest (generation, sequence); zeros are *empty* only in a vacant slot.
fn judge(copies: &Copies<LeasePage>, vacant: bool) -> SectorView {
    match copies.newest() {
        Some((_, page)) => SectorView::Valid(page.clone()),
        None if copies.both_empty() && vacant => SectorView::Empty,
        None => SectorView::Unreadable(why(copies)),
    }
}

fn why(copies: &Copies<LeasePage>) -> String {
    let word = |copy: &Result<LeasePage, DecodeError>| match copy {
        Ok(_) => "valid".to_owned(),
        Err(error) => error.to_string(),
    };
    format!("copy A: {}; copy B: {}", word(&copies.a), word(&copies.b))
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for PageRead {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.began.each_mark(f);
        self.ended.each_mark(f);
        for copies in &mut self.copies {
            copies.a.each_mark(f);
            copies.b.each_mark(f);
        }
        if let Some(Ok(scan)) = &mut self.end {
            scan.each_mark(f);
        }
    }
}
