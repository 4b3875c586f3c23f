//! What time decides: which recoveries go on, and which are begun.

use std::collections::BTreeSet;

use super::Recoveries;
use crate::ids::DomainId;
use crate::lease::{AcquireKind, AcquireRequest, LeaseContext, Leases, page_of};
use crate::planted::planted;
use crate::recovery::recovery::{Recovery, Stage};
use crate::recovery::types::RecoveryAction;
use crate::time::{Instant, ObserverDeadline};

impl Recoveries {
    /// The next thing to do. Nothing is begun unless this host `holds` its lease: it could not start what it took, and goes by an old
    /// [`survey`](Self::survey).
    pub fn poll(
        &mut self,
        ctx: &LeaseContext<'_>,
        leases: &mut Leases,
        holds: bool,
    ) -> Option<RecoveryAction> {
        // Most of the time there is none.
        if self.domains.is_empty() {
            self.next_round = None;
        } else if !self.lost && ctx.may_write {
            self.advance(ctx, leases);
            // While acquires are ended, each would be refused at once, and looked for again.
            if holds && !leases.is_closed() {
                self.begin(ctx, leases);
                self.round(ctx, leases);
            }
        }
        self.actions.pop_front()
    }

    /// When to poll again, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let patience = self.policy.barrier_patience;
        let due = self.domains.values().filter_map(|recovery| match recovery.stage {
            Stage::Waiting { until } => Some(until),
            Stage::LockWait { at, .. } => Some(at),
            Stage::Barrier(barrier) => Some(barrier.due(patience)),
            _ => None,
        });
        let left = due.chain(self.next_round).map(|due| ObserverDeadline(due).left(now));
        left.filter(|left| !left.is_zero()).min().map(|left| now.plus(left))
    }

    /// What is under way and whose time has come.
    fn advance(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases) {
        let now = ctx.now.instant;
        let due = |until: Instant| ObserverDeadline(until).reached(now);
        let domains: Vec<DomainId> = self.domains.keys().copied().collect();
        for domain in domains {
            match self.domains.get(&domain).map(|recovery| recovery.stage.clone()) {
                Some(Stage::Barrier(barrier)) if barrier.is_over(now) => self.start(ctx, leases, domain),
                Some(Stage::LockWait { proof: None, at }) if due(at) => self.start(ctx, leases, domain),
                Some(Stage::Barrier(barrier)) if due(barrier.due(self.policy.barrier_patience)) => {
                    self.give_back(ctx, leases, domain, "the barrier was not answered in time");
                }
                _ => {}
            }
        }
    }

    /// Begins what is due: the highest priority first, as many at once as the limiter lets, as long as there is room.
    fn begin(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases) {
        let now = ctx.now.instant;
        let Some(mut room) = self.survey.free_memory_mib else { return };
        if planted!(LowestLiveSlotActs)
            && self.survey.survivors.iter().any(|h| h.incarnation.slot < self.me.slot)
        {
            return;
        }
        let begun = |recovery: &&Recovery| {
            recovery.stage.is_under_way() || (planted!(LimiterNeverReleased) && !recovery.stage.is_idle())
        };
        let under_way = self.domains.values().filter(begun);
        let mut places = self.policy.at_once;
        for recovery in under_way {
            places = places.saturating_sub(1);
            room = room.saturating_sub(recovery.entry.memory_mib);
        }
        let is_due = |recovery: &&Recovery| match recovery.stage {
            Stage::Waiting { until } => ObserverDeadline(until).reached(now),
            _ => false,
        };
        let mut due: Vec<_> = self.domains.values().filter(is_due).map(|r| (r.entry, r.resumed)).collect();
        due.sort_by_key(|(entry, _)| (std::cmp::Reverse(entry.priority), entry.domain));
        for (entry, resumed) in due.into_iter().take(places) {
            // Found running and being acquired for that: its outcome is not this recovery's.
            if leases.is_acquiring(entry.domain) {
                continue;
            }
            if entry.memory_mib > room {
                let reason = format!("no room: it needs {} MiB, {room} MiB are free here", entry.memory_mib);
                self.wait_a_round(ctx, entry.domain, &reason);
                continue;
            }
            room -= entry.memory_mib;
            self.go(ctx, entry.domain, Stage::Acquiring, "acquiring its lease");
            leases.acquire(AcquireRequest { domain: entry.domain, kind: AcquireKind::Recovery { resumed } });
        }
    }

    /// Pages with recoveries that are not settled are read again in each round.
    fn round(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases) {
        let open = self.domains.values().filter(|recovery| recovery.stage.is_idle());
        let pages: BTreeSet<u8> = open.map(|recovery| page_of(&self.layout, recovery.domain)).collect();
        if pages.is_empty() {
            self.next_round = None;
        } else if self.next_round.is_none_or(|due| ObserverDeadline(due).reached(ctx.now.instant)) {
            if self.next_round.is_some() {
                pages.into_iter().for_each(|page| leases.scan_page(page));
            }
            self.next_round = Some(ctx.now.instant.plus(self.policy.round));
        }
    }
}
