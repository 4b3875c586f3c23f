//! Which domains are protected, and what the fencer must know of them ahead of need.

use std::collections::BTreeSet;

use crate::fencing::{QuiesceTarget, StorageKind};
use crate::ids::DomainId;
use crate::lease::shows;
use crate::member::{DomainReport, Member};

impl Member {
    /// Protected domains that run, by libvirt or by the fencer's scan. Zero stands for a process of an unknown domain.
    pub(in crate::member) fn running_protected(&self) -> BTreeSet<DomainId> {
        let listed =
            self.domains.reports.values().filter(|report| report.running).map(|report| report.domain);
        let seen =
            self.fencer.iter().flat_map(|fencer| fencer.processes.iter().map(|process| process.domain));
        listed.chain(seen).filter(|domain| !self.is_exempt(*domain)).collect()
    }

    /// True where the fencer's half shows a process of it.
    pub(in crate::member) fn shows_process(&self, domain: DomainId) -> bool {
        self.fencer.as_ref().is_some_and(|half| shows(half, domain))
    }

    /// A protected domain that runs here.
    pub(in crate::member) fn a_protected_domain(&self) -> Option<DomainId> {
        self.running_protected().into_iter().next()
    }

    /// Exempt, and without a lease of this host: what may stand as owned on storage would be recovered elsewhere after this
    /// host's death, so it stays protected until its entry has ended (R12).
    pub(in crate::member) fn is_exempt(&self, domain: DomainId) -> bool {
        let exempt = self.domains.reports.get(&domain).is_some_and(|report| report.protection.exempt);
        exempt && !self.may_be_own(domain)
    }

    pub(in crate::member) fn may_be_own(&self, domain: DomainId) -> bool {
        let leasing = self.leasing.as_ref();
        // A restarted agent's list stands until the own sectors are read back.
        leasing.is_some_and(|leasing| leasing.leases.may_be_own(domain))
            || self.half.own.iter().any(|lease| lease.domain == domain)
    }

    /// What the fencer must know ahead of need.
    pub(in crate::member) fn refresh_exempt_and_storages(&mut self) {
        let reports = self.domains.reports.values();
        self.half.exempt =
            reports.clone().map(|report| report.domain).filter(|domain| self.is_exempt(*domain)).collect();
        // One that is not there any more may be defined anew, with other storages.
        let owned = |domain: &DomainId| self.half.own.iter().any(|own| own.domain == *domain);
        let mut covered = std::mem::take(&mut self.half.covered);
        covered.retain(|domain| owned(domain) || self.shows_process(*domain));
        // One whose start is permitted is named before its process shows.
        let starts = self.leasing.iter().flat_map(|leasing| leasing.starts.permitted());
        // What an exempt one writes is this host's alone, and no fence ends it: it stands in the way of no proof.
        let ends = |report: &&DomainReport| report.doubtful || !self.is_exempt(report.domain);
        let running: Vec<_> = reports.filter(|report| report.running).filter(ends).chain(starts).collect();
        covered.extend(running.iter().filter(|report| !report.unanswered).map(|report| report.domain));
        covered.sort_unstable();
        covered.dedup();
        self.half.covered = covered;
        // Storages of domains that libvirt no longer describes stay: their processes may still run.
        for target in running.into_iter().flat_map(|report| &report.storages) {
            // One that was not known yet when it was first told, before the header said that this is a test cluster.
            let guess = QuiesceTarget { kind: StorageKind::Unprovable, ..target.clone() };
            self.half.quiesce.retain(|known| *known != guess || *known == *target);
            if !self.half.quiesce.contains(target) {
                self.half.quiesce.push(target.clone());
            }
        }
    }

    pub(super) fn permitted_starts(&self) -> impl Iterator<Item = &DomainReport> {
        self.leasing.iter().flat_map(|leasing| leasing.starts.permitted())
    }
}
