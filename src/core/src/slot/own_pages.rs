//! The own sectors of all lease pages: read to learn the highest generation, then written for the next one.
//!
//! Every page is written, also an empty one: zeros in a slot that is in use are unreadable to everybody, and a generation
//! that only a damaged record copy carried must never be used again (R10).

use super::pause::Pause;
use super::reads::Reads;
use crate::format::{Copies, DecodeError, Layout, LeasePage, RecordCopy};
use crate::ids::{BootId, Generation, Incarnation, Sequence, Slot};
use crate::lease::for_next_generation;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::Now;

/// Both copies of each page, by page.
pub(super) type PageCopies = Vec<Copies<LeasePage>>;

/// Reads of all own sectors.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PagesRead {
    layout: Layout,
    slot: Slot,
    reads: Reads,
}

impl PagesRead {
    pub(super) fn new(layout: Layout, slot: Slot) -> Self {
        let places = (0..layout.pages())
            .flat_map(|page| RecordCopy::BOTH.map(|copy| layout.lease_page(page, slot, copy)))
            .map(|place| super::survey::range_of(&place));
        Self { layout, slot, reads: Reads::new(places.collect()) }
    }

    pub(super) fn poll(&mut self, now: &Now) -> Step<Result<PageCopies, IoError>> {
        match self.reads.poll(now.instant) {
            Step::Io(op) => Step::Io(op),
            Step::Wait(until) => Step::Wait(until),
            Step::Done(done) => Step::Done(done.map(|done| self.decode(&done.bytes))),
        }
    }

    pub(super) fn handle_io(&mut self, done: &IoDone) {
        self.reads.handle_io(done);
    }

    pub(super) fn trouble(&self) -> Option<&IoError> {
        self.reads.trouble()
    }

    fn decode(&self, bytes: &[Vec<u8>]) -> PageCopies {
        let sector = |page, copy, bytes: &[u8]| {
            LeasePage::decode(&self.layout.lease_page(page, self.slot, copy), bytes)
        };
        let pairs = (0..self.layout.pages()).zip(bytes.chunks_exact(2));
        pairs
            .map(|(page, pair)| Copies {
                a: sector(page, RecordCopy::A, &pair[0]),
                b: sector(page, RecordCopy::B, &pair[1]),
            })
            .collect()
    }
}

/// The highest generation in any valid copy.
pub(super) fn highest_generation(pages: &PageCopies) -> Generation {
    pages.iter().flat_map(Copies::valid).map(|page| page.incarnation.generation).max().unwrap_or_default()
}

/// The first page of which no copy is readable and one at least was written: what it says is lost.
pub(super) fn lost_page(pages: &PageCopies) -> Option<(u8, String)> {
    let lost = |copies: &Copies<LeasePage>| match (&copies.a, &copies.b) {
        (Ok(_), _) | (_, Ok(_)) | (Err(DecodeError::Empty), Err(DecodeError::Empty)) => None,
        (Err(DecodeError::Empty), Err(error)) | (Err(error), _) => Some(error.to_string()),
    };
    (0u8..).zip(pages).find_map(|(page, copies)| lost(copies).map(|why| (page, why)))
}

/// Writes of all own sectors, copy A then B of each, for a new generation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PagesWrite {
    layout: Layout,
    pages: Vec<LeasePage>,
    /// The numbers of those to write.
    open: Vec<u8>,
    done: usize,
    pause: Pause,
}

impl PagesWrite {
    /// What `found` says, for the generation of `me`: own entries become orphans, wants and incoming are dropped. A page of
    /// which nothing is readable is mended, empty.
    pub(super) fn new(layout: Layout, found: &PageCopies, me: Incarnation, boot_id: BootId) -> Self {
        let next = |copies: &Copies<LeasePage>| {
            let highest = copies.valid().map(|page| page.sequence).max().unwrap_or_default();
            let blank = LeasePage::new(me, boot_id, Sequence(0));
            let newest = copies.newest().map_or(&blank, |(_, page)| page);
            for_next_generation(newest, me, boot_id, highest.next())
        };
        let pages = found.iter().map(next).collect();
        Self { layout, pages, open: (0..layout.pages()).collect(), done: 0, pause: Pause::default() }
    }

    /// What a claim that was cut off had still to write after its record: the last pages, of which no copy is of `me` and
    /// none is damaged. The bytes are those that it would have written, or has in flight. None when nothing is missing.
    pub(super) fn rest_of_claim(
        layout: Layout,
        found: &PageCopies,
        me: Incarnation,
        boot_id: BootId,
    ) -> Option<Self> {
        let written = |copies: &Copies<LeasePage>| copies.valid().any(|page| page.incarnation == me);
        let first = found.iter().rposition(written).map_or(0, |last| last + 1);
        let rest = found.get(first..).unwrap_or_default().to_vec();
        let open: Vec<u8> = (0..layout.pages()).skip(first).collect();
        let whole = !open.is_empty() && lost_page(&rest).is_none();
        whole.then(|| Self { open, ..Self::new(layout, found, me, boot_id) })
    }

    /// The same bytes again after a failed write: a write of them that lands late changes nothing.
    pub(super) fn poll(&mut self, now: &Now) -> Step<Vec<LeasePage>> {
        if let Some(until) = self.pause.left(now.instant) {
            return Step::Wait(until);
        }
        match self.next_write() {
            Some(op) => Step::Io(op),
            None => Step::Done(self.pages.clone()),
        }
    }

    pub(super) fn handle_io(&mut self, done: &IoDone) {
        match &done.result {
            Ok(_) => self.done += 1,
            Err(error) => self.pause.after(done.ended.instant, error),
        }
    }

    pub(super) fn trouble(&self) -> Option<&IoError> {
        self.pause.why()
    }

    fn next_write(&self) -> Option<IoOp> {
        let number = *self.open.get(self.done / 2)?;
        let page = self.pages.get(usize::from(number))?;
        let place = self.layout.lease_page(number, page.incarnation.slot, RecordCopy::BOTH[self.done % 2]);
        Some(super::survey::write_of(&place, page.encode(&place)))
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for PagesRead {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.reads.each_mark(f);
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for PagesWrite {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.pages.each_mark(f);
        self.pause.each_mark(f);
    }
}
