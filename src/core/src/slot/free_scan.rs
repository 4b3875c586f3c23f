//! The lease pages of all hosts, as `slot free` must see them: whether the slot's leases are still the last word.

use std::time::Duration;

use super::error::FreeError;
use crate::format::{Layout, LeaseEntry, LeasePage, LeaseState};
use crate::ids::{DomainId, Generation, Slot, Term};
use crate::lease::{LeaseContext, PageRead, PageScan, SectorView};
use crate::storage::{IoDone, Step};
use crate::time::Now;
use crate::unknown::{UnknownRules, UnknownWrites};

/// The procedure.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct FreeScan {
    layout: Layout,
    slot: Slot,
    /// False for a burned claim: nothing was leased under it.
    check_tops: bool,
    vacant: Vec<bool>,
    read: PageRead,
    page: u8,
    still_top: Vec<DomainId>,
    found: FreeFound,
    end: Option<Result<FreeFound, FreeError>>,
}

/// What there is to mend, and the floor of the next generation.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct FreeFound {
    /// Lease pages of which no copy of the slot's sector is readable.
    pub(super) unreadable: Vec<u8>,
    /// The highest generation in the others.
    pub(super) highest: Generation,
}

impl FreeScan {
    pub(super) fn new(layout: Layout, slot: Slot, check_tops: bool, vacant: Vec<bool>) -> Self {
        let read = PageRead::new(layout, 0);
        let (still_top, found) = (Vec::new(), FreeFound::default());
        Self { layout, slot, check_tops, vacant, read, page: 0, still_top, found, end: None }
    }

    pub(super) fn poll(&self) -> Step<Result<FreeFound, FreeError>> {
        match (&self.end, self.read.poll()) {
            (Some(end), _) => Step::Done(end.clone()),
            (None, Step::Io(op)) => Step::Io(op),
            (None, Step::Wait(until)) => Step::Wait(until),
            (None, Step::Done(_)) => Step::Done(Ok(self.found.clone())), // `handle_io` takes the end of each read
        }
    }

    pub(super) fn handle_io(&mut self, done: &IoDone) {
        let vacant = |slot: Slot| self.vacant.get(slot.index()).copied().unwrap_or(false);
        let rules = UnknownRules { hold: Duration::ZERO, drain: Duration::ZERO, longest_gap: Duration::ZERO };
        let nothing = UnknownWrites::new(rules);
        let context = LeaseContext {
            now: &Now { instant: done.ended.instant, ..done.ended },
            may_write: false,
            unknown: &nothing,
            gone: &|_| false,
            vacant: &vacant,
            hosts: self.layout.max_hosts(),
        };
        self.read.handle_io(&context, done);
        if let Step::Done(end) = self.read.poll() {
            self.end = end.map_err(|why| self.read_error(why)).and_then(|scan| self.take(&scan)).transpose();
        }
    }

    /// None while there are more pages.
    fn take(&mut self, scan: &PageScan) -> Result<Option<FreeFound>, FreeError> {
        match &scan.sectors[self.slot.index()] {
            SectorView::Unreadable(_) => self.found.unreadable.push(self.page),
            SectorView::Empty => {}
            SectorView::Valid(page) => {
                self.found.highest = self.found.highest.max(page.incarnation.generation);
                if self.check_tops {
                    self.check_page(page, scan)?;
                }
            }
        }
        if self.page + 1 < self.layout.pages() {
            self.page += 1;
            self.read = PageRead::new(self.layout, self.page);
            return Ok(None);
        }
        if self.still_top.is_empty() {
            return Ok(Some(self.found.clone()));
        }
        Err(FreeError::StillTop { slot: self.slot, domains: self.still_top.clone() })
    }

    /// Every `own` and `orphan` of the slot must be overtaken by a higher term elsewhere; a sector that cannot be read may
    /// hold it or not.
    fn check_page(&mut self, page: &LeasePage, scan: &PageScan) -> Result<(), FreeError> {
        let leases =
            page.entries().filter(|entry| matches!(entry.state, LeaseState::Own | LeaseState::Orphan));
        for lease in leases {
            if self.highest_elsewhere(scan, lease.domain) > Some(lease.term) {
                continue;
            }
            if let Some((other, why)) = self.unreadable_other(scan) {
                return Err(FreeError::PageUnreadable { slot: self.slot, other, page: self.page, why });
            }
            self.still_top.push(lease.domain);
        }
        Ok(())
    }

    fn highest_elsewhere(&self, scan: &PageScan, domain: DomainId) -> Option<Term> {
        let pages = scan.sectors.iter().filter_map(|sector| match sector {
            SectorView::Valid(page) if page.incarnation.slot != self.slot => Some(page),
            _ => None,
        });
        pages
            .filter_map(|page| page.get(domain))
            .filter(|entry| counts_for_top(entry))
            .map(|entry| entry.term)
            .max()
    }

    fn unreadable_other(&self, scan: &PageScan) -> Option<(Slot, String)> {
        let others = (0u16..).map(Slot).zip(&scan.sectors).filter(|(slot, _)| *slot != self.slot);
        others
            .filter_map(|(slot, sector)| match sector {
                SectorView::Unreadable(why) => Some((slot, why.clone())),
                SectorView::Valid(_) | SectorView::Empty => None,
            })
            .next()
    }

    fn read_error(&self, why: String) -> FreeError {
        FreeError::Storage(self.slot, crate::storage::IoError::Failed(why))
    }
}

/// States that make a top.
fn counts_for_top(entry: &LeaseEntry) -> bool {
    matches!(entry.state, LeaseState::Own | LeaseState::Orphan | LeaseState::Stopped | LeaseState::Saved)
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for FreeScan {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.read.each_mark(f);
    }
}
