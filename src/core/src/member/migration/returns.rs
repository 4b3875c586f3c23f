//! The doubt about a source that libvirt has resumed though its destination may run it, or that may have been (PROTOCOL 4): its
//! processes are stopped until that is known, killed once it has run elsewhere, and go on once nobody else has it.

use std::time::Duration;

use super::MigrationStep;
use super::migrations::{Beside, Return, Told};
use crate::ids::DomainId;
use crate::lease::{AcquireKind, AcquireRequest, Destination, Standing};
use crate::member::{Command, LogLevel, Member};
use crate::planted::planted;
use crate::time::{Instant, Now};

/// Between two looks at the key.
pub(in crate::member) const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The same where nothing is being decided: libvirt migrates it, or it is being killed.
const LOOK_LATER: Duration = Duration::from_secs(1);

/// Libvirt that has not said for so long whether it migrates a domain away, which runs elsewhere, is waited for no longer.
const SILENT: Duration = Duration::from_secs(30);

/// What people are told of a source that is stopped in doubt.
pub(in crate::member) const STANDS_STILL: &str =
    "it may run on the host that it was to move to, and is stopped (SIGSTOP) here until that is known";

impl Member {
    pub(in crate::member) fn look_at_return(&mut self, now: &Now, domain: DomainId, told: Told) {
        let Some(leasing) = &mut self.leasing else { return };
        let new = Return::new(now.instant, told);
        let known = leasing.migrations.returns.entry(domain).or_insert(new);
        // What was read before this says nothing of it.
        let told = if known.told == Told::Nothing || told == Told::Resumed { told } else { known.told };
        *known =
            Return { halted: known.halted, beside: known.beside, unanswered: known.unanswered, told, ..new };
        self.domains.settled = false;
    }

    pub(in crate::member) fn decide_return(
        &mut self,
        now: &Now,
        domain: DomainId,
        back: Return,
        standing: Standing,
    ) {
        if planted!(ResumedSourceRunsOn) {
            return self.look_again(now, domain, LOOK_LATER);
        }
        if matches!(standing, Standing::Top | Standing::BelowTheGone | Standing::Unread(None))
            && let Some(back) = self.returning(domain)
        {
            // What libvirt has told was of a migration that is over: who is let in later, is let in for another one.
            (back.beside, back.told, back.unanswered) = (Beside::Nobody, Told::Nothing, None);
        }
        match standing {
            // By post-copy it runs there, and needs what is here, until libvirt has sent the rest of its memory.
            Standing::Overtaken(by) | Standing::Unread(Some(by))
                if back.told.may_migrate_to(Some(by)) && !back.is_silent(now) =>
            {
                self.ask_job(now, domain, Some(by));
            }
            Standing::Overtaken(by) => {
                self.look_again(now, domain, LOOK_LATER);
                if self.shows_process(domain) {
                    let who = self.name_of(by.who);
                    let reason = format!("it was migrated to {who}, which has run it since");
                    self.desk.push(Command::Destroy { domain, reason });
                }
            }
            // Nothing speaks for a migration but that one host's sector cannot be read: no guest stands still for that.
            Standing::Unknown(_) if !self.is_outgoing(domain) && !back.halted => {
                self.look_again(now, domain, LOOK_LATER);
            }
            // What it was stopped for has failed, and a further migration of it waits for it.
            Standing::Arriving { destination, is_last: true }
                if back.halted && back.beside.is_over(destination) =>
            {
                self.goes_on_to_leave(now, domain);
            }
            Standing::Arriving { destination, is_last }
                if back.told.may_migrate_to(is_last.then_some(destination)) =>
            {
                self.leave_alone(now, domain, back, Some(destination));
            }
            Standing::Unknown(_) if back.told.may_migrate_to(None) => {
                self.leave_alone(now, domain, back, None);
            }
            Standing::Arriving { destination, is_last: true } => {
                self.halt(now, domain, Beside::Destination(destination));
            }
            // What runs now may have gone away since it was seen that nobody has it.
            Standing::Arriving { .. } | Standing::Unknown(_) => {
                self.halt(now, domain, if back.halted { back.beside } else { Beside::Unknown });
            }
            // In maintenance nothing is acquired; and nobody runs it but this host. It is looked at until that is over.
            Standing::BelowTheGone if self.leasing.as_ref().is_some_and(|l| l.leases.is_closed()) => {
                self.let_go_on(now, domain, Return { goes_on: false, ..back });
                self.look_again(now, domain, LOOK_LATER);
            }
            Standing::BelowTheGone => {
                self.look_again(now, domain, LOOK_AGAIN);
                if let Some(leasing) = &mut self.leasing {
                    leasing.leases.acquire(AcquireRequest { domain, kind: AcquireKind::Retake });
                }
            }
            Standing::Top => self.let_go_on(now, domain, back),
            // What the list says may be old: whether it is to be killed the own sector tells.
            Standing::Unread(Some(_)) if self.shows_process(domain) => {
                self.halt(now, domain, Beside::Unknown);
            }
            Standing::Unread(Some(_)) => self.look_again(now, domain, LOOK_LATER),
            Standing::Unread(None) if back.halted => self.look_again(now, domain, LOOK_AGAIN),
            // The next migration of it is another one, of which libvirt is asked anew.
            Standing::Unread(None) => {
                if let Some(leasing) = &mut self.leasing {
                    let again = Return { goes_on: back.goes_on, ..Return::new(now.instant, Told::Nothing) };
                    leasing.migrations.returns.insert(domain, again);
                }
                self.look_again(now, domain, LOOK_LATER);
            }
        }
    }

    /// An own domain that may run on another host too, and is looked at.
    pub(in crate::member) fn returning(&mut self, domain: DomainId) -> Option<&mut Return> {
        self.leasing.as_mut()?.migrations.returns.get_mut(&domain)
    }

    fn look_again(&mut self, now: &Now, domain: DomainId, after: Duration) {
        if let Some(back) = self.returning(domain) {
            (back.since, back.due) = (now.instant, now.instant.plus(after));
        }
    }

    /// Libvirt migrates it, as far as is known. What was told to go on is told so twice, lest the one signal reaches nobody.
    fn leave_alone(&mut self, now: &Now, domain: DomainId, back: Return, beside: Option<Destination>) {
        if back.goes_on {
            self.desk.push(Command::Migration { domain, step: MigrationStep::GoOn });
        }
        if let Some(back) = self.returning(domain) {
            back.goes_on = false;
        }
        self.ask_job(now, domain, beside);
    }

    fn ask_job(&mut self, now: &Now, domain: DomainId, beside: Option<Destination>) {
        self.look_again(now, domain, LOOK_LATER);
        if let Some(back) = self.returning(domain) {
            back.unanswered.get_or_insert(now.instant);
        }
        self.desk.push(Command::Migration { domain, step: MigrationStep::AskJob { beside } });
    }

    /// Libvirt, asked after this destination was seen, says whether it migrates the domain away. A libvirt that does not say so is
    /// asked again: a source that is stopped in the middle of its migration would stand still for good.
    pub(in crate::member) fn job_told(
        &mut self,
        now: &Now,
        domain: DomainId,
        beside: Option<Destination>,
        migrates: Option<bool>,
    ) {
        let Some(back) = self.returning(domain) else { return };
        if migrates.is_some() {
            back.unanswered = None;
        }
        // What it has said of a destination that was seen says more than of none.
        let says_more = beside.is_some() || back.told == Told::Nothing;
        if migrates == Some(false) && back.told != Told::Resumed && says_more {
            (back.since, back.due, back.told) = (now.instant, now.instant, Told::Idle(beside));
        }
    }

    /// It may run on its destination: it stands still here until that is known.
    fn halt(&mut self, now: &Now, domain: DomainId, beside: Beside) {
        self.look_again(now, domain, LOOK_AGAIN);
        let has_process = self.shows_process(domain);
        let Some(leasing) = &mut self.leasing else { return };
        let Some(back) = leasing.migrations.returns.get_mut(&domain) else { return };
        let fresh = !std::mem::replace(&mut back.halted, true);
        (back.goes_on, back.beside) = (false, beside);
        // An agent that is restarted meanwhile must know that it is this one that goes on. One that has crashed here has not moved.
        if has_process {
            leasing.leases.outgoing(domain, true);
        }
        self.publish();
        // At each look: a signal that reached nobody is no halt.
        self.desk.push(Command::Migration { domain, step: MigrationStep::Halt });
        if fresh {
            self.desk.note(LogLevel::Warn, "migration", format!("domain {domain}: {STANDS_STILL}"));
        }
    }

    /// It was stopped beside a destination that has given up, or is gone, and libvirt migrates it to another one by now: that would
    /// wait for it for ever. From here on it is one that libvirt migrates, as far as is known.
    fn goes_on_to_leave(&mut self, now: &Now, domain: DomainId) {
        let Some(leasing) = &mut self.leasing else { return };
        leasing.leases.outgoing(domain, false);
        let again = Return { goes_on: true, ..Return::new(now.instant, Told::Nothing) };
        leasing.migrations.returns.insert(domain, again);
        self.look_again(now, domain, LOOK_AGAIN);
        self.publish();
        self.desk.push(Command::Migration { domain, step: MigrationStep::GoOn });
        let text = format!("domain {domain} has not moved, and is being migrated again: it goes on here");
        self.desk.note(LogLevel::Info, "migration", text);
    }

    /// Nobody else has it: it goes on here, once storage says so too. It is told so at two looks, lest the one signal reaches nobody;
    /// and whatever is known of it: an agent before this one may have stopped it.
    fn let_go_on(&mut self, now: &Now, domain: DomainId, back: Return) {
        let Some(leasing) = &mut self.leasing else { return };
        if !leasing.leases.is_written(domain) || leasing.leases.is_acquiring(domain) {
            return self.look_again(now, domain, LOOK_AGAIN);
        }
        let was_outgoing = leasing.leases.is_outgoing(domain);
        if back.goes_on {
            leasing.migrations.returns.remove(&domain);
        } else {
            leasing.leases.outgoing(domain, false);
            // A migration that begins before the second look is another one, and not to be stopped.
            let again = Return { goes_on: true, ..Return::new(now.instant, Told::Nothing) };
            leasing.migrations.returns.insert(domain, again);
            self.look_again(now, domain, LOOK_AGAIN);
        }
        self.desk.push(Command::Migration { domain, step: MigrationStep::GoOn });
        if was_outgoing && !back.goes_on {
            let text = if back.halted { "goes on here" } else { "stays here" };
            let text = format!("domain {domain} has not moved: it {text}");
            self.desk.note(LogLevel::Info, "migration", text);
        }
    }
}

impl Return {
    pub(in crate::member) fn new(now: Instant, told: Told) -> Self {
        Self {
            since: now,
            due: now,
            told,
            unanswered: None,
            halted: false,
            beside: Beside::Unknown,
            goes_on: false,
        }
    }

    /// True when libvirt has been asked for long whether it migrates the domain, and has said nothing.
    fn is_silent(&self, now: &Now) -> bool {
        self.unanswered.is_some_and(|since| now.instant.since_by_faster(since) >= SILENT)
    }
}
