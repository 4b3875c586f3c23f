//! What this host owns and how far each is: held, running, ending. It follows libvirt's and the fencer's words and says
//! when an own entry ends and why; it never writes.

#[cfg(feature = "model-check")]
mod marks;
mod owned;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::proof::GoneProof;
use super::quiet::{QuietNews, QuietProof};
use super::types::{DomainSpec, EndReason};
use crate::fencing::{FencerHalf, OwnLease, QuiesceTarget, StorageKind};
use crate::ids::{DomainId, Term};
use crate::member::StopReason;
use crate::time::{Instant, ObserverDeadline};
use owned::{Owned, Phase};

/// Libvirt lists a domain as not running before its event says why: the event is given this long.
const EVENT_GRACE: Duration = Duration::from_secs(5);

/// The own leases of an incarnation.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct OwnedDomains {
    domains: BTreeMap<DomainId, Owned>,
}

impl OwnedDomains {
    /// A lease was acquired.
    pub(super) fn acquired(&mut self, domain: DomainId, term: Term, recovering: bool) {
        let phase = if recovering { Phase::Recovering } else { Phase::Held { missing: None } };
        self.domains.insert(domain, Owned::new(term, false, phase));
    }

    /// A restarted agent found an own entry. `listed`: what the page's list has of it, under this term.
    pub(super) fn found(&mut self, domain: DomainId, term: Term, listed: &OwnLease, now: Instant) {
        let phase = Phase::Settling { proof: GoneProof::new(now), answered: false };
        // What was here under its term before is not known.
        let before = Owned::new(term, listed.ran, phase);
        let owned = Owned { outgoing: listed.outgoing, unquiet: true, ..before };
        self.domains.insert(domain, owned);
    }

    /// Its entry has a higher term from now on, and is otherwise what it was.
    pub(super) fn retaken(&mut self, domain: DomainId, term: Term) {
        if let Some(owned) = self.domains.get_mut(&domain) {
            owned.term = term;
        }
    }

    /// Libvirt has stopped its CPUs for a migration, or it stays here. True when that is news.
    pub(super) fn outgoing(&mut self, domain: DomainId, outgoing: bool) -> bool {
        let owned = self.domains.get_mut(&domain);
        owned.is_some_and(|owned| std::mem::replace(&mut owned.outgoing, outgoing) != outgoing)
    }

    /// True while its CPUs are stopped for a migration, as far as is known.
    pub(super) fn is_outgoing(&self, domain: DomainId) -> bool {
        self.domains.get(&domain).is_some_and(|owned| owned.outgoing)
    }

    /// It was migrated away, and its process is proven gone.
    pub(super) fn departed(&mut self, domain: DomainId) {
        if let Some(owned) = self.domains.get_mut(&domain) {
            owned.phase = Phase::Departed;
        }
    }

    /// The lease is not owned any more; gives what the page said of it.
    pub(super) fn remove(&mut self, domain: DomainId) -> Option<OwnLease> {
        self.domains.remove(&domain).map(|owned| owned.to_page(domain))
    }

    /// True if it is owned.
    #[must_use]
    pub(super) fn contains(&self, domain: DomainId) -> bool {
        self.domains.contains_key(&domain)
    }

    /// True if it was seen running under its term.
    #[must_use]
    pub(super) fn ran(&self, domain: DomainId) -> bool {
        self.domains.get(&domain).is_some_and(|owned| owned.ran)
    }

    /// True if its entry says this of the domain already.
    #[must_use]
    pub(super) fn is_described(&self, domain: DomainId, spec: &DomainSpec) -> bool {
        self.domains.get(&domain).is_some_and(|owned| owned.described == Some(*spec))
    }

    /// Its entry says this of the domain from now on.
    pub(super) fn describe(&mut self, domain: DomainId, spec: &DomainSpec) {
        if let Some(owned) = self.domains.get_mut(&domain) {
            owned.described = Some(*spec);
        }
    }

    /// The page's list.
    pub(super) fn to_page(&self) -> impl Iterator<Item = OwnLease> {
        self.domains.iter().map(|(domain, owned)| owned.to_page(*domain))
    }

    /// A recovery saw its domain running. True when that is news.
    pub(super) fn started(&mut self, domain: DomainId, now: Instant) -> bool {
        let Some(owned) = self.domains.get_mut(&domain) else { return false };
        let news = !owned.ran;
        owned.ran = true;
        owned.running_since = owned.running_since.or(Some(now));
        owned.phase = Phase::Held { missing: None };
        news
    }

    /// The full list of what libvirt says is running here. True when that is news.
    pub(super) fn listed(&mut self, running: &BTreeSet<DomainId>, now: Instant) -> bool {
        let mut news = false;
        let owned: Vec<DomainId> = self.domains.keys().copied().collect();
        for domain in owned {
            if running.contains(&domain) {
                news |= self.seen_running(domain, now);
            } else {
                self.not_listed(domain, now);
            }
        }
        news
    }

    fn seen_running(&mut self, domain: DomainId, now: Instant) -> bool {
        match self.domains.get(&domain).map(|owned| &owned.phase) {
            // Who starts it decides when it runs: the start may still fail, or libvirt's word be of the run before.
            Some(Phase::Recovering | Phase::Starting | Phase::Departed) | None => false,
            Some(_) => self.started(domain, now),
        }
    }

    fn not_listed(&mut self, domain: DomainId, now: Instant) {
        let Some(owned) = self.domains.get_mut(&domain) else { return };
        owned.running_since = None;
        match &mut owned.phase {
            Phase::Settling { answered, .. } => *answered = true,
            Phase::Held { missing: missing @ None } => *missing = Some(now),
            Phase::Held { missing: Some(since) }
                if ObserverDeadline(since.plus(EVENT_GRACE)).reached(now) =>
            {
                owned.breaks_off(now);
            }
            Phase::Held { .. }
            | Phase::Recovering
            | Phase::Starting
            | Phase::Ending { .. }
            | Phase::Departed
            | Phase::Quieting { .. } => {}
        }
    }

    /// It was acquired for a user's start: what is said of an earlier run ends it no more.
    pub(super) fn starting(&mut self, domain: DomainId) {
        let Some(owned) = self.domains.get_mut(&domain) else { return };
        owned.running_since = None;
        owned.phase = Phase::Starting;
    }

    /// The fencer shows the process of that start.
    pub(super) fn start_shown(&mut self, domain: DomainId) {
        if let Some(owned) = self.domains.get_mut(&domain)
            && owned.phase == Phase::Starting
        {
            owned.phase = Phase::Held { missing: None };
        }
    }

    /// Its CPUs have run under its term. True when that is news. Of a recovery it decides itself.
    pub(super) fn cpus_run(&mut self, domain: DomainId) -> bool {
        let owned = self.domains.get_mut(&domain).filter(|owned| owned.phase != Phase::Recovering);
        owned.is_some_and(|owned| !std::mem::replace(&mut owned.ran, true))
    }

    /// Nothing comes of that start: the entry ends.
    pub(super) fn start_given_up(&mut self, domain: DomainId, now: Instant) {
        if let Some(owned) = self.domains.get_mut(&domain)
            && owned.phase == Phase::Starting
        {
            owned.breaks_off(now);
        }
    }

    /// True while it is permitted to a start, and nothing of it was here under its term before.
    pub(super) fn is_unused(&self, domain: DomainId) -> bool {
        let unused = |owned: &Owned| !owned.ran && !owned.unquiet && owned.phase == Phase::Starting;
        self.domains.get(&domain).is_some_and(unused)
    }

    /// Libvirt's event: the domain stopped, and why. A reason counts only for a domain that was seen running under this term.
    pub(super) fn stopped(&mut self, domain: DomainId, reason: StopReason, now: Instant) {
        let Some(owned) = self.domains.get_mut(&domain) else { return };
        // Of a start under way its own end is told by who starts it: this may be the run before.
        if matches!(owned.phase, Phase::Recovering | Phase::Starting) {
            return;
        }
        owned.running_since = None;
        // Of what libvirt has moved QEMU gave its disks up before the destination took them.
        let drained = reason == StopReason::Migrated || owned.ran && reason == StopReason::Shutdown;
        let reason = match reason {
            // What is migrated has run, whether this process has seen it or not.
            StopReason::Migrated => EndReason::MigratedAway { destination_seen: false },
            _ if !owned.ran => EndReason::NeverRan,
            StopReason::Shutdown | StopReason::Destroyed => EndReason::Stopped,
            StopReason::Saved => EndReason::Saved,
            StopReason::Crashed | StopReason::HostShutdown => EndReason::Crashed,
        };
        owned.ends(reason, drained, now);
    }

    /// What libvirt says of the storages of a domain that it lists as running. One that was ever seen counts.
    pub(super) fn runs_on(&mut self, domain: DomainId, storages: &[QuiesceTarget]) {
        if let Some(owned) = self.domains.get_mut(&domain) {
            let all =
                !storages.is_empty() && storages.iter().all(|target| target.kind == StorageKind::OneKernel);
            owned.one_kernel = Some(all && owned.one_kernel != Some(false));
        }
    }

    /// True while an entry waits for what only the fencer's half can show.
    #[must_use]
    pub(super) fn heeds_fencer(&self) -> bool {
        let heeds = |owned: &Owned| {
            !matches!(owned.phase, Phase::Recovering | Phase::Starting | Phase::Held { .. } | Phase::Departed)
        };
        self.domains.values().any(heeds)
    }

    /// The fencer's half: of which entries it shows that the process is gone, and why they end.
    pub(super) fn proven(&mut self, half: &FencerHalf, now: Instant) -> Vec<(DomainId, EndReason)> {
        self.domains
            .iter_mut()
            .filter_map(|(domain, owned)| Some((*domain, owned.proven(*domain, half, now)?)))
            .collect()
    }

    /// True when the exit of its process is all the proof that its end needs.
    #[must_use]
    pub(super) fn exit_is_quiet(&self, domain: DomainId) -> bool {
        self.domains.get(&domain).is_some_and(Owned::exit_is_quiet)
    }

    /// Its process is proven gone and its start token closed: from here its storages must be shown quiet.
    pub(super) fn quieten(&mut self, domain: DomainId, reason: EndReason, now: Instant) {
        if let Some(owned) = self.domains.get_mut(&domain) {
            owned.phase = Phase::Quieting { reason, quiet: QuietProof::new(now) };
            owned.unquiet = true;
        }
    }

    /// The answer to a barrier that was asked for at `asked`.
    pub(super) fn barrier(
        &mut self,
        domain: DomainId,
        asked: Instant,
        result: &Result<Duration, String>,
        drain: Duration,
        now: Instant,
    ) {
        if let Some(Phase::Quieting { quiet, .. }) =
            self.domains.get_mut(&domain).map(|owned| &mut owned.phase)
        {
            quiet.answered(asked, result, drain, now);
        }
    }

    /// What follows for entries whose storages are not shown quiet yet.
    pub(super) fn quiet_news(&mut self, now: Instant) -> Vec<(DomainId, EndReason, QuietNews)> {
        let news = |(domain, owned): (&DomainId, &mut Owned)| match &mut owned.phase {
            Phase::Quieting { reason, quiet } => Some((*domain, *reason, quiet.poll(now)?)),
            _ => None,
        };
        self.domains.iter_mut().filter_map(news).collect()
    }

    /// The term of one whose process is gone and whose storages cannot be shown quiet.
    pub(super) fn may_run_again_here(&self, domain: DomainId, hold: Duration, now: Instant) -> Option<Term> {
        let owned = self.domains.get(&domain)?;
        let Phase::Quieting { quiet, .. } = &owned.phase else { return None };
        quiet.cannot_be_shown(hold, now).then_some(owned.term)
    }

    /// The entries whose storages are not shown quiet yet.
    pub(super) fn quieting(&self) -> impl Iterator<Item = (DomainId, &QuietProof)> {
        self.domains.iter().filter_map(|(domain, owned)| match &owned.phase {
            Phase::Quieting { quiet, .. } => Some((*domain, quiet)),
            _ => None,
        })
    }

    /// Those that have been running for so long, by the slower clock: their faults are forgiven. Each is told once.
    #[must_use]
    pub(super) fn forgive(&mut self, long: Duration, now: Instant) -> Vec<DomainId> {
        let ran_long = |owned: &Owned| {
            owned.running_since.is_some_and(|since| ObserverDeadline(since.plus(long)).reached(now))
        };
        let due = self.domains.iter_mut().filter(|(_, owned)| !owned.forgiven && ran_long(owned));
        due.map(|(domain, owned)| {
            owned.forgiven = true;
            *domain
        })
        .collect()
    }
}
