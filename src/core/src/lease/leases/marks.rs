//! What the model check renumbers in the state of domain leases. Of a load, a look at an own copy, and open start tokens
//! it visits nothing: no search keeps them in a state.

use super::Leases;
use crate::lease::jobs::{PageSlot, Work};
use crate::marks::{Mark, Marks};

impl Marks for Leases {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.renumber_revisions();
        self.config.me.generation.each_mark(f);
        self.pages.iter_mut().filter_map(PageSlot::ready_mut).for_each(|own| own.each_mark(f));
        for queued in &mut self.queue {
            queued.request.each_mark(f);
            queued.not_before.each_mark(f);
        }
        match self.job.as_mut().map(|job| &mut job.work) {
            Some(Work::Flush(write)) => write.each_mark(f),
            Some(Work::Acquire(acquire, _)) => acquire.each_mark(f),
            Some(Work::Scan(read)) => read.each_mark(f),
            Some(Work::Drop(passes)) => passes.each_mark(f),
            Some(Work::Load(_) | Work::Reread(_)) | None => {}
        }
        self.domains.each_mark(f);
        self.incoming.each_mark(f);
        self.listed_before.iter_mut().for_each(|lease| lease.term.each_mark(f));
        self.sweep_due.each_mark(f);
        self.drops_due.each_mark(f);
        self.load_retry.each_mark(f);
    }
}

impl Leases {
    fn renumber_revisions(&mut self) {
        let (page, write) = match &mut self.job {
            Some(job) => {
                let write = match &mut job.work {
                    Work::Flush(write) => Some(write),
                    Work::Acquire(acquire, _) => acquire.write_mut(),
                    Work::Drop(passes) => passes.write_mut(),
                    Work::Load(_) | Work::Scan(_) | Work::Reread(_) => None,
                };
                (Some(job.page), write)
            }
            None => (None, None),
        };
        let mut write = write.map(crate::lease::write::SectorWrite::revision_mut);
        for (number, slot) in (0_u8..).zip(&mut self.pages) {
            let write = if page == Some(number) { write.take() } else { None };
            if let PageSlot::Ready(own) = slot {
                own.renumber_revisions(write);
            }
        }
    }
}
