//! The domains in `status`, and what an operator should know of them.

use std::collections::BTreeSet;

use crate::format::{LeaseFlags, LeaseState};
use crate::ids::DomainId;
use crate::member::migration::STANDS_STILL;
use crate::member::phase::{Phase, WeakenStep, Weakening};
use crate::member::{DomainStatus, Member};

impl Member {
    pub(in crate::member) fn domain_statuses(&self) -> Vec<DomainStatus> {
        let running = self.running_protected();
        let listed = self.domains.reports.keys().copied();
        // Libvirt forgets a transient domain that has ended: it is shown while its entry waits for its storages.
        let waiting =
            self.leasing.iter().flat_map(|leasing| leasing.leases.not_quiet()).map(|(domain, _)| domain);
        let starting = self.permitted_starts().map(|report| report.domain);
        let all: BTreeSet<DomainId> =
            listed.chain(running.iter().copied()).chain(waiting).chain(starting).collect();
        all.into_iter().map(|domain| self.domain_status(domain, running.contains(&domain))).collect()
    }

    fn domain_status(&self, domain: DomainId, running_protected: bool) -> DomainStatus {
        let starting = || self.permitted_starts().find(|report| report.domain == domain);
        let report = self.domains.reports.get(&domain).or_else(starting);
        let leasing = self.leasing.as_ref();
        let entry = leasing.and_then(|leasing| leasing.leases.entry(domain));
        let acquiring = leasing.is_some_and(|leasing| leasing.leases.is_acquiring(domain));
        let lease = match entry.map(|entry| entry.state) {
            _ if acquiring => "acquiring",
            Some(LeaseState::Own) => "own",
            Some(LeaseState::Orphan) => "orphan",
            Some(LeaseState::Stopped) => "stopped",
            Some(LeaseState::Incoming) => "incoming",
            Some(LeaseState::Saved) => "saved",
            Some(LeaseState::Empty) | None => "none",
        };
        DomainStatus {
            domain,
            name: report.map(|report| report.name.clone()).unwrap_or_default(),
            running: running_protected || report.is_some_and(|report| report.running),
            protected: !self.is_exempt(domain),
            ha: report.is_some_and(|report| report.protection.ha),
            priority: report.map_or(0, |report| report.protection.priority),
            lease: lease.to_owned(),
            term: entry.map(|entry| entry.term),
            hold: entry.is_some_and(|entry| entry.flags.contains(LeaseFlags::HOLD)),
        }
    }

    pub(super) fn domain_name(&self, domain: DomainId) -> String {
        let report = self.domains.reports.get(&domain);
        report.map_or_else(|| domain.to_string(), |report| format!("'{}' ({domain})", report.name))
    }

    /// What an operator should know of domains and libvirt.
    pub(in crate::member) fn domain_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(why) = &self.domains.away {
            warnings.push(format!("libvirt does not answer ({why}): nothing can be started here"));
        }
        let unknown = self.fencer.iter().flat_map(|fencer| &fencer.processes);
        let undescribed =
            unknown.filter(|process| !self.domains.reports.contains_key(&process.domain)).count();
        if undescribed > 0 {
            warnings.push(format!(
                "{undescribed} domain processes run here that libvirt does not describe: protected"
            ));
        }
        for (domain, why) in self.leasing.iter().flat_map(|leasing| leasing.leases.not_quiet()) {
            warnings.push(format!("domain {}: {}", self.domain_name(domain), not_quiet(why)));
        }
        let returns = self.leasing.iter().flat_map(|leasing| &leasing.migrations.returns);
        for (domain, _) in returns.filter(|(_, back)| back.halted) {
            warnings.push(format!("domain {}: {}", self.domain_name(*domain), STANDS_STILL));
        }
        let waits = matches!(self.phase, Phase::Weakening(Weakening { step: WeakenStep::Draining, .. }));
        let arrivals = self.leasing.iter().flat_map(|leasing| leasing.migrations.arrivals.keys());
        for domain in arrivals.filter(|_| waits) {
            warnings.push(format!("domain {}: {COMES_IN}", self.domain_name(*domain)));
        }
        for (domain, (why, _)) in &self.domains.refused {
            warnings.push(format!("domain {} runs here without a lease: {why}", self.domain_name(*domain)));
        }
        warnings
    }
}

/// What people are told who wait for maintenance.
const COMES_IN: &str = "it is being migrated to this host, which waits for that before it goes into maintenance; one that has come in paused counts as come in once it is resumed (`virsh resume`)";

/// What people are told of a domain whose process is gone and whose storages are not quiet.
pub(in crate::member) fn not_quiet(why: &str) -> String {
    format!(
        "it runs no more, but its last writes may still leave this host ({why}): its lease stays here, and nobody else starts it"
    )
}
