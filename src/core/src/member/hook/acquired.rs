//! From the end of a start's acquire to its token: the barrier where its domain was taken from a gone host, and the way back where
//! nothing comes of it.

use std::time::Duration;

use super::LAST_RUN_NOT_ENDED;
use crate::format::{LeaseBase, LeaseEntry};
use crate::ids::{DomainId, Term};
use crate::lease::AcquireOutcome;
use crate::member::user_starts::Asked;
use crate::member::{Command, Member, RequestId};
use crate::planted::planted;
use crate::recovery::StartBarrier;
use crate::time::{Instant, Now};

impl Member {
    /// An acquire ended that a start waits for. False when none does.
    pub(in crate::member) fn start_acquired(
        &mut self,
        now: &Now,
        domain: DomainId,
        outcome: &AcquireOutcome,
    ) -> bool {
        let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_acquiring(domain));
        let Some(asked) = taken else { return false };
        if asked.arrives() {
            self.arrival_acquired(now, domain, asked, outcome);
            return true;
        }
        let asker = asked.asker;
        let entry = match outcome {
            AcquireOutcome::Acquired(entry) => Ok(entry),
            // Of before this agent: nothing is known yet of how that run ended. The next try waits for its end (R6).
            AcquireOutcome::AlreadyOwn(_) if self.owns(domain) => {
                if let Some(asker) = asker {
                    self.deny_start(asker, domain, LAST_RUN_NOT_ENDED);
                }
                return true;
            }
            refused => Err(self.why_not_acquired(refused)),
        };
        let permitted = entry.and_then(|entry| {
            self.may_start(now)?;
            // A saved image is not kept waiting: whether it still is of the last run is asked anew.
            let kept = asker.is_some() || (asked.kept && entry.base != LeaseBase::Saved);
            kept.then_some(*entry).ok_or_else(|| "libvirt has given this start up".to_owned())
        });
        match permitted {
            Ok(entry) => self.start_owned(now, &entry, asked),
            Err(why) => self.start_comes_to_nothing(now, domain, asker, &why),
        }
        true
    }

    /// The lease is acquired that a start waits for: it is permitted, or waits for its barrier, or for the hook to ask again.
    fn start_owned(&mut self, now: &Now, entry: &LeaseEntry, asked: Asked) {
        let (LeaseEntry { domain, term, pred, .. }, definition_hash) = (*entry, asked.report.definition_hash);
        // As before every recovery's start: what a gone host has sent must have landed, and so this has (R6).
        let taken = entry.base == LeaseBase::Recoverable && !planted!(NoBarrier);
        match asked.asker {
            Some(asker) if !taken => self.open_token(now, domain, term, asker, asked.report),
            _ => {
                let mark = now.instant;
                let barrier = if taken { StartBarrier::Asked(mark) } else { StartBarrier::Draining(mark) };
                if let Some(leasing) = &mut self.leasing {
                    leasing.leases.starting(domain);
                    leasing.starts.wait_for_barrier((term, pred), barrier, asked);
                }
                if taken {
                    self.desk.push(Command::Barrier { domain, asked: mark, definition_hash });
                }
            }
        }
    }

    pub(super) fn start_comes_to_nothing(
        &mut self,
        now: &Now,
        domain: DomainId,
        asker: Option<RequestId>,
        why: &str,
    ) {
        self.give_back_unused(now, domain);
        if let Some(asker) = asker {
            self.deny_start(asker, domain, why);
        }
    }

    /// The answer to a barrier that a start waits for.
    pub(in crate::member) fn start_barrier(
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
                let until = leasing.recoveries.drains_until(*took, pred, now.instant);
                leasing.starts.drains_until(domain, until.unwrap_or(now.instant));
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

    /// The barrier is acknowledged, and the drain after it over where there was one.
    pub(super) fn start_is_drained(&mut self, now: &Now, domain: DomainId, term: Term) {
        let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_quieting(domain));
        let Some(Asked { asker: Some(asker), report, .. }) = taken else { return };
        match self.may_start(now) {
            Ok(()) if self.owns(domain) => self.open_token(now, domain, term, asker, report),
            Ok(()) => self.start_comes_to_nothing(now, domain, Some(asker), "its lease has ended again"),
            Err(why) => self.start_comes_to_nothing(now, domain, Some(asker), &why),
        }
    }

    /// What was acquired for a start that nobody wants any more blocks no other host.
    pub(super) fn give_back_unused(&mut self, now: &Now, domain: DomainId) {
        if !self.owns(domain) || self.running_protected().contains(&domain) {
            return;
        }
        self.with_leasing(now, |context, leasing| {
            leasing.leases.starting(domain);
            leasing.leases.start_given_up(context, domain, false);
        });
    }

    fn owns(&self, domain: DomainId) -> bool {
        self.leasing.as_ref().is_some_and(|leasing| leasing.leases.owns(domain))
    }
}
