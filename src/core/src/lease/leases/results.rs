//! What came of a job: events for the member, and what follows for the queue and for memory.

use super::{LOAD_RETRY, Leases, Queued};
use crate::fencing::OwnLease;
use crate::format::LeaseState;
use crate::ids::{DomainId, Incarnation};
use crate::lease::acquire::{Attempt, Attempts};
use crate::lease::jobs::{PageSlot, WorkEnd};
use crate::lease::load::LoadError;
use crate::lease::own::OwnPage;
use crate::lease::page_of;
use crate::lease::reread::Reread;
use crate::lease::types::{AcquireKind, AcquireOutcome, AcquireRequest, LeaseContext, LeaseEvent};
use crate::lease::view::PageScan;
use crate::storage::Step;
use std::collections::BTreeMap;

impl Leases {
    pub(super) fn finish(&mut self, ctx: &LeaseContext<'_>, page: u8, end: WorkEnd) {
        match end {
            WorkEnd::Loaded(loaded) => self.loaded(ctx, page, loaded),
            WorkEnd::Acquired(attempts, tries, convicted) => {
                self.convicted(convicted);
                self.attempted(ctx, attempts, &tries);
            }
            WorkEnd::Scanned(Ok(scan)) => self.scanned(scan),
            WorkEnd::Scanned(Err(why)) => self.note(why),
            WorkEnd::Flushed(_) | WorkEnd::Reread(Reread::Fine) => {}
            WorkEnd::Reread(Reread::Foreign(what)) => self.events.push_back(LeaseEvent::Foreign(what)),
            WorkEnd::Reread(Reread::Damaged(what)) => {
                if let Some(own) = self.pages.get_mut(usize::from(page)).and_then(PageSlot::ready_mut) {
                    own.distrust();
                }
                self.events.push_back(LeaseEvent::Mended(what));
            }
            WorkEnd::Dropped(domains) => {
                for domain in domains {
                    self.note(format!("domain {domain}: the old entry of this host was dropped"));
                }
            }
        }
    }

    pub(super) fn loaded(&mut self, ctx: &LeaseContext<'_>, page: u8, loaded: Result<OwnPage, LoadError>) {
        let slot = match loaded {
            Ok(own) => {
                self.adopt(ctx, &own);
                let layout = self.config.layout;
                self.listed_before.retain(|listed| page_of(&layout, listed.domain) != page);
                PageSlot::Ready(own)
            }
            Err(error @ LoadError::Read { .. }) => {
                self.load_retry = Some(ctx.now.instant.plus(LOAD_RETRY));
                self.note(error.to_string());
                PageSlot::NotLoaded
            }
            Err(error @ LoadError::Foreign { .. }) => {
                self.events.push_back(LeaseEvent::Foreign(error.to_string()));
                PageSlot::Broken
            }
            Err(error @ LoadError::Unreadable { .. }) => {
                self.note(error.to_string());
                PageSlot::Broken
            }
        };
        if let Some(place) = self.pages.get_mut(usize::from(page)) {
            *place = slot;
        }
    }

    /// Own entries of before the restart stay until they are settled.
    pub(super) fn adopt(&mut self, ctx: &LeaseContext<'_>, own: &OwnPage) {
        for entry in own.content().entries() {
            let domain = entry.domain;
            let same = |lease: &&OwnLease| lease.domain == domain && lease.term == entry.term;
            let mut listed = self.listed_before.iter().find(same).copied().unwrap_or_default();
            // It may have been taken again, at a higher term, since the list was written: what stands still must go on.
            listed.outgoing = self.listed_before.iter().any(|own| own.domain == domain && own.outgoing);
            let incoming = match entry.state {
                LeaseState::Own => {
                    self.domains.found(domain, entry.term, &listed, ctx.now.instant);
                    false
                }
                LeaseState::Incoming => {
                    self.incoming.insert(domain, entry.term);
                    true
                }
                _ => continue,
            };
            self.events.push_back(LeaseEvent::OwnChanged);
            self.events.push_back(LeaseEvent::Found { domain, incoming, outgoing: listed.outgoing });
        }
    }

    pub(super) fn attempted(
        &mut self,
        ctx: &LeaseContext<'_>,
        attempts: Attempts,
        tries: &BTreeMap<DomainId, u8>,
    ) {
        let policy = self.config.policy;
        for (request, attempt) in attempts {
            let tried = tries.get(&request.domain).copied().unwrap_or_default().saturating_add(1);
            match attempt {
                Attempt::Again(_) if tried < policy.tries && !self.closed => {
                    let wait = self.back_off.draw(policy.first_back_off, tried);
                    let not_before = Some(ctx.now.instant.plus(wait));
                    self.queue.push(Queued { request, tries: tried, not_before });
                }
                Attempt::Again(outcome) | Attempt::End(outcome) => self.conclude(request, outcome),
            }
        }
    }

    pub(super) fn conclude(&mut self, request: AcquireRequest, outcome: AcquireOutcome) {
        match (&outcome, request.kind) {
            // Also of one whose outcome is unknown memory has the new term.
            (AcquireOutcome::Acquired(_) | AcquireOutcome::Unknown, AcquireKind::Retake) => {
                if let Some(term) = self.entry(request.domain).map(|entry| entry.term) {
                    self.domains.retaken(request.domain, term);
                    self.events.push_back(LeaseEvent::OwnChanged);
                }
            }
            (AcquireOutcome::Acquired(entry), AcquireKind::Incoming(_)) => {
                self.incoming.insert(request.domain, entry.term);
                self.events.push_back(LeaseEvent::OwnChanged);
            }
            (AcquireOutcome::Acquired(entry), kind) => {
                let recovering = matches!(kind, AcquireKind::Recovery { .. });
                self.domains.acquired(request.domain, entry.term, recovering);
                self.events.push_back(LeaseEvent::OwnChanged);
            }
            _ => {}
        }
        self.events.push_back(LeaseEvent::Acquire { domain: request.domain, outcome });
    }

    pub(super) fn scanned(&mut self, scan: PageScan) {
        self.convicted(scan.conviction_of(self.config.me));
        self.events.push_back(LeaseEvent::Scanned(scan));
    }

    pub(super) fn convicted(&mut self, conviction: Option<(Incarnation, DomainId)>) {
        if let Some((by, domain)) = conviction {
            self.events.push_back(LeaseEvent::Convicted { by, domain });
        }
    }

    /// Ended entries whose page is written as memory says.
    pub(super) fn tell_ended(&mut self) {
        let told: Vec<DomainId> = self
            .ended
            .keys()
            .copied()
            .filter(|d| self.own_page(*d).is_some_and(|own| !own.is_dirty()))
            .collect();
        for domain in told {
            self.ended.remove(&domain);
            if let Some(entry) = self.entry(domain).copied() {
                self.events.push_back(LeaseEvent::Ended { domain, entry });
            }
        }
    }

    /// The own lease is over, for good: nothing is written any more, nothing that was asked for may be started.
    pub(super) fn lose(&mut self, ctx: &LeaseContext<'_>) {
        if std::mem::replace(&mut self.lost, true) {
            return;
        }
        let over = LeaseContext { may_write: false, ..*ctx };
        if let Some(mut job) = self.job.take()
            && let Some(own) = self.pages.get_mut(usize::from(job.page))
            && let Step::Done(end @ WorkEnd::Acquired(..)) = job.poll(&over, own)
        {
            self.closed = true;
            self.finish(&over, job.page, end);
        }
        self.drain_queue();
    }

    /// What waits for a page that cannot be written is told so: a recovery, else it would keep one of the places of its
    /// limiter as long as a write is unknown; and whatever waits for a page that is lost.
    pub(super) fn refuse_unusable(&mut self, ctx: &LeaseContext<'_>) {
        for queued in std::mem::take(&mut self.queue) {
            let page = page_of(&self.config.layout, queued.request.domain);
            let recovering = matches!(queued.request.kind, AcquireKind::Recovery { .. });
            let outcome = match self.pages.get(usize::from(page)) {
                Some(PageSlot::Broken) => AcquireOutcome::Unreadable(self.config.me.slot),
                _ if recovering && self.is_unknown(page, ctx) => AcquireOutcome::Unknown,
                _ => {
                    self.queue.push(queued);
                    continue;
                }
            };
            self.conclude(queued.request, outcome);
        }
    }

    pub(super) fn drain_queue(&mut self) {
        for queued in std::mem::take(&mut self.queue) {
            let outcome = AcquireOutcome::LostLease;
            self.events.push_back(LeaseEvent::Acquire { domain: queued.request.domain, outcome });
        }
    }

    /// The owner zeroes failures and deaths, and with them the hold, after long enough running on its own clock.
    pub(super) fn forgive(&mut self, ctx: &LeaseContext<'_>) {
        for domain in self.domains.forgive(self.config.policy.forgive_after, ctx.now.instant) {
            self.resume(domain);
        }
    }
}
