//! When leases and recoveries work, and what follows from what they say.

use super::Leasing;
use crate::ids::DomainId;
use crate::lease::LeaseEvent;
use crate::member::domains::not_quiet;
use crate::member::phase::Phase;
use crate::member::{Command, LogLevel, Member, StartFailure};
use crate::planted::planted;
use crate::recovery::RecoveryAction;
use crate::storage::{IoDone, IoOp, Step};
use crate::time::{Instant, Now};

impl Member {
    /// The next operation of lease work, if it may write.
    pub(in crate::member) fn lease_operation(&mut self, now: &Now) -> Option<IoOp> {
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
    pub(in crate::member) fn lease_done(&mut self, now: &Now, done: &IoDone) {
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
    pub(in crate::member) fn lease_turn(&mut self, now: &Now) {
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
            LeaseEvent::Mended(text) => self.desk.note(LogLevel::Warn, "lease-mended", text),
            LeaseEvent::Note(text) => self.desk.note(LogLevel::Info, "lease", text),
            LeaseEvent::Ended { domain, entry } => {
                let text = format!(
                    "the lease of domain {domain} ended: {:?} under term {}",
                    entry.state, entry.term
                );
                self.desk.note(LogLevel::Info, "lease", text);
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
                self.arrivals_seen(now);
            }
            LeaseEvent::Barrier { domain, asked } => self.want_barrier(domain, asked),
            LeaseEvent::NotQuiet { domain, why } => {
                let text = format!("domain {domain}: {}", not_quiet(&why));
                self.desk.note(LogLevel::Warn, "not-quiet", text);
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
        let holds = matches!(self.phase, Phase::Held);
        self.with_leasing(now, |context, leasing| {
            let Leasing { leases, recoveries, .. } = leasing;
            recoveries.poll(context, leases, holds)
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
            RecoveryAction::Note(note) => self.desk.note(note.level, note.event, note.text),
        }
    }
}
