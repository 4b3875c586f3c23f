//! The own domains between their acquire and the end of their entries: what libvirt, the fencer and those who start them say.

use std::collections::BTreeSet;

use super::Leases;
use crate::fencing::FencerHalf;
use crate::format::LeaseState;
use crate::ids::DomainId;
use crate::lease::own::Edit;
use crate::lease::table::{self, HoldRule};
use crate::lease::types::{DomainSpec, EndReason, LeaseContext, LeaseEvent};
use crate::member::StopReason;
use crate::planted::planted;
use crate::time::Instant;

impl Leases {
    /// True when it is owned, and was seen running under its term.
    #[must_use]
    pub fn runs(&self, domain: DomainId) -> bool {
        self.domains.ran(domain)
    }

    /// What the caller knows of an own domain has changed (HA, priority, definition, size): the entry follows. A new
    /// definition must be stored before. Only of one that was seen running under this term: what libvirt describes before
    /// may be an old definition that was left here.
    pub fn update(&mut self, domain: DomainId, spec: &DomainSpec) {
        if self.domains.is_described(domain, spec) {
            return;
        }
        let ran = self.domains.ran(domain);
        let Some(entry) = self.entry(domain).copied().filter(|entry| ran && entry.state == LeaseState::Own)
        else {
            return;
        };
        let updated = table::with_spec(entry, spec);
        if updated != entry {
            self.edit(domain, &Edit::Put(updated));
        }
        self.domains.describe(domain, spec);
    }

    /// `ha resume`: an own entry loses failures, deaths and hold. (Another host's entry is for
    /// [`Recoveries::resume`](crate::recovery::Recoveries::resume).)
    pub fn resume(&mut self, domain: DomainId) {
        if let Some(entry) = self.entry(domain).copied().filter(table::has_faults) {
            self.edit(domain, &Edit::Put(table::forgiven(entry)));
        }
    }

    /// A recovery's domain was seen running.
    pub fn started(&mut self, domain: DomainId, now: Instant) {
        if self.domains.started(domain, now) {
            self.events.push_back(LeaseEvent::OwnChanged);
        }
    }

    /// A user's start of an own domain is permitted, under an open start token: until [`start_shown`](Self::start_shown) or
    /// [`start_given_up`](Self::start_given_up) nothing else ends its entry.
    pub fn starting(&mut self, domain: DomainId) {
        self.domains.starting(domain);
    }

    /// Libvirt has run its CPUs under its term: from here on an end is one of a run.
    pub fn cpus_run(&mut self, domain: DomainId) {
        if self.domains.cpus_run(domain) {
            self.events.push_back(LeaseEvent::OwnChanged);
        }
    }

    /// The fencer shows the process of that start.
    pub fn start_shown(&mut self, domain: DomainId) {
        self.domains.start_shown(domain);
    }

    /// Nothing comes of that start any more: its token is closed. `begun` is true when QEMU may have run for a moment: then
    /// its storages must be quiet before the entry ends (R6).
    pub fn start_given_up(&mut self, ctx: &LeaseContext<'_>, domain: DomainId, begun: bool) {
        if !begun && self.domains.is_unused(domain) {
            self.end(ctx, domain, EndReason::NeverRan);
        } else {
            self.domains.start_given_up(domain, ctx.now.instant);
        }
    }

    /// True while a start token of before this process is open for the domain. Somebody goes on with that start now, so that
    /// what libvirt said before does not close it.
    pub fn goes_on(&mut self, domain: DomainId) -> bool {
        self.tokens.goes_on(domain)
    }

    /// Libvirt's full list of the domains that run here.
    pub fn listed(&mut self, running: &BTreeSet<DomainId>, now: Instant) {
        self.tokens.listed(running, now);
        if self.domains.listed(running, now) {
            self.events.push_back(LeaseEvent::OwnChanged);
        }
    }

    /// Libvirt's event that a domain stopped. Its entry ends once the fencer shows no process of it.
    pub fn stopped(&mut self, domain: DomainId, reason: StopReason, now: Instant) {
        self.domains.stopped(domain, reason, now);
    }

    /// True while the fencer's half can close a token or prove that an entry's process is gone.
    #[must_use]
    pub fn heeds_fencer(&self) -> bool {
        !self.tokens.is_empty() || self.domains.heeds_fencer()
    }

    /// The fencer's half: entries whose process it shows gone are ended, once their storages are quiet.
    pub fn fencer(&mut self, ctx: &LeaseContext<'_>, half: &FencerHalf) {
        // Tokens close also after the latch: the fencer waits for that.
        if self.tokens.fencer(half) {
            self.events.push_back(LeaseEvent::OwnChanged);
        }
        if self.lost || !ctx.may_write {
            return;
        }
        for (domain, reason) in self.domains.proven(half, ctx.now.instant) {
            if self.tokens.is_open(domain) {
                continue;
            }
            if self.domains.exit_is_quiet(domain) {
                self.is_over(ctx, domain, reason);
            } else {
                self.end_once_quiet(ctx, domain, reason);
            }
        }
    }

    /// Its process is gone, and its storages are quiet. Whether its destination has it by a lease is looked at first.
    pub(super) fn is_over(&mut self, ctx: &LeaseContext<'_>, domain: DomainId, reason: EndReason) {
        if matches!(reason, EndReason::MigratedAway { .. }) {
            self.domains.departed(domain);
            self.events.push_back(LeaseEvent::Departed { domain });
        } else {
            self.end(ctx, domain, reason);
        }
    }

    /// Ends an own entry. The caller vouches that its process is proven gone, its start token closed and its storages quiet, or that an operator
    /// exempted it from all of this and it ends as stopped, which nobody recovers; [`LeaseEvent::Ended`] tells when it is acknowledged.
    pub fn end(&mut self, ctx: &LeaseContext<'_>, domain: DomainId, reason: EndReason) {
        if self.lost || !ctx.may_write || !self.domains.contains(domain) {
            return;
        }
        let Some(entry) = self.entry(domain).copied().filter(|entry| entry.state == LeaseState::Own) else {
            return;
        };
        let hold = HoldRule::new(&self.config.policy, ctx.hosts);
        let ended = table::ended(&entry, reason, hold, ctx.wall_s());
        self.edit(domain, &Edit::Put(ended));
        if planted!(NoTombstone) && ended.state == LeaseState::Stopped {
            self.edit(domain, &Edit::Remove(domain));
        }
        self.ended.extend(self.domains.remove(domain).map(|own| (domain, own)));
        self.events.push_back(LeaseEvent::OwnChanged);
    }
}
