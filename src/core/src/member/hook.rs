//! What libvirt's hook asks before a domain starts here, whoever starts it: no protected domain starts without winning its
//! lease (R9). A start is permitted once its own entry is acknowledged and its token stands in the page; the driver looks at
//! the fencer's half once more between the two and the answer.

use std::time::Duration;

use super::leasing::Leasing;
use super::phase::Phase;
use super::user_starts::{Asked, StartNews};
use super::{Command, DomainReport, HookOperation, HookQuestion, LogLevel, Member, RequestId, StartActivity};
use crate::format::{HostState, LeaseBase};
use crate::ids::{DomainId, Incarnation, Term};
use crate::lease::{AcquireKind, AcquireOutcome, AcquireRequest, Conflict};
use crate::member::domains::spec_of;
use crate::planted::planted;
use crate::recovery::Stage;
use crate::time::{Instant, Now};

impl Member {
    /// True while this host may start domains: it holds its lease, and is not on its way to give it back.
    #[must_use]
    pub fn may_start_now(&self, now: &Now) -> bool {
        self.may_start(now).is_ok()
    }

    /// Takes a question of the hook; its answer comes as `Command::Reply`, or as `Command::PermitStart`.
    pub(super) fn hook_asks(&mut self, now: &Now, id: RequestId, question: HookQuestion) {
        let HookQuestion { domain, exempt, operation } = question;
        let answer = match operation {
            HookOperation::Release => {
                self.start_released(now, domain);
                self.desk.reply(id, true, "");
                return;
            }
            _ if exempt && !self.may_be_own(domain) => {
                self.desk.reply(id, true, "exempt");
                return;
            }
            HookOperation::Prepare(report) => self.start_wanted(now, id, domain, report),
            HookOperation::Start => self.start_begins(now, id, domain),
            HookOperation::Started => self.start_has_run(now, id, domain),
            HookOperation::Migrate(report) => self
                .begin_migration(now, id, domain, report)
                .or_else(|why| self.deny_migration(now, (id, now.instant), domain, why)),
            HookOperation::Restore => self.restore_wanted(now, id, domain),
        };
        if let Err(why) = answer {
            self.deny_start(now, id, domain, &why);
        }
    }

    pub(super) fn deny_start(&mut self, now: &Now, id: RequestId, domain: DomainId, why: &str) {
        let text = format!("domain {domain} may not start here: {why}");
        self.desk.note(now, LogLevel::Warn, "start-denied", text);
        self.desk.reply(id, false, why);
    }

    /// `prepare begin`: from here on its process may appear, once it is permitted.
    fn start_wanted(
        &mut self,
        now: &Now,
        id: RequestId,
        domain: DomainId,
        report: Box<DomainReport>,
    ) -> Result<(), String> {
        self.may_start(now)?;
        let leasing = self.leasing.as_mut().ok_or(NOT_YET)?;
        if leasing.leases.incoming(domain).is_some() {
            return self.arrival_prepared(now, id, domain, report);
        }
        if let Some(recovery) = leasing.recoveries.get(domain).filter(|r| r.stage.is_under_way()) {
            if leasing.starts.is_restored(domain) {
                return Err("Leasefence is restarting it here already, and not from a saved image".to_owned());
            }
            if recovery.stage != Stage::Starting {
                let stage = recovery.stage.as_str();
                return Err(format!(
                    "Leasefence is restarting it here already ({stage}: {})",
                    recovery.reason
                ));
            }
            // Its token is open: this is the start that was asked for, by the agent itself.
            let opened = recovery.opened;
            self.permit(domain, opened, id, false);
            return Ok(());
        }
        if leasing.leases.tokens().iter().any(|token| token.domain == domain) {
            return Err("a start of it that was permitted before this agent began is not settled yet: try again in some seconds".to_owned());
        }
        let restores = leasing.starts.is_restored(domain);
        if let Some(term) = leasing.starts.open_term(domain) {
            if restores {
                return Err("a start of it is not settled yet: try again in some seconds".to_owned());
            }
            // Libvirt starts a domain once at a time: the start before has ended, and its token covers this one too.
            leasing.starts.permit(domain, term, report, now.instant);
            self.permit(domain, now.instant, id, false);
            return Ok(());
        }
        if leasing.starts.is_quieting(domain) {
            let joined = if restores { None } else { leasing.starts.joins(id, report, now.instant) };
            let overtaken =
                joined.ok_or("another start of it has not been given up yet: try again in half a minute")?;
            self.overtake(overtaken);
            self.domains.settled = false;
            return Ok(());
        }
        let overtaken = if leasing.leases.owns(domain) {
            leasing.starts.wait_for_end(id, report, now.instant)
        } else {
            let spec = spec_of(&report);
            let kind = if restores { AcquireKind::Restore(spec) } else { AcquireKind::Plain(spec) };
            let overtaken = leasing.starts.acquire(id, report, now.instant);
            leasing.leases.acquire(AcquireRequest { domain, kind });
            overtaken
        };
        self.overtake(overtaken);
        self.domains.settled = false;
        Ok(())
    }

    /// `restore begin`: whether the image is of the last run its lease says, when the start that follows asks for it.
    fn restore_wanted(&mut self, now: &Now, id: RequestId, domain: DomainId) -> Result<(), String> {
        self.may_start(now)?;
        if let Some(leasing) = &mut self.leasing {
            leasing.starts.restores(domain);
        }
        self.desk.reply(id, true, "");
        Ok(())
    }

    pub(super) fn overtake(&mut self, asker: Option<RequestId>) {
        if let Some(asker) = asker {
            self.desk.reply(asker, false, "libvirt has given this start up");
        }
    }

    /// The domain is owned here: its token is opened, and the page carries it before the hook is answered.
    fn open_token(
        &mut self,
        now: &Now,
        domain: DomainId,
        term: Term,
        asker: RequestId,
        report: Box<DomainReport>,
    ) {
        let Some(leasing) = &mut self.leasing else { return };
        leasing.leases.starting(domain);
        if !report.unanswered {
            leasing.leases.runs_on(domain, &report.storages);
        }
        leasing.starts.permit(domain, term, report, now.instant);
        self.domains.settled = false;
        self.refresh_exempt_and_storages();
        self.permit(domain, now.instant, asker, true);
    }

    pub(super) fn permit(&mut self, domain: DomainId, opened: Instant, id: RequestId, token_is_new: bool) {
        self.publish();
        self.desk.push(Command::PermitStart { id, domain, opened, token_is_new });
    }

    /// `start begin`: QEMU is about to be run, under a token that is open since `prepare`.
    fn start_begins(&mut self, now: &Now, id: RequestId, domain: DomainId) -> Result<(), String> {
        self.may_start(now)?;
        let leasing = self.leasing.as_mut().ok_or(NOT_YET)?;
        let recovers = leasing.recoveries.get(domain).is_some_and(|r| r.stage == Stage::Starting);
        // What a migration's former agent had permitted is not gone on with: libvirt gives it up, and the source runs on.
        let cold = leasing.leases.incoming(domain).is_none();
        let permitted = recovers || leasing.starts.begins(domain);
        if !permitted && (!cold || !leasing.leases.goes_on(domain)) {
            return Err("no start of it was permitted when libvirt prepared it: start it again".to_owned());
        }
        self.permit(domain, now.instant, id, false);
        Ok(())
    }

    /// `started begin`: its CPUs run already. Libvirt ends what is denied here.
    fn start_has_run(&mut self, now: &Now, id: RequestId, domain: DomainId) -> Result<(), String> {
        let owned = self.leasing.as_ref().is_some_and(|leasing| leasing.leases.owns(domain));
        if self.is_incoming(domain) && self.lease_is_live(now.instant) {
            self.arrival_has_started(now, id, domain);
            return Ok(());
        }
        if !owned || !self.lease_is_live(now.instant) {
            return Err(
                "this host's lease, or the domain's, has ended since its start was permitted".to_owned()
            );
        }
        if let Some(leasing) = &mut self.leasing {
            leasing.leases.cpus_run(domain);
        }
        self.desk.reply(id, true, "");
        Ok(())
    }

    /// The driver found that a start which was about to be permitted may not go on, or that nobody waits for the answer.
    pub(super) fn start_refused(&mut self, now: &Now, domain: DomainId, opened: Instant) {
        let refused = self.leasing.as_mut().is_some_and(|leasing| leasing.starts.refused(domain, opened));
        if refused && self.is_incoming(domain) {
            self.erase_incoming(now, domain);
        } else if refused {
            self.with_leasing(now, |context, leasing| {
                leasing.leases.start_given_up(context, domain, false);
            });
            self.domains.settled = false;
        }
    }

    /// `release end`, after a run or a start that came to nothing.
    fn start_released(&mut self, now: &Now, domain: DomainId) {
        let Some(leasing) = &mut self.leasing else { return };
        let quieting = leasing.starts.is_quieting(domain);
        let overtaken = leasing.starts.released(domain, now.instant);
        let unused = quieting && !leasing.starts.is_quieting(domain);
        self.overtake(overtaken);
        if unused {
            self.give_back_unused(now, domain);
        }
        self.domains.settled = false;
    }

    /// Libvirt's answer to `Command::AskActivity`.
    pub(super) fn start_activity(
        &mut self,
        now: &Now,
        domain: DomainId,
        opened: Instant,
        activity: StartActivity,
    ) {
        if let Some(leasing) = &mut self.leasing {
            leasing.starts.activity(domain, opened, activity, now.instant);
        }
    }

    /// An acquire ended that a start waits for. False when none does.
    pub(super) fn start_acquired(&mut self, now: &Now, domain: DomainId, outcome: &AcquireOutcome) -> bool {
        let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_acquiring(domain));
        let Some(asked) = taken else { return false };
        if asked.arrives {
            self.arrival_acquired(now, domain, asked, outcome);
            return true;
        }
        let asker = asked.asker;
        let entry = match outcome {
            AcquireOutcome::Acquired(entry) => Ok(entry),
            // Of before this agent: nothing is known yet of how that run ended. The next try waits for its end (R6).
            AcquireOutcome::AlreadyOwn(_) if self.owns(domain) => {
                if let Some(asker) = asker {
                    self.deny_start(now, asker, domain, LAST_RUN_NOT_ENDED);
                }
                return true;
            }
            refused => Err(self.why_not_acquired(refused)),
        };
        let permitted = entry.and_then(|entry| {
            self.may_start(now)?;
            // A saved image is not kept waiting: whether it still is of the last run is asked anew.
            let kept = asker.is_some() || (asked.kept && entry.base != LeaseBase::Saved);
            kept.then_some(entry.term).ok_or_else(|| "libvirt has given this start up".to_owned())
        });
        match (permitted, outcome) {
            // As before every recovery's start: what a gone host has sent must have landed, and so this has (R6).
            (Ok(term), AcquireOutcome::Acquired(entry))
                if entry.base == LeaseBase::Recoverable && !planted!(NoBarrier) =>
            {
                let definition_hash = asked.report.definition_hash;
                if let Some(leasing) = &mut self.leasing {
                    leasing.leases.starting(domain);
                    leasing.starts.wait_for_barrier((term, entry.pred), asked, now.instant);
                }
                self.desk.push(Command::Barrier { domain, asked: now.instant, definition_hash });
            }
            (Ok(term), _) => {
                if let Some(asker) = asker {
                    self.open_token(now, domain, term, asker, asked.report);
                } else if let Some(leasing) = &mut self.leasing {
                    leasing.leases.starting(domain);
                    leasing.starts.keep(term, asked, now.instant);
                }
            }
            (Err(why), _) => self.start_comes_to_nothing(now, domain, asker, &why),
        }
        true
    }

    fn start_comes_to_nothing(&mut self, now: &Now, domain: DomainId, asker: Option<RequestId>, why: &str) {
        self.give_back_unused(now, domain);
        if let Some(asker) = asker {
            self.deny_start(now, asker, domain, why);
        }
    }

    /// The answer to a barrier that a start waits for.
    pub(super) fn start_barrier(
        &mut self,
        now: &Now,
        domain: DomainId,
        asked: Instant,
        result: &Result<Duration, String>,
    ) {
        let Some(leasing) = &mut self.leasing else { return };
        let Some(pred) = leasing.starts.barrier_of(domain, asked) else { return };
        match result {
            Ok(took) => {
                let slow = leasing.recoveries.calls_for_a_drain(*took, pred);
                let drain = if slow { leasing.recoveries.write_drain() } else { Duration::ZERO };
                leasing.starts.drains_until(domain, now.instant.plus(drain));
            }
            Err(why) => {
                let taken = leasing.starts.take_quieting(domain);
                let why = format!(
                    "it ran on a host that is gone, and the barrier on its storages is not acknowledged: {why}"
                );
                self.start_comes_to_nothing(now, domain, taken.and_then(|asked| asked.asker), &why);
            }
        }
        self.starts_turn(now);
    }

    fn owns(&self, domain: DomainId) -> bool {
        self.leasing.as_ref().is_some_and(|leasing| leasing.leases.owns(domain))
    }

    /// What was acquired for a start that nobody wants any more blocks no other host.
    fn give_back_unused(&mut self, now: &Now, domain: DomainId) {
        if !self.owns(domain) || self.running_protected().contains(&domain) {
            return;
        }
        self.with_leasing(now, |context, leasing| {
            leasing.leases.starting(domain);
            leasing.leases.start_given_up(context, domain, false);
        });
    }

    /// The fencer's half, for starts.
    pub(super) fn starts_seen(&mut self, now: &Now) {
        let Some(half) = self.fencer.clone() else { return };
        let Some(leasing) = self.leasing.as_mut().filter(|leasing| !leasing.starts.is_empty()) else {
            return;
        };
        for news in leasing.starts.fencer(&half) {
            self.domains.settled = false;
            match news {
                StartNews::Runs(domain) if self.is_incoming(domain) => self.arrival_shown(now, domain),
                StartNews::GivenUp { domain, .. } if self.is_incoming(domain) => {
                    self.erase_incoming(now, domain);
                }
                StartNews::Runs(domain) => {
                    if let Some(leasing) = &mut self.leasing {
                        leasing.leases.start_shown(domain);
                    }
                }
                StartNews::GivenUp { domain, begun } => {
                    self.with_leasing(now, |context, leasing| {
                        leasing.leases.start_given_up(context, domain, begun);
                    });
                }
            }
        }
        self.publish();
    }

    /// Starts whose domain's last run here has ended by now, its entry with it.
    fn starts_after_an_end(&mut self, now: &Now) {
        let Some(leasing) = &mut self.leasing else { return };
        for domain in leasing.starts.leaving() {
            self.runs_again_here(now, domain);
        }
        let Some(leasing) = &mut self.leasing else { return };
        let leases = &leasing.leases;
        let ended: Vec<_> =
            leasing.starts.leaving().into_iter().filter(|domain| !leases.owns(*domain)).collect();
        for domain in ended {
            let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_leaving(domain));
            let Some(Asked { asker: Some(asker), report, .. }) = taken else { continue };
            if let Err(why) = self.start_wanted(now, asker, domain, report) {
                self.deny_start(now, asker, domain, &why);
            }
        }
    }

    /// A domain whose last run here cannot be shown to be over, since no barrier can be written to its storages, would be locked
    /// for ever: after `unknown_hold`, in which what may still land has landed (R11), it runs again here under the same term.
    fn runs_again_here(&mut self, now: &Now, domain: DomainId) {
        let hold = self.config.unknown_hold;
        let Some(leasing) = &mut self.leasing else { return };
        let Some(term) = leasing.leases.may_run_again_here(domain, hold, now.instant) else { return };
        if leasing.starts.is_restored(domain) || self.may_start(now).is_err() {
            return;
        }
        let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_leaving(domain));
        let Some(Asked { asker: Some(asker), report, .. }) = taken else { return };
        let text = format!(
            "domain {domain} runs again here: no barrier can show that what its last run wrote has landed"
        );
        self.desk.note(now, LogLevel::Warn, "start-unproven", text);
        self.open_token(now, domain, term, asker, report);
    }

    /// Who waits for too long is told why.
    fn answer_the_late(&mut self, now: &Now) {
        let late = self.leasing.as_ref().map(|leasing| leasing.starts.late(now.instant)).unwrap_or_default();
        for (domain, why) in late {
            let asker = self.leasing.as_mut().and_then(|leasing| leasing.starts.tells_to_try_again(domain));
            if let Some(asker) = asker {
                self.deny_start(now, asker, domain, why);
            }
        }
        let forgotten = self.leasing.as_ref().map(|leasing| leasing.starts.forgotten(now.instant));
        for domain in forgotten.unwrap_or_default() {
            if let Some(leasing) = &mut self.leasing {
                leasing.starts.take_quieting(domain);
            }
            self.give_back_unused(now, domain);
        }
    }

    /// The barrier is acknowledged, and the drain after it over where there was one.
    fn start_is_drained(&mut self, now: &Now, domain: DomainId, term: Term) {
        let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_quieting(domain));
        let Some(Asked { asker: Some(asker), report, .. }) = taken else { return };
        match self.may_start(now) {
            Ok(()) if self.owns(domain) => self.open_token(now, domain, term, asker, report),
            Ok(()) => self.start_comes_to_nothing(now, domain, Some(asker), "its lease has ended again"),
            Err(why) => self.start_comes_to_nothing(now, domain, Some(asker), &why),
        }
    }

    /// Asks libvirt what became of starts that show nothing; tells those who wait that the lease is over.
    pub(super) fn starts_turn(&mut self, now: &Now) {
        let ended = matches!(self.phase, Phase::Ending(_) | Phase::Over);
        let Some(leasing) = self.leasing.as_mut().filter(|leasing| !leasing.starts.is_empty()) else {
            return;
        };
        self.domains.settled = false;
        for token in leasing.starts.unexplained(now.instant) {
            self.desk.push(Command::AskActivity { domain: token.domain, opened: token.opened });
        }
        if ended {
            for asker in leasing.starts.lost() {
                self.desk.reply(asker, false, "this host's own lease has ended");
            }
            return;
        }
        for (domain, term) in leasing.starts.drained(now.instant) {
            self.start_is_drained(now, domain, term);
        }
        self.starts_after_an_end(now);
        self.answer_the_late(now);
    }

    /// Whether this host may start anything now, and why not.
    pub(super) fn may_start(&self, now: &Now) -> Result<(), String> {
        match &self.phase {
            Phase::Held if self.lease_is_live(now.instant) => Ok(()),
            Phase::Held => Err("this host's own lease has just ended".to_owned()),
            Phase::Ending(ending) => Err(format!("this host is being fenced ({})", ending.reason)),
            Phase::Disarmed => Err("this host is in maintenance: `leasefence arm` first".to_owned()),
            Phase::Weakening(weakening) if weakening.to == HostState::Disarmed => {
                Err("this host enters maintenance".to_owned())
            }
            Phase::Weakening(_) | Phase::Over => Err("this host has released its lease".to_owned()),
            _ => Err(format!("{NOT_YET} ({})", self.summary())),
        }
    }

    /// Why a start's lease was not acquired, for the user who started it.
    pub(super) fn why_not_acquired(&self, outcome: &AcquireOutcome) -> String {
        match outcome {
            AcquireOutcome::Busy { who, conflict } => {
                let who = self.name_of(*who);
                match conflict {
                    Conflict::Own => format!("busy: {who} owns it"),
                    Conflict::Incoming => format!("busy: it is being migrated to {who}"),
                    Conflict::Want => format!("busy: {who} is acquiring it"),
                }
            }
            AcquireOutcome::Unreadable(slot) => {
                format!("slot {slot}'s sector of its lease page is unreadable: `leasefence lease list`")
            }
            AcquireOutcome::Full => "its lease page is full (62 domains): exempt or remove one".to_owned(),
            AcquireOutcome::GaveUp => "other hosts got in between at each try: start it again".to_owned(),
            AcquireOutcome::ReadFailed(why) => format!("its lease page cannot be read: {why}"),
            AcquireOutcome::Unknown => {
                "a write of its lease page has an unknown outcome: start it again in a minute".to_owned()
            }
            AcquireOutcome::LostLease => "this host's own lease ended".to_owned(),
            AcquireOutcome::NotRecoverable(why) => why.clone(),
            AcquireOutcome::Acquired(_) | AcquireOutcome::AlreadyOwn(_) => {
                "its lease has ended again".to_owned()
            }
        }
    }

    /// A host's name as in its record, for people.
    pub(super) fn name_of(&self, who: Incarnation) -> String {
        let record =
            self.watch.as_ref().and_then(|watch| watch.slot(who.slot)).and_then(|slot| slot.record());
        record.map_or_else(|| format!("host {who}"), |record| record.host_name.as_str().to_owned())
    }
}

/// The sentence for a domain whose entry is of a run that has not been shown to be over.
pub(super) const LAST_RUN_NOT_ENDED: &str = "its last run here has not ended yet, its last writes may still leave this host: start it again in some seconds";

/// The sentence for a host that is on its way to its lease.
pub(super) const NOT_YET: &str =
    "this host does not hold its lease yet: try again once `leasefence status` says that it is held";

impl Leasing {
    /// True while a start of a user is under way.
    pub(super) fn has_starts(&self) -> bool {
        !self.starts.is_empty()
    }
}
