//! What is done next: own sectors are read back first, then written as memory says; then leases are acquired, pages
//! read for recovery, own sectors looked at, old entries dropped.

use super::{Leases, Queued};
use crate::format::RecordCopy;
use crate::lease::acquire::Acquire;
use crate::lease::drop_passes::DropPasses;
use crate::lease::jobs::{Job, PageSlot, Work};
use crate::lease::load::OwnLoad;
use crate::lease::own::OwnPage;
use crate::lease::page_of;
use crate::lease::reread::CopyRead;
use crate::lease::scan::PageRead;
use crate::lease::table::HoldRule;
use crate::lease::types::LeaseContext;
use crate::lease::write::SectorWrite;
use crate::time::{Instant, ObserverDeadline};
use crate::unknown::NEVER;
use std::collections::BTreeMap;
use std::time::Duration;

impl Leases {
    pub(super) fn next_job(&mut self, ctx: &LeaseContext<'_>) -> Option<Job> {
        self.load_job(ctx)
            .or_else(|| self.flush_job(ctx))
            .or_else(|| self.acquire_job(ctx))
            .or_else(|| self.scan_job())
            .or_else(|| self.reread_job(ctx))
            .or_else(|| self.drop_job(ctx))
    }

    pub(super) fn load_job(&self, ctx: &LeaseContext<'_>) -> Option<Job> {
        if self.load_retry.is_some_and(|due| !ObserverDeadline(due).reached(ctx.now.instant)) {
            return None;
        }
        let waiting =
            |(page, slot): &(u8, &PageSlot)| **slot == PageSlot::NotLoaded && !self.is_unknown(*page, ctx);
        let (page, _) = (0_u8..).zip(&self.pages).find(waiting)?;
        let load = OwnLoad::new(self.config.layout, page, self.config.me, self.config.boot_id);
        Some(Job { page, work: Work::Load(load) })
    }

    pub(super) fn flush_job(&mut self, ctx: &LeaseContext<'_>) -> Option<Job> {
        let dirty = |(page, slot): &(u8, &PageSlot)| {
            slot.ready().is_some_and(OwnPage::is_dirty) && !self.is_unknown(*page, ctx)
        };
        let (page, _) = (0_u8..).zip(&self.pages).find(dirty)?;
        let layout = self.config.layout;
        let own = self.pages.get_mut(usize::from(page))?.ready_mut()?;
        Some(Job { page, work: Work::Flush(SectorWrite::new(layout, own, Vec::new())) })
    }

    /// All keys of one page that are due go together.
    pub(super) fn acquire_job(&mut self, ctx: &LeaseContext<'_>) -> Option<Job> {
        let now = ctx.now.instant;
        let due = |queued: &Queued| queued.not_before.is_none_or(|due| ObserverDeadline(due).reached(now));
        let layout = self.config.layout;
        let usable = |page: u8| {
            self.pages.get(usize::from(page)).is_some_and(|slot| slot.ready().is_some())
                && !self.is_unknown(page, ctx)
        };
        let pages =
            self.queue.iter().filter(|queued| due(queued)).map(|q| page_of(&layout, q.request.domain));
        let page = pages.into_iter().find(|page| usable(*page))?;
        let (now_due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|queued| due(queued) && page_of(&layout, queued.request.domain) == page);
        self.queue = later;
        let tries: BTreeMap<_, _> =
            now_due.iter().map(|queued| (queued.request.domain, queued.tries)).collect();
        let requests = now_due.into_iter().map(|queued| queued.request).collect();
        let hold = HoldRule::new(&self.config.policy, ctx.hosts);
        Some(Job { page, work: Work::Acquire(Acquire::new(layout, page, requests, hold), tries) })
    }

    pub(super) fn scan_job(&mut self) -> Option<Job> {
        let page = self.scans_wanted.pop_first()?;
        Some(Job { page, work: Work::Scan(PageRead::new(self.config.layout, page)) })
    }

    pub(super) fn reread_job(&mut self, ctx: &LeaseContext<'_>) -> Option<Job> {
        if due_again(&mut self.sweep_due, self.config.policy.reread_interval, ctx) {
            let copies = |page| RecordCopy::BOTH.map(|copy| (page, copy));
            self.sweep = (0..self.config.layout.pages()).flat_map(copies).collect();
        }
        while let Some((page, copy)) = self.sweep.pop_front() {
            if self.is_unknown(page, ctx) {
                continue;
            }
            if let Some(own) = self.page(page).filter(|own| !own.is_dirty()) {
                return Some(Job { page, work: Work::Reread(CopyRead::new(&self.config.layout, own, copy)) });
            }
        }
        None
    }

    pub(super) fn drop_job(&mut self, ctx: &LeaseContext<'_>) -> Option<Job> {
        if due_again(&mut self.drops_due, self.config.policy.drop_interval, ctx) {
            self.drops = (0..self.config.layout.pages()).collect();
        }
        while let Some(page) = self.drops.pop_front() {
            if !self.is_unknown(page, ctx) && self.page(page).is_some_and(DropPasses::worthwhile) {
                return Some(Job { page, work: Work::Drop(DropPasses::new(self.config.layout, page)) });
            }
        }
        None
    }

    pub(super) fn next_due(&self, ctx: &LeaseContext<'_>) -> Instant {
        let queued = self.queue.iter().filter_map(|queued| queued.not_before);
        let timers = [self.sweep_due, self.drops_due, self.load_retry];
        let due = queued.chain(timers.into_iter().flatten());
        let left =
            due.map(|due| ObserverDeadline(due).left(ctx.now.instant)).filter(|left| !left.is_zero()).min();
        left.map_or(NEVER, |left| ctx.now.instant.plus(left))
    }
}

/// True when the interval has passed; the next one begins. The first begins at the first call.
fn due_again(due: &mut Option<Instant>, interval: Duration, ctx: &LeaseContext<'_>) -> bool {
    let now = ctx.now.instant;
    let reached = due.is_some_and(|due| ObserverDeadline(due).reached(now));
    if reached || due.is_none() {
        *due = Some(now.plus(interval));
    }
    reached
}
