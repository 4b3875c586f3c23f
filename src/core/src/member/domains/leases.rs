//! The leases that running domains need: asked for, and what happens to a domain that has none.

use std::time::Duration;

use super::spec_of;
use crate::format::LeaseState;
use crate::ids::DomainId;
use crate::lease::{AcquireKind, AcquireOutcome, AcquireRequest, Conflict, EndReason};
use crate::member::phase::Phase;
use crate::member::{Command, DomainReport, LogLevel, Member};
use crate::time::Now;

/// How long a joining host waits for libvirt's first answer.
const LIBVIRT_PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries to get the lease of a running domain, where nothing speaks against it for good; and between two
/// requests to store a definition.
const TRY_AGAIN: Duration = Duration::from_secs(2);

impl Member {
    /// Gets a lease for each protected domain that runs, and a stored definition for each that is owned.
    pub(in crate::member) fn domain_turn(&mut self, now: &Now) {
        let fresh = self.leasing.as_ref().is_some_and(|leasing| leasing.leases.has_events());
        if self.domains.settled && !fresh && matches!(self.phase, Phase::Adopting { .. } | Phase::Held) {
            return;
        }
        self.refresh_exempt_and_storages();
        if !matches!(self.phase, Phase::Adopting { .. } | Phase::Held) {
            return;
        }
        self.give_up_exempted(now);
        let running = self.running_protected();
        self.domains.refused.retain(|domain, _| running.contains(domain));
        for domain in running {
            if self.wants_lease(now, domain) {
                let spec = self.domains.reports.get(&domain).map(spec_of).unwrap_or_default();
                let kind = AcquireKind::Plain(spec);
                if let Some(leasing) = &mut self.leasing {
                    leasing.leases.acquire(AcquireRequest { domain, kind });
                }
            }
            self.want_definition(now, domain);
        }
        self.domains.settled = self.all_domains_are_settled();
    }

    fn all_domains_are_settled(&self) -> bool {
        let reports = &self.domains.reports;
        let settled = |domain: DomainId| {
            let known = reports.get(&domain).is_none_or(|report| report.definition_version > 0);
            known && self.leasing.as_ref().is_some_and(|leasing| leasing.leases.owns(domain))
        };
        let starts = self
            .leasing
            .as_ref()
            .is_some_and(|leasing| !leasing.starts.is_empty() || leasing.migrations.any());
        self.domains.refused.is_empty()
            && !starts
            && !reports.values().any(|report| report.protection.exempt)
            && self.running_protected().into_iter().all(settled)
    }

    fn wants_lease(&self, now: &Now, domain: DomainId) -> bool {
        let Some(leasing) = &self.leasing else { return false };
        let under_way = leasing.recoveries.get(domain).is_some_and(|recovery| recovery.stage.is_under_way())
            || leasing.leases.incoming(domain).is_some();
        let later = self
            .domains
            .refused
            .get(&domain)
            .is_some_and(|(_, since)| now.instant.since_by_slower(*since) < TRY_AGAIN);
        let exempted = self.domains.reports.get(&domain).is_some_and(|report| report.protection.exempt);
        let known = domain != DomainId::default() && !exempted;
        known && !under_way && !later && !leasing.leases.owns(domain) && !leasing.leases.is_acquiring(domain)
    }

    /// The owner stores the definition, so that others can start the domain; the next list shows its version.
    fn want_definition(&mut self, now: &Now, domain: DomainId) {
        let owned = self.leasing.as_ref().is_some_and(|leasing| leasing.leases.owns(domain));
        let missing = self.domains.reports.get(&domain).is_some_and(|report| report.definition_version == 0);
        let asked =
            self.domains.stored.get(&domain).is_some_and(|at| now.instant.since_by_slower(*at) < TRY_AGAIN);
        if owned && missing && !asked {
            self.domains.stored.insert(domain, now.instant);
            self.desk.push(Command::StoreDefinition { domain });
        }
    }

    /// An acquire for a running domain, or for a recovery, ended.
    pub(in crate::member) fn acquire_ended(&mut self, now: &Now, domain: DomainId, outcome: AcquireOutcome) {
        let for_a_start = self.start_acquired(now, domain, &outcome);
        if self.is_retaken(domain) && !matches!(outcome, AcquireOutcome::Acquired(_)) {
            // It stays own, under its old term, and is looked at again.
            return;
        }
        let (why, for_good) = match outcome {
            AcquireOutcome::Acquired(entry) => {
                let what = if entry.state == LeaseState::Incoming { "may come in" } else { "is owned" };
                let text = format!("domain {domain} {what} here, under term {}", entry.term);
                self.desk.note(LogLevel::Info, "lease", text);
                self.domains.refused.remove(&domain);
                return;
            }
            AcquireOutcome::AlreadyOwn(_) => {
                self.domains.refused.remove(&domain);
                return;
            }
            // A migration to this host is under way: its process is no one's that runs without a lease.
            AcquireOutcome::Busy { who, conflict: Conflict::Incoming } if self.incarnation() == Some(who) => {
                return;
            }
            AcquireOutcome::Busy { who, conflict: Conflict::Own } => (format!("{who} owns it"), true),
            AcquireOutcome::Busy { who, conflict: Conflict::Incoming } => {
                (format!("it is being migrated to {who}"), true)
            }
            AcquireOutcome::Busy { who, conflict: Conflict::Want } => {
                (format!("{who} is acquiring it"), false)
            }
            AcquireOutcome::Unreadable(slot) => {
                (format!("slot {slot}'s sector of its lease page is unreadable"), false)
            }
            AcquireOutcome::Full => {
                ("its lease page is full (62 domains): exempt or remove one".to_owned(), true)
            }
            AcquireOutcome::NotRecoverable(why) => (why, false),
            AcquireOutcome::GaveUp => ("other hosts got in between at each try".to_owned(), false),
            AcquireOutcome::ReadFailed(why) => (format!("its lease page cannot be read: {why}"), false),
            AcquireOutcome::Unknown => ("a write of its lease page has an unknown outcome".to_owned(), false),
            AcquireOutcome::LostLease => ("this host's own lease ended".to_owned(), false),
        };
        if for_a_start || !self.running_protected().contains(&domain) {
            return;
        }
        let fresh = self.domains.refused.insert(domain, (why.clone(), now.instant)).is_none();
        if for_good && matches!(self.phase, Phase::Held) {
            // At each try that is refused, as long as it runs: what was killed may have been started again at once.
            let reason = format!("it runs here without a lease that it can win: {why}");
            self.desk.push(Command::Destroy { domain, reason });
        } else if fresh {
            let text = format!("domain {domain} runs here without a lease: {why}");
            self.desk.note(LogLevel::Warn, "no-lease", text);
        }
    }

    /// Why a joining host cannot be armed yet, as far as its domains go.
    pub(in crate::member) fn why_domains_hinder(&self, now: &Now) -> Option<String> {
        let waited = now.instant.since_by_slower(self.phase_since) >= LIBVIRT_PATIENCE;
        if !self.domains.answered && !waited {
            return Some("libvirt has not answered yet".to_owned());
        }
        let leasing = self.leasing.as_ref()?;
        let known = |domain: &DomainId| *domain != DomainId::default() && !leasing.leases.owns(*domain);
        let open = self.running_protected().into_iter().find(known)?;
        let why =
            self.domains.refused.get(&open).map_or("its lease is being acquired", |(why, _)| why.as_str());
        Some(format!("domain {} runs here, and {why}; stop it or exempt it", self.domain_name(open)))
    }

    /// A running domain that was exempted: its entry becomes `stopped`, which nobody recovers; then it is exempt. Not while nobody
    /// can tell whether that counts: it may write what other hosts can.
    fn give_up_exempted(&mut self, now: &Now) {
        let runs =
            |domain: DomainId| self.leasing.as_ref().is_some_and(|leasing| leasing.leases.runs(domain));
        let counts = |report: &DomainReport| report.protection.exempt && !report.doubtful;
        let given_up = |report: &&DomainReport| counts(report) && report.running && runs(report.domain);
        let domains: Vec<_> =
            self.domains.reports.values().filter(given_up).map(|report| report.domain).collect();
        for domain in domains {
            self.with_leasing(now, |context, leasing| {
                leasing.leases.end(context, domain, EndReason::Stopped);
            });
            if self.leasing.as_ref().is_some_and(|leasing| !leasing.leases.runs(domain)) {
                let text = format!(
                    "domain {domain} was exempted: its lease is given up, then it is not guarded any more"
                );
                self.desk.note(LogLevel::Warn, "exempted", text);
            }
        }
    }
}
