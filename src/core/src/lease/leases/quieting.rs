//! Between the proof that a domain's process is gone and the end of its own entry: its storages must be quiet (R6,
//! PROTOCOL 4). Until then the entry stays own, so that nobody starts the domain.

use std::time::Duration;

use super::Leases;
use crate::fencing::QuiesceTarget;
use crate::ids::{DomainId, Term};
use crate::lease::quiet::{QuietNews, QuietProof};
use crate::lease::types::{EndReason, LeaseContext, LeaseEvent};
use crate::time::Instant;

impl Leases {
    /// What libvirt says of the storages of a domain that it lists as running. While all of them are one kernel's own file
    /// systems, the exit of its process is the proof.
    pub fn runs_on(&mut self, domain: DomainId, storages: &[QuiesceTarget]) {
        self.domains.runs_on(domain, storages);
    }

    /// Ends an own entry once a barrier on its domain's storages, asked for from now on, is acknowledged and `write_drain` has
    /// passed. The caller vouches that its process is proven gone and its start token closed.
    pub fn end_once_quiet(&mut self, ctx: &LeaseContext<'_>, domain: DomainId, reason: EndReason) {
        self.domains.quieten(domain, reason, ctx.now.instant);
    }

    /// The answer to a barrier: how long the slowest acknowledgement took, or why there is none. `drain` is the longest that
    /// storage holds a write which it has received.
    pub fn barrier(
        &mut self,
        ctx: &LeaseContext<'_>,
        domain: DomainId,
        asked: Instant,
        result: &Result<Duration, String>,
        drain: Duration,
    ) {
        self.domains.barrier(domain, asked, result, drain, ctx.now.instant);
    }

    /// Asks for the barriers that are due, and ends the entries whose storages are quiet by now.
    pub fn quiet_turn(&mut self, ctx: &LeaseContext<'_>) {
        if self.lost || !ctx.may_write {
            return;
        }
        for (domain, reason, news) in self.domains.quiet_news(ctx.now.instant) {
            match news {
                QuietNews::Ask(asked) => self.events.push_back(LeaseEvent::Barrier { domain, asked }),
                QuietNews::Late(why) => self.events.push_back(LeaseEvent::NotQuiet { domain, why }),
                QuietNews::Quiet => self.is_over(ctx, domain, reason),
            }
        }
    }

    /// True while an entry waits for its storages.
    #[must_use]
    pub fn is_quieting(&self) -> bool {
        self.domains.quieting().next().is_some()
    }

    /// When to call [`quiet_turn`](Self::quiet_turn) again, if no answer comes before.
    pub fn quiet_due(&self) -> impl Iterator<Item = Instant> {
        self.domains.quieting().filter_map(|(_, quiet)| quiet.due())
    }

    /// The term of an own entry that cannot end, since no barrier can be written to its domain's storages: its process is gone,
    /// and the domain may run again here and nowhere else (PROTOCOL 4). None where the storage has just not answered yet.
    #[must_use]
    pub fn may_run_again_here(&self, domain: DomainId, hold: Duration, now: Instant) -> Option<Term> {
        self.domains.may_run_again_here(domain, hold, now)
    }

    /// The domains whose process is gone and whose storages are not shown quiet yet, and why.
    pub fn not_quiet(&self) -> impl Iterator<Item = (DomainId, &str)> {
        self.domains.quieting().map(|(domain, quiet): (_, &QuietProof)| (domain, quiet.why()))
    }
}
