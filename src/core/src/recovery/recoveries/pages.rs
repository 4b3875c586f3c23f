//! What the pages show: which domains are taken up, left to a peer, or forgotten.

use std::collections::BTreeSet;

use super::Recoveries;
use crate::format::{LeaseEntry, LeaseState};
use crate::ids::{DomainId, Incarnation};
use crate::lease::{Conflict, LeaseContext, Leases, PageScan, page_of};
use crate::member::LogLevel;
use crate::planted::planted;
use crate::recovery::candidates::{Candidate, candidates};
use crate::recovery::preference::{back_off, preference};
use crate::recovery::recovery::{Recovery, Stage};

impl Recoveries {
    pub(super) fn scanned(&mut self, ctx: &LeaseContext<'_>, leases: &Leases, scan: &PageScan) {
        let Some(own) = leases.page(scan.page).filter(|_| !self.lost) else { return };
        let found = candidates(scan, own, ctx.gone);
        let shown: BTreeSet<DomainId> = found.iter().map(|candidate| candidate.domain).collect();
        let layout = self.layout;
        self.domains.retain(|domain, recovery| {
            page_of(&layout, *domain) != scan.page || !recovery.stage.is_idle() || shown.contains(domain)
        });
        for candidate in found {
            self.consider(ctx, &candidate);
        }
    }

    pub(super) fn consider(&mut self, ctx: &LeaseContext<'_>, candidate: &Candidate) {
        match self.domains.get_mut(&candidate.domain) {
            Some(recovery) if !recovery.stage.is_idle() => {}
            Some(recovery) if recovery.is_about(candidate) => {
                recovery.entry = candidate.top;
                self.taken(ctx, candidate);
            }
            _ => self.take_up(ctx, candidate),
        }
    }

    /// A domain that was seen before, or is new: a live host that stands against it goes first.
    pub(super) fn taken(&mut self, ctx: &LeaseContext<'_>, candidate: &Candidate) {
        let Some(recovery) = self.domains.get_mut(&candidate.domain) else { return };
        match candidate.taken_by {
            Some((who, Conflict::Own | Conflict::Incoming)) if recovery.stage != Stage::LeftToPeer => {
                recovery.go(Stage::LeftToPeer, format!("host {who} has it"), ctx.now);
            }
            None if recovery.stage == Stage::LeftToPeer => {
                let until = ctx.now.instant;
                recovery.go(Stage::Waiting { until }, "the host that had it is gone", ctx.now);
            }
            _ if recovery.stage == Stage::Held && !candidate.held() => {
                recovery.go(Stage::Waiting { until: ctx.now.instant }, "its hold was lifted", ctx.now);
            }
            _ => {}
        }
    }

    pub(super) fn take_up(&mut self, ctx: &LeaseContext<'_>, candidate: &Candidate) {
        let domain = candidate.domain;
        if candidate.held() {
            let reason = format!(
                "on hold after {} failed starts and {} deaths: see `leasefence ha resume`",
                candidate.top.failures, candidate.top.deaths
            );
            self.say(LogLevel::Error, format!("domain {domain} is not recovered: {reason}"));
            self.domains.insert(domain, Recovery::new(candidate, Stage::Held, reason, ctx.now));
            return;
        }
        let failures = candidate.top.failures;
        let order = preference(domain, &self.survey.survivors, failures);
        // A host that does not count itself yet comes last: a delay never decides anything but the order.
        let rank = order.iter().position(|host| host.incarnation == self.me).unwrap_or(order.len());
        let rank = if planted!(LowestLiveSlotActs) { 0 } else { rank };
        let delay = self.policy.rank_delay.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX))
            + back_off(failures, self.policy.longest_back_off);
        let reason = format!(
            "{} of host {} (term {}): this host is number {} of {} to try, in {:.1} s",
            self.why(candidate.from, &candidate.top),
            candidate.from,
            candidate.top.term,
            rank + 1,
            order.len().max(rank + 1),
            delay.as_secs_f32()
        );
        self.say(LogLevel::Info, format!("domain {domain}: {reason}"));
        let stage = Stage::Waiting { until: ctx.now.instant.plus(delay) };
        self.domains.insert(domain, Recovery::new(candidate, stage, reason, ctx.now));
        self.taken(ctx, candidate);
    }

    pub(super) fn why(&self, from: Incarnation, top: &LeaseEntry) -> String {
        let evidence =
            self.survey.gone.iter().find(|host| host.incarnation == from).map(|host| host.evidence);
        match evidence {
            Some(evidence) if top.state == LeaseState::Own => format!("own, {evidence},"),
            _ => top.state.as_str().to_owned(),
        }
    }
}
