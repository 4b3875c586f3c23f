//! Which domains are protected, and what the fencer must know of them ahead of need.

use std::collections::BTreeSet;

use crate::fencing::{QuiesceTarget, StorageKind};
use crate::ids::DomainId;
use crate::lease::shows;
use crate::member::phase::Phase;
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

    fn is_listed_running(&self, domain: DomainId) -> bool {
        self.domains.reports.get(&domain).is_some_and(|report| report.running)
    }

    /// A protected domain that runs here.
    pub(in crate::member) fn a_protected_domain(&self) -> Option<DomainId> {
        self.running_protected().into_iter().next()
    }

    /// Exempt, and without a lease of this host: what may stand as owned on storage would be recovered elsewhere after this
    /// host's death, so it stays protected until its entry has ended (R12). Before libvirt's first list nobody has looked anew, and
    /// what the process before this one found stands: an end meanwhile must not kill what it had exempted.
    pub(in crate::member) fn is_exempt(&self, domain: DomainId) -> bool {
        let exempt = match self.domains.listed {
            true => self.domains.reports.get(&domain).is_some_and(|report| report.protection.exempt),
            false => self.half.exempt.contains(&domain),
        };
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
        let reports = &self.domains.reports;
        let exempt: Vec<_> = match self.domains.listed {
            true => reports.keys().copied().filter(|domain| self.is_exempt(*domain)).collect(),
            false => self.half.exempt.iter().copied().filter(|domain| self.is_exempt(*domain)).collect(),
        };
        self.half.exempt = exempt;
        self.drop_doubts_that_are_over();
        self.drop_storages_of_what_is_over();
        let reports = self.domains.reports.values();
        // What an exempt one writes is this host's alone, and no fence ends it: it stands in the way of no proof, unless it cannot
        // be told.
        let (spared, ends): (Vec<_>, Vec<_>) =
            reports.filter(|report| report.running).partition(|report| self.is_exempt(report.domain));
        let doubted: Vec<_> = spared.into_iter().filter(|report| report.doubtful).collect();
        // One whose start is permitted is named before its process shows.
        let starts = self.leasing.iter().flat_map(|leasing| leasing.starts.permitted());
        let ends: Vec<_> = ends.into_iter().chain(starts).collect();
        self.half.covered = self.covered(ends.iter().chain(&doubted).copied());
        // Storages of domains that libvirt no longer describes stay: their processes may still run.
        for report in ends {
            let named = self.domains.named.entry(report.domain).or_default();
            for target in &report.storages {
                name(&mut self.half.quiesce, target);
                name(named, target);
            }
        }
        for report in doubted {
            let unnamed = report.storages.iter().filter(|target| !self.half.quiesce.contains(target));
            let unnamed: Vec<_> = unnamed.cloned().collect();
            self.half.quiesce.extend(unnamed.iter().cloned());
            self.domains.doubted.insert(report.domain, unnamed);
        }
    }

    /// What this process has named only for domains that are over is named no more: none of them runs here, and no lease of this host
    /// names them, on storage either, so that anybody may start them anywhere, whatever is proven of this host. The next fence cannot
    /// show it quiet where it was taken away since, or its number is another's. Only while the lease lasts: what its end has found
    /// named stays.
    fn drop_storages_of_what_is_over(&mut self) {
        let is_quiet = self.leasing.as_ref().is_some_and(|leasing| leasing.leases.is_quiet());
        let may_drop = matches!(self.phase, Phase::Held) && self.domains.listed && is_quiet;
        if !may_drop || self.unknown.any() {
            return;
        }
        let mut named = std::mem::take(&mut self.domains.named);
        let mut write = self.running_protected();
        write.extend(self.permitted_starts().map(|report| report.domain));
        write.extend(self.half.own.iter().map(|own| own.domain));
        // One that has become exempt has written what a protected one may.
        let runs = |domain: DomainId| self.is_listed_running(domain) || self.shows_process(domain);
        named.retain(|domain, _| write.contains(domain) || self.may_be_own(*domain) || runs(*domain));
        // Of one that this process has not named anything of it is not known where it writes.
        if write.iter().all(|domain| named.contains_key(domain)) {
            let (adopted, doubted) = (&self.domains.adopted, &self.domains.doubted);
            let is_named = |target: &QuiesceTarget| {
                let of_domains = named.values().chain(doubted.values());
                of_domains.chain([adopted]).any(|targets| targets.contains(target))
            };
            self.half.quiesce.retain(is_named);
        }
        self.domains.named = named;
    }

    /// A doubt is over when the domain is found to write what is this host's alone, or has ended: from then on anybody may start it
    /// anywhere, whatever is proven of this host. One that libvirt does not list while its process shows is doubted still.
    fn drop_doubts_that_are_over(&mut self) {
        let mut doubted = std::mem::take(&mut self.domains.doubted);
        let named = &self.domains.named;
        let is_named = |target: &QuiesceTarget| named.values().flatten().any(|named| named == target);
        self.half.quiesce.retain(|target| {
            is_named(target) || !doubted.values().flatten().any(|doubted| doubted == target)
        });
        doubted.retain(|domain, _| !self.is_listed_running(*domain) && self.shows_process(*domain));
        for target in doubted.values().flatten() {
            name(&mut self.half.quiesce, target);
        }
        self.domains.doubted = doubted;
    }

    /// The domains all of whose storages are named, with these of now.
    fn covered<'a>(&self, now: impl Iterator<Item = &'a DomainReport>) -> Vec<DomainId> {
        // One that is not there any more may be defined anew, with other storages.
        let owned = |domain: &DomainId| self.half.own.iter().any(|own| own.domain == *domain);
        let before = self.half.covered.iter().copied();
        let before = before.filter(|domain| owned(domain) || self.shows_process(*domain));
        // An exempt one of which there is no doubt (any more) is not named.
        let before =
            before.filter(|domain| !self.is_exempt(*domain) || self.domains.doubted.contains_key(domain));
        let covered: BTreeSet<_> =
            before.chain(now.filter(|report| !report.unanswered).map(|report| report.domain)).collect();
        covered.into_iter().collect()
    }

    pub(super) fn permitted_starts(&self) -> impl Iterator<Item = &DomainReport> {
        self.leasing.iter().flat_map(|leasing| leasing.starts.permitted())
    }
}

/// Puts a storage into the list of what must be shown quiet.
fn name(quiesce: &mut Vec<QuiesceTarget>, target: &QuiesceTarget) {
    // One that was not known yet when it was first told, before the header said that this is a test cluster.
    let guess = QuiesceTarget { kind: StorageKind::Unprovable, ..target.clone() };
    quiesce.retain(|known| *known != guess || *known == *target);
    if !quiesce.contains(target) {
        quiesce.push(target.clone());
    }
}
