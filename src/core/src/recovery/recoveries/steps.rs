//! The steps of one recovery: acquired, barrier, token, start, running or given back.

use super::Recoveries;
use crate::format::LeaseEntry;
use crate::ids::DomainId;
use crate::lease::{AcquireOutcome, Conflict, EndReason, GoneProof, LeaseContext, Leases, page_of};
use crate::member::LogLevel;
use crate::planted::planted;
use crate::recovery::recovery::{Recovery, Stage};
use crate::recovery::start_barrier::StartBarrier;
use crate::recovery::types::RecoveryAction;
use crate::time::ObserverDeadline;

impl Recoveries {
    pub(super) fn acquired(
        &mut self,
        ctx: &LeaseContext<'_>,
        leases: &mut Leases,
        domain: DomainId,
        outcome: &AcquireOutcome,
    ) {
        if self.domains.get(&domain).is_none_or(|recovery| recovery.stage != Stage::Acquiring) {
            return;
        }
        match outcome {
            AcquireOutcome::Acquired(entry) => {
                if let Some(recovery) = self.domains.get_mut(&domain) {
                    recovery.entry = *entry;
                }
                self.say(
                    LogLevel::Info,
                    format!("domain {domain}: its lease is acquired, term {}", entry.term),
                );
                if planted!(NoBarrier) {
                    return self.start(ctx, leases, domain);
                }
                // Issued after S4's acknowledgement: whatever the dead host's storage still held lands before it.
                let asked = ctx.now.instant;
                self.go(ctx, domain, Stage::Barrier(StartBarrier::Asked(asked)), "waiting for the barrier");
                self.actions.push_back(RecoveryAction::Barrier { domain, asked });
            }
            AcquireOutcome::Busy { who, conflict: Conflict::Own | Conflict::Incoming } => {
                self.go(ctx, domain, Stage::LeftToPeer, &format!("host {who} has it"));
            }
            AcquireOutcome::AlreadyOwn(_) | AcquireOutcome::NotRecoverable(_) | AcquireOutcome::LostLease => {
                self.say(
                    LogLevel::Info,
                    format!("domain {domain} is not recovered here: {}", words(outcome)),
                );
                self.domains.remove(&domain);
                leases.scan_page(page_of(&self.layout, domain));
            }
            AcquireOutcome::Unreadable(_) | AcquireOutcome::Full => {
                self.say(LogLevel::Error, format!("domain {domain} cannot be recovered: {}", words(outcome)));
                self.wait_a_round(ctx, domain, &words(outcome));
            }
            AcquireOutcome::Busy { .. }
            | AcquireOutcome::GaveUp
            | AcquireOutcome::ReadFailed(_)
            | AcquireOutcome::Unknown => self.wait_a_round(ctx, domain, &words(outcome)),
        }
    }

    /// Opens the token, and asks for the start once the page carries it.
    pub(super) fn start(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases, domain: DomainId) {
        let Some(recovery) = self.domains.get_mut(&domain) else { return };
        let entry = recovery.entry;
        // The last look before a start: the entry is own, acknowledged, in memory, and the lease is valid.
        let stands =
            leases.entry(domain).is_some_and(|own| own.term == entry.term && own.state == entry.state);
        if self.lost || !ctx.may_write || !stands || !leases.owns(domain) {
            self.domains.remove(&domain);
            return;
        }
        (recovery.opened, recovery.begun) = (ctx.now.instant, false);
        recovery.go(Stage::Starting, "starting", ctx.now);
        self.actions.push_back(RecoveryAction::Publish);
        let (term, definition_hash) = (entry.term, entry.definition_hash);
        self.actions.push_back(RecoveryAction::Start { domain, term, definition_hash });
    }

    pub(super) fn locked(&mut self, ctx: &LeaseContext<'_>, domain: DomainId) {
        let now = ctx.now.instant;
        let Some(recovery) = self.domains.get_mut(&domain) else { return };
        let since = *recovery.locked_since.get_or_insert(now);
        let patient = !ObserverDeadline(since.plus(self.policy.lock_patience)).reached(now);
        if !patient || planted!(LockCountsAsFailure) {
            self.failed(ctx, domain, "its image is still locked after twice the storage server's lease time");
            return;
        }
        let stage =
            Stage::LockWait { proof: Some(GoneProof::new(now)), at: now.plus(self.policy.lock_retry) };
        recovery.go(stage, "its image is still locked by the dead host: tried again each second", ctx.now);
    }

    pub(super) fn failed(&mut self, ctx: &LeaseContext<'_>, domain: DomainId, why: &str) {
        self.say(LogLevel::Warn, format!("domain {domain} did not start: {why}"));
        self.go(ctx, domain, Stage::GivingUp { proof: GoneProof::new(ctx.now.instant) }, why);
    }

    /// No process, no token: the entry goes back, by base an orphan with one failure more.
    pub(super) fn give_back(
        &mut self,
        ctx: &LeaseContext<'_>,
        leases: &mut Leases,
        domain: DomainId,
        why: &str,
    ) {
        if self.lost || !ctx.may_write {
            self.domains.remove(&domain);
            return;
        }
        self.say(LogLevel::Warn, format!("domain {domain} is given back: {why}"));
        self.go(ctx, domain, Stage::Returning, why);
        leases.end(ctx, domain, EndReason::NeverRan);
    }

    /// A start that was permitted and failed, its process and token gone: CPUs may have run for a moment before libvirt gave
    /// up, so it ends like a crash, and the leases alone see to it (R6). A place of the limiter is not kept for that.
    pub(super) fn give_back_failed(&mut self, ctx: &LeaseContext<'_>, leases: &mut Leases, domain: DomainId) {
        let Some(recovery) = self.domains.remove(&domain).filter(|_| !self.lost && ctx.may_write) else {
            return;
        };
        self.say(LogLevel::Warn, format!("domain {domain} is given back: {}", recovery.reason));
        leases.end_once_quiet(ctx, domain, EndReason::NeverRan);
    }

    pub(super) fn ended(&mut self, leases: &mut Leases, domain: DomainId, entry: &LeaseEntry) {
        let ran = |recovery: &Recovery| matches!(recovery.stage, Stage::Running { .. });
        if self.domains.get(&domain).is_some_and(ran) {
            // Its process was proven gone before the entry was ended: the token, if it was open, is closed by that.
            self.domains.remove(&domain);
            self.actions.push_back(RecoveryAction::Publish);
        }
        if self.domains.get(&domain).is_some_and(|recovery| recovery.stage == Stage::Returning) {
            self.domains.remove(&domain);
            let state = entry.state.as_str();
            self.say(
                LogLevel::Info,
                format!("domain {domain} is {state} again, failures {}", entry.failures),
            );
        }
        // What ended as an orphan is looked for in the next round, by this host too.
        leases.scan_page(page_of(&self.layout, domain));
    }
}

/// An outcome that is no success, in words.
fn words(outcome: &AcquireOutcome) -> String {
    match outcome {
        AcquireOutcome::Acquired(_) => "acquired".into(),
        AcquireOutcome::AlreadyOwn(term) => format!("this host owns it already, term {term}"),
        AcquireOutcome::Busy { who, .. } => format!("host {who} is acquiring it"),
        AcquireOutcome::Unreadable(slot) => format!(
            "the lease page sector of slot {slot} is unreadable in both copies: it is mended when that host rejoins, or by `leasefence slot free {slot}`"
        ),
        AcquireOutcome::Full => "this host's sector of its lease page is full (62 domains)".into(),
        AcquireOutcome::NotRecoverable(why) | AcquireOutcome::ReadFailed(why) => why.clone(),
        AcquireOutcome::GaveUp => "other hosts got in between at each try".into(),
        AcquireOutcome::Unknown => "a write of the own lease page sector has an unknown outcome".into(),
        AcquireOutcome::LostLease => "this host's lease has ended".into(),
    }
}
