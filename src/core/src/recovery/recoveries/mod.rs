//! All recoveries of this host, by priority: what is looked for, begun, waited for and given back.

mod pages;
mod steps;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::recovery::{Proven, Recovery, Stage};
use super::start_barrier::StartBarrier;
use super::types::{RecoveryAction, RecoveryPolicy, Survey};
use crate::fencing::{FencerHalf, StartToken};
use crate::format::Layout;
use crate::ids::{DomainId, Incarnation, Term};
use crate::lease::{GoneProof, LeaseContext, LeaseEvent, Leases};
use crate::member::{LogLevel, Note, RecoveryStatus, StartFailure};
use crate::time::{Instant, Now, ObserverDeadline};

/// All recoveries of this host.
///
/// # How a member drives it
/// - After each good scan, once its verdicts are published where they must be: [`survey`](Self::survey).
/// - Each [`LeaseEvent`]: [`handle_lease_event`](Self::handle_lease_event). Each acknowledged own renewal:
///   [`renewal_took`](Self::renewal_took).
/// - `Input::Barrier`, `Input::StartEnded`, `Input::Stopped`, `Input::Domains`, `Input::Fencer`: the calls named after them.
/// - Then [`poll`](Self::poll) until there is nothing; [`wake_at`](Self::wake_at) says when to poll again.
/// - Into the page: [`tokens`](Self::tokens). When the own lease has ended: [`lost`](Self::lost); the tokens stay until
///   they are closed, and it must still be fed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recoveries {
    policy: RecoveryPolicy,
    layout: Layout,
    me: Incarnation,
    survey: Survey,
    domains: BTreeMap<DomainId, Recovery>,
    /// The last own renewal that took longer than `write_drain` / 4.
    slow_renewal: Option<Instant>,
    full_read: Option<Instant>,
    next_round: Option<Instant>,
    lost: bool,
    actions: VecDeque<RecoveryAction>,
}

impl Recoveries {
    /// No recovery.
    #[must_use]
    pub fn new(policy: RecoveryPolicy, layout: Layout, me: Incarnation) -> Self {
        Self {
            policy,
            layout,
            me,
            survey: Survey::default(),
            domains: BTreeMap::new(),
            slow_renewal: None,
            full_read: None,
            next_round: None,
            lost: false,
            actions: VecDeque::new(),
        }
    }

    /// What the last good scan says. Pages that may hold work are read: all after news of a death, those whose version
    /// changed, and all once in a while.
    pub fn survey(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases, survey: Survey) {
        let died = survey
            .gone
            .iter()
            .any(|host| !self.survey.gone.iter().any(|old| old.incarnation == host.incarnation));
        let due = self.full_read.is_none_or(|due| ObserverDeadline(due).reached(ctx.now.instant));
        if died || due {
            self.full_read = Some(ctx.now.instant.plus(self.policy.full_read));
            (0..self.layout.pages()).for_each(|page| leases.scan_page(page));
        } else {
            self.changed_pages(&survey).into_iter().for_each(|page| leases.scan_page(page));
        }
        self.survey = survey;
    }

    fn changed_pages(&self, survey: &Survey) -> BTreeSet<u8> {
        if survey.page_versions == self.survey.page_versions {
            return BTreeSet::new();
        }
        let known: BTreeMap<_, _> = self.survey.page_versions.iter().copied().collect();
        let others = survey.page_versions.iter().filter(|(who, _)| *who != self.me);
        let changed = others.flat_map(|(who, versions)| {
            let old = known.get(who);
            (0..self.layout.pages()).zip(versions).enumerate().filter_map(move |(index, (page, version))| {
                (old.and_then(|old| old.get(index)) != Some(version)).then_some(page)
            })
        });
        changed.collect()
    }

    /// How long an acknowledged own renewal took, from its issue: a slow one since the stall start calls for a further
    /// `write_drain` before a start.
    pub fn renewal_took(&mut self, took: Duration, ended: Instant) {
        if took > self.survey.write_drain / 4 {
            self.slow_renewal = Some(ended);
        }
    }

    /// Takes an event of the leases.
    pub fn handle_lease_event(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases, event: &LeaseEvent) {
        match event {
            LeaseEvent::Scanned(scan) => self.scanned(ctx, leases, scan),
            LeaseEvent::Acquire { domain, outcome } => self.acquired(ctx, leases, *domain, outcome),
            LeaseEvent::Ended { domain, entry } => self.ended(leases, *domain, entry),
            _ => {}
        }
    }

    /// The answer to a barrier: how long the slowest acknowledgement took, or why there is none.
    pub fn barrier(
        &mut self,
        ctx: &LeaseContext<'_>,
        leases: &mut Leases,
        domain: DomainId,
        asked: Instant,
        result: &Result<Duration, String>,
    ) {
        let Some(recovery) = self.domains.get(&domain) else { return };
        if !matches!(recovery.stage, Stage::Barrier(barrier) if barrier.awaits(asked)) {
            return;
        }
        let pred = recovery.entry.pred;
        match result.as_ref().map(|took| self.drains_until(*took, pred, ctx.now.instant)) {
            Err(why) => {
                self.give_back(ctx, leases, domain, &format!("the barrier was not acknowledged: {why}"));
            }
            Ok(Some(until)) => {
                let draining = Stage::Barrier(StartBarrier::Draining(until));
                self.go(ctx, domain, draining, "storage was slow: one write_drain more");
            }
            Ok(None) => self.start(ctx, leases, domain),
        }
    }

    /// `start begin`: whether QEMU may be run under the token of a start of ours, which is once; none where there is no such start.
    /// What the first one has sent could land after the second had begun (R6).
    pub fn begins(&mut self, domain: DomainId) -> Option<bool> {
        let recovery = self.domains.get_mut(&domain).filter(|recovery| recovery.stage == Stage::Starting)?;
        Some(!std::mem::replace(&mut recovery.begun, true))
    }

    /// The answer to a start: seen running, or why not (libvirt has answered "shut off, no job" then).
    pub fn start_ended(
        &mut self,
        ctx: &LeaseContext<'_>,
        leases: &mut Leases,
        domain: DomainId,
        term: Term,
        result: &Result<(), StartFailure>,
    ) {
        let Some(recovery) = self.domains.get(&domain) else { return };
        if recovery.stage != Stage::Starting || recovery.entry.term != term {
            return;
        }
        match result {
            Ok(()) => {
                leases.started(domain, ctx.now.instant);
                self.say(LogLevel::Info, format!("domain {domain} runs here, under term {term}"));
                self.go(ctx, domain, Stage::Running { token_open: true, death: None }, "seen running");
            }
            Err(StartFailure::ImageLocked) => self.locked(ctx, domain),
            Err(StartFailure::Definition(why)) => self.failed(ctx, domain, &format!("its definition: {why}")),
            Err(StartFailure::Failed(why)) => self.failed(ctx, domain, why),
        }
    }

    /// Libvirt's full list of the domains that run here: one whose start was given up may run after all.
    pub fn listed(&mut self, leases: &mut Leases, running: &BTreeSet<DomainId>, now: &Now) {
        let runs = |recovery: &&mut Recovery| {
            matches!(recovery.stage, Stage::GivingUp { .. }) && running.contains(&recovery.domain)
        };
        for recovery in self.domains.values_mut().filter(runs) {
            leases.started(recovery.domain, now.instant);
            recovery.go(Stage::Running { token_open: true, death: None }, "it runs after all", now);
        }
    }

    /// Libvirt's event that a domain stopped.
    pub fn stopped(&mut self, domain: DomainId, now: Instant) {
        if let Some(Recovery { stage: Stage::Running { death, .. }, .. }) = self.domains.get_mut(&domain) {
            *death = Some(GoneProof::new(now));
        }
    }

    /// True while the fencer's half can prove something for a recovery.
    #[must_use]
    pub fn heeds_fencer(&self) -> bool {
        !self.domains.is_empty()
    }

    /// The fencer's half: it closes tokens.
    pub fn fencer(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases, half: &FencerHalf) {
        let before = self.tokens();
        let news = |recovery: &mut Recovery| Some((recovery.domain, recovery.fencer(half)?));
        let proven: Vec<_> = self.domains.values_mut().filter_map(news).collect();
        for (domain, proof) in proven {
            match proof {
                Proven::Died => drop(self.domains.remove(&domain)),
                Proven::NeverRan => self.give_back_failed(ctx, leases, domain),
            }
        }
        if self.tokens() != before {
            self.actions.push_back(RecoveryAction::Publish);
        }
    }

    /// `ha resume`: a recoverable domain that is on hold is tried again. False when this host knows of none.
    pub fn resume(&mut self, ctx: &LeaseContext<'_>, domain: DomainId) -> bool {
        let Some(recovery) = self.domains.get_mut(&domain).filter(|recovery| recovery.stage.is_idle()) else {
            return false;
        };
        recovery.resumed = Some(recovery.entry.term);
        recovery.go(Stage::Waiting { until: ctx.now.instant }, "a user resumed it", ctx.now);
        true
    }

    /// The own lease has ended: nothing is started any more. Tokens stay until they are closed.
    pub fn lost(&mut self) {
        self.lost = true;
        self.domains.retain(|_, recovery| recovery.stage.token_open());
    }

    /// The open start tokens, for the page.
    #[must_use]
    pub fn tokens(&self) -> Vec<StartToken> {
        let open = self.domains.values().filter(|recovery| recovery.stage.token_open());
        open.map(|recovery| StartToken {
            domain: recovery.domain,
            term: recovery.entry.term,
            opened: recovery.opened,
        })
        .collect()
    }

    /// True when no recovery is between its acquire and its end: none that could still come to a start.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.domains.values().any(|recovery| recovery.stage.is_under_way())
    }

    /// All recoveries, for `status`.
    #[must_use]
    pub fn status(&self) -> Vec<RecoveryStatus> {
        self.domains.values().map(Recovery::status).collect()
    }

    /// The recovery of a domain, if there is one.
    #[must_use]
    pub fn get(&self, domain: DomainId) -> Option<&Recovery> {
        self.domains.get(&domain)
    }

    /// Until when a start waits whose domain was taken from `pred`, and whose barrier took `took` and is acknowledged now: for one
    /// `write_drain`, by the last good scan, where that, or an own renewal since the stall start, was slow. None: no longer.
    #[must_use]
    pub fn drains_until(&self, took: Duration, pred: Option<Incarnation>, now: Instant) -> Option<Instant> {
        let drain = self.survey.write_drain;
        (took > drain / 4 || self.was_slow_since(pred)).then(|| now.plus(drain))
    }

    /// True when an own renewal since the stall start (or, where that is not known, ever) was slow.
    fn was_slow_since(&self, pred: Option<Incarnation>) -> bool {
        let stall =
            self.survey.gone.iter().find(|host| Some(host.incarnation) == pred).and_then(|h| h.stall_start);
        match (self.slow_renewal, stall) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(slow), Some(stall)) => ObserverDeadline(stall).reached(slow),
        }
    }

    fn wait_a_round(&mut self, ctx: &LeaseContext<'_>, domain: DomainId, reason: &str) {
        let until = ctx.now.instant.plus(self.policy.round);
        self.go(ctx, domain, Stage::Waiting { until }, reason);
    }

    fn go(&mut self, ctx: &LeaseContext<'_>, domain: DomainId, stage: Stage, reason: &str) {
        if let Some(recovery) = self.domains.get_mut(&domain) {
            recovery.go(stage, reason, ctx.now);
        }
    }

    fn say(&mut self, level: LogLevel, text: String) {
        self.actions.push_back(RecoveryAction::Note(Note { level, event: "recovery", text }));
    }
}
