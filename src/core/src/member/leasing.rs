//! Domain leases and recovery, as the member drives them: what they may rely on at each step, when they may use the
//! storage thread, and what follows from what they say. The rules of leases are theirs.

use std::collections::BTreeMap;

use super::domains::not_quiet;
use super::migrations::Migrations;
use super::phase::Phase;
use super::user_starts::UserStarts;
use super::{Command, LogLevel, Member, RecoveryStatus, StartFailure};
use crate::evidence::{Evidence, Verdict};
use crate::fencing::StartToken;
use crate::format::{HostState, LeaseFlags, LeasePage, LeaseState};
use crate::ids::{DomainId, Incarnation, Slot};
use crate::lease::{
    LeaseContext, LeaseEvent, LeasePolicy, Leases, LeasesConfig, OwnPage, PageScan, SectorView,
};
use crate::planted::planted;
use crate::recovery::{GoneHost, Recoveries, RecoveryAction, Survey, Survivor};
use crate::storage::{IoDone, IoOp, Step};
use crate::time::{Instant, Now};

/// Leases and recoveries of the own incarnation.
#[derive(Clone, Debug)]
pub(super) struct Leasing {
    pub(super) leases: Leases,
    pub(super) recoveries: Recoveries,
    pub(super) starts: UserStarts,
    pub(super) migrations: Migrations,
    /// Each page as last read, for `status`.
    pub(super) scans: BTreeMap<u8, PageScan>,
    /// When lease work goes on, as it said when it was last asked.
    pub(super) due: Option<Instant>,
    /// True once it was told that it may not write any more: it takes part no more.
    pub(super) lost: bool,
}

impl Leasing {
    /// All open start tokens: of this process's starts, users' among them, and of those before it that are not proven closed.
    fn tokens(&self) -> Vec<StartToken> {
        let mut tokens = self.recoveries.tokens();
        tokens.extend(self.leases.tokens());
        tokens.extend(self.starts.tokens());
        tokens
    }
}

impl Member {
    /// A new incarnation: the own sectors as they were written by the entry.
    pub(super) fn leases_after_rejoin(&mut self, own: Incarnation, pages: Vec<LeasePage>) {
        let Some(config) = self.leases_config(own) else { return };
        self.begin_leasing(own, Leases::after_rejoin(config, pages));
    }

    /// The same incarnation goes on in another process, or after a break of its lease while it was joining.
    pub(super) fn leases_after_restart(&mut self, own: Incarnation) {
        let Some(config) = self.leases_config(own) else { return };
        let listed = self.half.own.clone();
        let mut leases = Leases::after_restart(config, &listed);
        leases.adopt_tokens(&self.half.tokens);
        self.begin_leasing(own, leases);
    }

    fn leases_config(&mut self, me: Incarnation) -> Option<LeasesConfig> {
        let seed = self.draw();
        let layout = self.header.as_ref()?.layout;
        Some(LeasesConfig { layout, me, boot_id: self.config.boot_id, policy: LeasePolicy::default(), seed })
    }

    fn begin_leasing(&mut self, own: Incarnation, leases: Leases) {
        let Some(header) = &self.header else { return };
        let recoveries = Recoveries::new(self.config.recovery, header.layout, own);
        let starts = UserStarts::default();
        self.leasing = Some(Box::new(Leasing {
            leases,
            recoveries,
            starts,
            migrations: Migrations::default(),
            scans: BTreeMap::new(),
            due: None,
            lost: false,
        }));
        self.domains.settled = false;
    }

    /// Calls leases and recoveries with what they may rely on now.
    pub(super) fn with_leasing<R>(
        &mut self,
        now: &Now,
        call: impl FnOnce(&LeaseContext<'_>, &mut Leasing) -> R,
    ) -> Option<R> {
        let mut leasing = self.leasing.take()?;
        let may_write = self.may_write_leases(now.instant);
        leasing.lost |= !may_write;
        let gone = |incarnation: Incarnation| self.counts_as_gone(incarnation);
        let vacant = |slot: Slot| self.is_vacant(slot);
        let hosts = self.hosts();
        let context =
            LeaseContext { now, may_write, unknown: &self.unknown, gone: &gone, vacant: &vacant, hosts };
        let result = call(&context, &mut leasing);
        self.leasing = Some(leasing);
        Some(result)
    }

    /// True while the own lease is valid and not latched; while joining or in maintenance it is renewed and watched by
    /// the own deadlines like one, since nobody but an operator can call such a host gone.
    fn may_write_leases(&self, now: Instant) -> bool {
        let resting = matches!(self.phase, Phase::Adopting { .. } | Phase::Arming { .. } | Phase::Disarmed);
        let valid = self.holder.as_ref().is_some_and(|holder| holder.is_valid(now));
        self.replaced.is_none() && (self.lease_is_live(now) || (resting && valid && self.latched().is_none()))
    }

    /// True for an incarnation whose evidence counts already: an expired or confirmed one only once its conviction is in
    /// the own record, acknowledged and read back, or once it is superseded, freed or released as well (its conviction may
    /// have been reused then).
    pub(super) fn counts_as_gone(&self, incarnation: Incarnation) -> bool {
        let slot = self.watch.as_ref().and_then(|watch| watch.slot(incarnation.slot));
        let past = slot.is_some_and(|slot| slot.is_past(incarnation.generation));
        match self.evidence(incarnation) {
            Some((Evidence::Expired | Evidence::Confirmed, _)) => {
                past || self.convictions.is_published(incarnation)
            }
            Some((Evidence::Fenced | Evidence::Superseded | Evidence::Released, _)) => true,
            None => planted!(StalledIsGone) && self.is_stalled(incarnation),
        }
    }

    /// Only a planted bug calls another host gone that is stalled.
    fn is_stalled(&self, incarnation: Incarnation) -> bool {
        let watch = self.watch.as_ref().filter(|_| self.incarnation() != Some(incarnation));
        let report = watch.and_then(|watch| watch.report(incarnation.slot, self.last.instant));
        let view = report.map(|report| report.view).filter(|view| view.incarnation == incarnation);
        view.is_some_and(|view| matches!(view.verdict, Verdict::Stalled { .. }))
    }

    fn is_vacant(&self, slot: Slot) -> bool {
        self.watch.as_ref().and_then(|watch| watch.slot(slot)).is_some_and(crate::watch::SlotWatch::is_vacant)
    }

    fn hosts(&self) -> u16 {
        let hosts = self.watch.as_ref().map_or(0, crate::watch::Watch::hosts);
        u16::try_from(hosts).unwrap_or(u16::MAX).max(1)
    }

    /// The next operation of lease work, if it may write.
    pub(super) fn lease_operation(&mut self, now: &Now) -> Option<IoOp> {
        if !self.leases_work() {
            return None;
        }
        let step = self.with_leasing(now, |context, leasing| leasing.leases.poll(context))?;
        let (op, due) = match step {
            Step::Io(op) => (Some(op), None),
            Step::Wait(until) => (None, Some(until)),
            Step::Done(()) => (None, None),
        };
        if let Some(leasing) = &mut self.leasing {
            leasing.due = due;
        }
        op
    }

    /// An operation of lease work ended.
    pub(super) fn lease_done(&mut self, now: &Now, done: &IoDone) {
        self.with_leasing(now, |context, leasing| leasing.leases.handle_io(context, done));
    }

    /// While it may not write for a moment in `joining`, nothing is polled: the first poll would end it for good.
    fn leases_work(&self) -> bool {
        matches!(
            self.phase,
            Phase::Adopting { .. }
                | Phase::Arming { .. }
                | Phase::Held
                | Phase::Weakening(_)
                | Phase::Disarmed
        )
    }

    /// Takes what leases and recoveries have to say, after every input.
    pub(super) fn lease_turn(&mut self, now: &Now) {
        self.lose_or_renew_leasing(now);
        self.limit_lease_work();
        if self.leasing.as_ref().is_some_and(|leasing| leasing.leases.is_quieting()) {
            self.with_leasing(now, |context, leasing| leasing.leases.quiet_turn(context));
        }
        while let Some(event) = self.leasing.as_mut().and_then(|leasing| leasing.leases.poll_event()) {
            self.with_leasing(now, |context, leasing| {
                let Leasing { leases, recoveries, .. } = leasing;
                recoveries.handle_lease_event(context, leases, &event);
            });
            self.domains.settled = false;
            self.take_lease_event(now, event);
        }
        while let Some(action) = self.next_recovery_action(now) {
            self.take_recovery_action(now, action);
        }
    }

    /// The lease that the entries rest on is over, for good; or it was only a break in `joining`, and goes on.
    fn lose_or_renew_leasing(&mut self, now: &Now) {
        let Some(lost) = self.leasing.as_ref().map(|leasing| leasing.lost) else { return };
        if matches!(self.phase, Phase::Ending(_)) {
            self.with_leasing(now, |context, leasing| {
                leasing.recoveries.lost();
                // Told once that it may not write, it ends what is at work.
                let _ends = leasing.leases.poll(context);
            });
        } else if lost
            && self.may_write_leases(now.instant)
            && let Some(own) = self.incarnation()
        {
            self.leases_after_restart(own);
        }
    }

    /// Disarming and a release end acquisitions; maintenance has none.
    fn limit_lease_work(&mut self) {
        let closed = matches!(self.phase, Phase::Weakening(_) | Phase::Disarmed);
        if let Some(leasing) = &mut self.leasing {
            if closed {
                leasing.leases.close();
            } else {
                leasing.leases.reopen();
            }
        }
    }

    fn take_lease_event(&mut self, now: &Now, event: LeaseEvent) {
        match event {
            LeaseEvent::Acquire { domain, outcome } => self.acquire_ended(now, domain, outcome),
            LeaseEvent::Convicted { by, domain } => {
                self.end(
                    now,
                    &format!("{by} has taken domain {domain} from this incarnation: it was convicted"),
                );
            }
            LeaseEvent::Foreign(what) => {
                self.end(now, &format!("an own sector of a lease page is not this incarnation's: {what}"));
            }
            LeaseEvent::Mended(text) => self.desk.note(now, LogLevel::Warn, "lease-mended", text),
            LeaseEvent::Note(text) => self.desk.note(now, LogLevel::Info, "lease", text),
            LeaseEvent::Ended { domain, entry } => {
                let text = format!(
                    "the lease of domain {domain} ended: {:?} under term {}",
                    entry.state, entry.term
                );
                self.desk.note(now, LogLevel::Info, "lease", text);
            }
            LeaseEvent::Found { domain, incoming, outgoing } => {
                self.migration_found(now, domain, incoming, outgoing);
            }
            LeaseEvent::Departed { domain } => self.domain_departed(now, domain),
            LeaseEvent::Scanned(scan) => {
                self.look_at_departures(now, &scan);
                let page = scan.page;
                if let Some(leasing) = &mut self.leasing {
                    leasing.scans.insert(page, scan);
                }
                self.answer_denied(now, Some(page));
            }
            LeaseEvent::Barrier { domain, asked } => self.want_barrier(domain, asked),
            LeaseEvent::NotQuiet { domain, why } => {
                let text = format!("domain {domain}: {}", not_quiet(&why));
                self.desk.note(now, LogLevel::Warn, "not-quiet", text);
            }
            LeaseEvent::OwnChanged => {}
        }
    }

    /// A barrier on the storages of the chain that the own entry names.
    fn want_barrier(&mut self, domain: DomainId, asked: Instant) {
        let entry = self.leasing.as_ref().and_then(|leasing| leasing.leases.entry(domain));
        let definition_hash = entry.map(|entry| entry.definition_hash).unwrap_or_default();
        self.desk.push(Command::Barrier { domain, asked, definition_hash });
    }

    fn next_recovery_action(&mut self, now: &Now) -> Option<RecoveryAction> {
        self.with_leasing(now, |context, leasing| {
            let Leasing { leases, recoveries, .. } = leasing;
            recoveries.poll(context, leases)
        })?
    }

    fn take_recovery_action(&mut self, now: &Now, action: RecoveryAction) {
        match action {
            RecoveryAction::Publish => self.publish(),
            RecoveryAction::Barrier { domain, asked } => self.want_barrier(domain, asked),
            // The page denies starts from the first step of disarming and of a release on: it is given back.
            RecoveryAction::Start { domain, term, .. } if !matches!(self.phase, Phase::Held) => {
                let why = StartFailure::Failed("this host starts nothing any more".to_owned());
                self.start_done(now, domain, term, &Err(why));
            }
            RecoveryAction::Start { domain, term, definition_hash } => {
                let left_here = self.domains.definition_hash(domain).filter(|_| planted!(OlderDefinition));
                let definition_hash = left_here.unwrap_or(definition_hash);
                self.publish();
                self.desk.push(Command::Start { domain, term, definition_hash });
            }
            RecoveryAction::Note(note) => self.desk.note(now, note.level, note.event, note.text),
        }
    }

    /// After a good scan: what recovery needs to know of the others.
    pub(super) fn survey_for_recovery(&mut self, now: &Now) {
        if !matches!(self.phase, Phase::Held) {
            return;
        }
        let Some(survey) = self.survey(now.instant) else { return };
        self.with_leasing(now, |context, leasing| {
            let Leasing { leases, recoveries, .. } = leasing;
            recoveries.survey(context, leases, survey);
        });
    }

    fn survey(&self, now: Instant) -> Option<Survey> {
        let watch = self.watch.as_ref()?;
        let own = self.incarnation()?;
        let live = watch.slots().filter_map(|slot| {
            let record = slot.record()?;
            let mine = record.incarnation == own && self.lease_is_live(now);
            let fresh = slot.unchanged_for(now).is_some_and(|age| age < record.terms.lease_ttl);
            let alive =
                record.state == HostState::Held && fresh && watch.evidence(record.incarnation).is_none();
            let survivor = Survivor { incarnation: record.incarnation, host_key: record.host_key };
            (mine || (alive && record.incarnation.slot != own.slot)).then_some(survivor)
        });
        let gone = watch.slots().filter_map(|slot| {
            let incarnation = slot.incarnation().filter(|incarnation| self.counts_as_gone(*incarnation))?;
            let evidence = watch.evidence(incarnation).map(|(evidence, _)| evidence.as_str());
            let evidence = evidence.or(planted!(StalledIsGone).then_some("stalled"))?;
            Some(GoneHost { incarnation, evidence, stall_start: slot.stall_start() })
        });
        let drains = watch.records().map(|record| record.effective_terms().write_drain);
        Some(Survey {
            survivors: live.collect(),
            gone: gone.collect(),
            page_versions: watch.records().map(|record| (record.incarnation, record.page_versions)).collect(),
            write_drain: drains.max().unwrap_or_default().max(self.longest_drain()),
            free_memory_mib: self.free_memory_mib,
        })
    }

    /// True when no lease work is under way and no want is left.
    pub(super) fn lease_work_is_over(&self) -> bool {
        self.leasing.as_ref().is_none_or(|leasing| {
            let idle =
                leasing.recoveries.is_quiet() && leasing.starts.is_empty() && !leasing.migrations.arrive();
            idle && leasing.leases.is_quiet() && leasing.tokens().is_empty()
        })
    }

    /// An own entry that stands, and why it has not ended: a record `released` would make it one that others may recover.
    pub(super) fn why_an_entry_stands(&self) -> Option<(DomainId, &str)> {
        let leases = &self.leasing.as_ref()?.leases;
        let owned = || leases.own_leases().first().map(|lease| (lease.domain, "its end is not proven yet"));
        leases.not_quiet().next().or_else(owned)
    }

    /// The version of each own page, for the own record: a hint to peers.
    pub(super) fn page_versions(&self) -> [u16; 16] {
        self.leasing.as_ref().map(|leasing| leasing.leases.page_versions()).unwrap_or_default()
    }

    /// What the page carries of leases.
    pub(super) fn refresh_half_of_leases(&mut self) {
        let Some(leasing) = &self.leasing else { return };
        self.half.tokens = leasing.tokens();
        // A restarted agent's list stands until the own sectors are read back.
        let pages = self.header.as_ref().map_or(0, |header| header.layout.pages());
        let known = (0..pages).all(|page| leasing.leases.page(page).is_some());
        if known && !leasing.leases.are_listed(&self.half.own) {
            self.half.own = leasing.leases.own_leases();
        }
    }

    pub(super) fn recovery_statuses(&self) -> Vec<RecoveryStatus> {
        self.leasing.as_ref().map(|leasing| leasing.recoveries.status()).unwrap_or_default()
    }

    /// How many domains an incarnation owns, and how many of them are HA, as last read; none before the pages were read.
    pub(super) fn domain_counts(&self, incarnation: Incarnation) -> (Option<u32>, Option<u32>) {
        let Some(leasing) = self.leasing.as_ref().filter(|leasing| !leasing.scans.is_empty()) else {
            return (None, None);
        };
        let slot = incarnation.slot.index();
        let scanned = leasing.scans.iter().filter_map(|(number, scan)| {
            // What this host has written itself it need not read.
            if self.incarnation() == Some(incarnation) {
                return leasing.leases.page(*number).map(OwnPage::content);
            }
            match scan.sectors.get(slot) {
                Some(SectorView::Valid(page)) if page.incarnation == incarnation => Some(page),
                _ => None,
            }
        });
        let own = scanned.flat_map(|page| page.entries().filter(|entry| entry.state == LeaseState::Own));
        let (mut all, mut ha) = (0, 0);
        for entry in own {
            all += 1;
            ha += u32::from(entry.flags.contains(LeaseFlags::HA));
        }
        (Some(all), Some(ha))
    }
}
