//! The domains of this host: what libvirt and the fencer say of them, the leases that they need, and what happens to one
//! that has none. Unknown domains are protected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::leasing::Leasing;
use super::phase::{Phase, WeakenStep, Weakening};
use super::{Command, DomainReport, DomainStatus, LogLevel, Member, StartFailure, StopReason};
use crate::fencing::{FencerHalf, QuiesceTarget, StorageKind};
use crate::format::{LeaseFlags, LeaseState};
use crate::ids::{DomainId, Term};
use crate::lease::{AcquireKind, AcquireOutcome, AcquireRequest, Conflict, DomainSpec, EndReason, shows};
use crate::time::{Instant, Now};

/// How long a joining host waits for libvirt's first answer.
const LIBVIRT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to get the lease of a running domain, where nothing speaks against it for good; and between two
/// requests to store a definition.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What is known of this host's domains.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Domains {
    /// Libvirt's list, as last told.
    reports: BTreeMap<DomainId, DomainReport>,
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
    }
}

impl Member {
    /// Libvirt's full list.
    pub(super) fn domains_listed(&mut self, now: &Now, reports: Vec<DomainReport>) {
        let reports: BTreeMap<_, _> = reports.into_iter().map(|report| (report.domain, report)).collect();
        let running: BTreeSet<DomainId> =
            reports.values().filter(|report| report.running).map(|report| report.domain).collect();
        self.domains.settled &= self.domains.reports == reports;
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

    /// Gets a lease for each protected domain that runs, and a stored definition for each that is owned.
    pub(super) fn domain_turn(&mut self, now: &Now) {
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
        let starts =
            self.leasing.as_ref().is_some_and(|leasing| !leasing.starts.is_empty() || leasing.migrations.any());
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
    pub(super) fn acquire_ended(&mut self, now: &Now, domain: DomainId, outcome: AcquireOutcome) {
        let for_a_start = self.start_acquired(now, domain, &outcome);
        if self.is_retaken(domain) && !matches!(outcome, AcquireOutcome::Acquired(_)) {
            // It stays own, under its old term, and is looked at again.
            return;
        }
        let (why, for_good) = match outcome {
            AcquireOutcome::Acquired(entry) => {
                let what = if entry.state == LeaseState::Incoming { "may come in" } else { "is owned" };
                let text = format!("domain {domain} {what} here, under term {}", entry.term);
                self.desk.note(now, LogLevel::Info, "lease", text);
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
            self.desk.note(now, LogLevel::Warn, "no-lease", text);
        }
    }

    /// Why a joining host cannot be armed yet, as far as its domains go.
    pub(super) fn why_domains_hinder(&self, now: &Now) -> Option<String> {
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

    /// Protected domains that run, by libvirt or by the fencer's scan. Zero stands for a process of an unknown domain.
    pub(super) fn running_protected(&self) -> BTreeSet<DomainId> {
        let listed =
            self.domains.reports.values().filter(|report| report.running).map(|report| report.domain);
        let seen =
            self.fencer.iter().flat_map(|fencer| fencer.processes.iter().map(|process| process.domain));
        listed.chain(seen).filter(|domain| !self.is_exempt(*domain)).collect()
    }

    /// Exempt, and without a lease of this host: what may stand as owned on storage would be recovered elsewhere after this
    /// host's death, so it stays protected until its entry has ended (R12).
    pub(super) fn is_exempt(&self, domain: DomainId) -> bool {
        let exempt = self.domains.reports.get(&domain).is_some_and(|report| report.protection.exempt);
        exempt && !self.may_be_own(domain)
    }

    pub(super) fn may_be_own(&self, domain: DomainId) -> bool {
        let leasing = self.leasing.as_ref();
        // A restarted agent's list stands until the own sectors are read back.
        leasing.is_some_and(|leasing| leasing.leases.may_be_own(domain))
            || self.half.own.iter().any(|lease| lease.domain == domain)
    }

    /// A running domain that was exempted: its entry becomes `stopped`, which nobody recovers; then it is exempt.
    fn give_up_exempted(&mut self, now: &Now) {
        let runs =
            |domain: DomainId| self.leasing.as_ref().is_some_and(|leasing| leasing.leases.runs(domain));
        let given_up =
            |report: &&DomainReport| report.protection.exempt && report.running && runs(report.domain);
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
                self.desk.note(now, LogLevel::Warn, "exempted", text);
            }
        }
    }

    /// A protected domain that runs here.
    pub(super) fn a_protected_domain(&self) -> Option<DomainId> {
        self.running_protected().into_iter().next()
    }

    fn domain_name(&self, domain: DomainId) -> String {
        let report = self.domains.reports.get(&domain);
        report.map_or_else(|| domain.to_string(), |report| format!("'{}' ({domain})", report.name))
    }

    /// What the fencer must know ahead of need.
    pub(super) fn refresh_exempt_and_storages(&mut self) {
        let reports = self.domains.reports.values();
        self.half.exempt =
            reports.clone().map(|report| report.domain).filter(|domain| self.is_exempt(*domain)).collect();
        // One that is not there any more may be defined anew, with other storages.
        let owned = |domain: &DomainId| self.half.own.iter().any(|own| own.domain == *domain);
        let shown = |domain: &DomainId| self.fencer.as_ref().is_some_and(|half| shows(half, *domain));
        let mut covered = std::mem::take(&mut self.half.covered);
        covered.retain(|domain| owned(domain) || shown(domain));
        // One whose start is permitted is named before its process shows.
        let starts = self.leasing.iter().flat_map(|leasing| leasing.starts.permitted());
        let running: Vec<_> = reports.filter(|report| report.running).chain(starts).collect();
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

    fn permitted_starts(&self) -> impl Iterator<Item = &DomainReport> {
        self.leasing.iter().flat_map(|leasing| leasing.starts.permitted())
    }

    pub(super) fn domain_statuses(&self) -> Vec<DomainStatus> {
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

    /// What an operator should know of domains and libvirt.
    pub(super) fn domain_warnings(&self) -> Vec<String> {
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
            warnings.push(format!(
                "domain {}: {}",
                self.domain_name(*domain),
                super::departures::STANDS_STILL
            ));
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
pub(super) fn not_quiet(why: &str) -> String {
    format!(
        "it runs no more, but its last writes may still leave this host ({why}): its lease stays here, and nobody else starts it"
    )
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
