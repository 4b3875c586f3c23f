//! The domains of this host: what libvirt and the fencer say of them, the leases that they need, and what happens to one
//! that has none. Unknown domains are protected.

mod guarded;
mod leases;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) use status::not_quiet;

use super::leasing::Leasing;
use super::{DomainReport, Member, StartFailure, StopReason};
use crate::fencing::{AgentHalf, FencerHalf, QuiesceTarget};
use crate::ids::{DomainId, Term};
use crate::lease::DomainSpec;
use crate::time::{Instant, Now};

/// What is known of this host's domains.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Domains {
    /// Libvirt's list, as last told.
    reports: BTreeMap<DomainId, DomainReport>,
    /// True once this process was told such a list. Until then the page exempts what it did when the process before ended.
    listed: bool,
    /// What the page named when this process found it, written to by whom and where is not known: it stays named for this life.
    adopted: Vec<QuiesceTarget>,
    /// What this process has named of each domain that may still write.
    named: BTreeMap<DomainId, Vec<QuiesceTarget>>,
    /// Storages that the page names for no other reason than a doubt about an exempt domain (ARCHITECTURE 6).
    doubted: BTreeMap<DomainId, Vec<QuiesceTarget>>,
    /// True once libvirt has answered, or said that it does not.
    answered: bool,
    /// Why libvirt does not answer.
    away: Option<String>,
    /// Why a running domain has no lease, and when to try again.
    refused: BTreeMap<DomainId, (String, Instant)>,
    /// When its definition was asked to be stored.
    stored: BTreeMap<DomainId, Instant>,
    /// True while each protected domain that runs is owned, its definition is stored, and nothing that this follows from
    /// has changed since it was looked at: then there is nothing to do for any of them, whatever the time.
    pub(super) settled: bool,
}

impl Domains {
    /// Of a process that has found this half in the page.
    pub(super) fn found(half: &AgentHalf) -> Self {
        Self { adopted: half.quiesce.clone(), ..Self::default() }
    }

    /// The disk chain that libvirt knows here, which may be an old one. No start may go by it.
    pub(super) fn definition_hash(&self, domain: DomainId) -> Option<u64> {
        self.reports.get(&domain).map(|report| report.definition_hash)
    }

    /// Its process is gone: what libvirt's list said before is old.
    pub(super) fn ended(&mut self, domain: DomainId) {
        if let Some(report) = self.reports.get_mut(&domain) {
            report.running = false;
        }
        self.settled = false;
    }

    /// The fencer has proven that no domain is left: what libvirt said before is old.
    pub(super) fn all_ended(&mut self) {
        self.reports.values_mut().for_each(|report| report.running = false);
        self.answered = false;
        self.settled = false;
        self.refused.clear();
        self.doubted.clear();
        self.named.clear();
        self.adopted.clear();
    }
}

impl Member {
    /// Libvirt's full list.
    pub(super) fn domains_listed(&mut self, now: &Now, reports: Vec<DomainReport>) {
        let reports: BTreeMap<_, _> = reports.into_iter().map(|report| (report.domain, report)).collect();
        let running: BTreeSet<DomainId> =
            reports.values().filter(|report| report.running).map(|report| report.domain).collect();
        self.domains.settled &= self.domains.listed && self.domains.reports == reports;
        self.domains.listed = true;
        self.domains.reports = reports;
        if self.domains.away.is_some() {
            self.look_after_a_gap(now);
        }
        (self.domains.answered, self.domains.away) = (true, None);
        if let Some(leasing) = &mut self.leasing {
            let Leasing { leases, recoveries, .. } = &mut **leasing;
            leases.listed(&running, now.instant);
            recoveries.listed(leases, &running, now);
            // Of one that runs no more the entry keeps what it ran with: the barrier before its end goes there.
            for report in self.domains.reports.values().filter(|report| report.running) {
                if !report.unanswered {
                    leases.runs_on(report.domain, &report.storages);
                }
                leases.update(report.domain, &spec_of(report));
            }
        }
    }

    /// Libvirt does not answer.
    pub(super) fn libvirt_away(&mut self, why: String) {
        self.domains.answered = true;
        self.domains.away = Some(why);
        self.free_memory_mib = None;
    }

    /// Libvirt's event that a domain stopped.
    pub(super) fn domain_stopped(&mut self, now: &Now, domain: DomainId, reason: StopReason) {
        self.domains.ended(domain);
        if let Some(leasing) = &mut self.leasing {
            leasing.leases.stopped(domain, reason, now.instant);
            leasing.recoveries.stopped(domain, now.instant);
        }
    }

    /// The answer to a barrier: of a recovery's start, or of an own entry's end. Its mark says of which.
    pub(super) fn barrier_done(
        &mut self,
        now: &Now,
        domain: DomainId,
        asked: Instant,
        result: &Result<Duration, String>,
    ) {
        let drain = self.longest_drain();
        self.with_leasing(now, |context, leasing| {
            let Leasing { leases, recoveries, .. } = leasing;
            leases.barrier(context, domain, asked, result, drain);
            recoveries.barrier(context, leases, domain, asked, result);
        });
        self.start_barrier(now, domain, asked, result);
    }

    /// The answer to a start.
    pub(super) fn start_done(
        &mut self,
        now: &Now,
        domain: DomainId,
        term: Term,
        result: &Result<(), StartFailure>,
    ) {
        self.with_leasing(now, |context, leasing| {
            let Leasing { leases, recoveries, .. } = leasing;
            recoveries.start_ended(context, leases, domain, term, result);
        });
    }

    /// The fencer's half: it proves deaths, and closes tokens.
    pub(super) fn fencer_seen(&mut self, now: &Now) {
        self.starts_seen(now);
        self.arrivals_seen(now);
        let heeded = |leasing: &Leasing| leasing.leases.heeds_fencer() || leasing.recoveries.heeds_fencer();
        if !self.leasing.as_deref().is_some_and(heeded) {
            return;
        }
        let Some(half) = self.fencer.clone() else { return };
        self.with_leasing(now, |context, leasing| {
            let Leasing { leases, recoveries, .. } = leasing;
            leases.fencer(context, &half);
            recoveries.fencer(context, leases, &half);
        });
    }

    /// A half of the fencer is about to be taken: other processes than in the one before are news.
    pub(super) fn note_processes(&mut self, half: &FencerHalf) {
        let before = self.fencer.iter().flat_map(|before| &before.processes);
        let same =
            before.map(|process| process.domain).eq(half.processes.iter().map(|process| process.domain));
        self.domains.settled &= same;
    }
}

pub(super) fn spec_of(report: &DomainReport) -> DomainSpec {
    DomainSpec {
        ha: report.protection.ha,
        priority: report.protection.priority,
        vcpus: report.vcpus,
        memory_mib: report.memory_mib,
        definition_hash: report.definition_hash,
        definition_version: report.definition_version,
    }
}
