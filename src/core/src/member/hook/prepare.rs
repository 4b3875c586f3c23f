//! `prepare begin`, and `restore begin` before it: a start is asked for. Its lease is acquired, or what stands against it is waited
//! for, and once that is over its token is opened.

use super::{LAST_RUN_NOT_ENDED, NOT_YET, ONLY_ITS_MIGRATION};
use crate::ids::{DomainId, Term};
use crate::lease::{AcquireKind, AcquireRequest};
use crate::member::domains::spec_of;
use crate::member::{DomainReport, Member, RequestId};
use crate::planted::planted;
use crate::recovery::{Recovery, Stage};
use crate::time::{Instant, Now};

impl Member {
    /// `prepare begin`: from here on its process may appear, once it is permitted.
    pub(super) fn start_wanted(
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
        // Its lease is being acquired as incoming: that must not be taken for this start's.
        if leasing.starts.arrives(domain) {
            return Err(ONLY_ITS_MIGRATION.to_owned());
        }
        let restores = leasing.starts.is_restored(domain);
        if let Some(recovery) = leasing.recoveries.get(domain).filter(|r| r.stage.is_under_way()) {
            let opened = start_of(recovery, restores)?;
            self.permit(domain, opened, id, false);
            return Ok(());
        }
        if leasing.leases.tokens().iter().any(|token| token.domain == domain) {
            return Err("a start of it that was permitted before this agent began is not settled yet: try again in some seconds".to_owned());
        }
        if let Some(term) = leasing.starts.open_term(domain) {
            if restores {
                return Err("a start of it is not settled yet: try again in some seconds".to_owned());
            }
            // QEMU may have run under it for a moment: what that has sent must have landed first (R6).
            if leasing.starts.has_begun(domain) && !planted!(TokenCoversTwoRuns) {
                return Err(LAST_RUN_NOT_ENDED.to_owned());
            }
            // Libvirt starts a domain once at a time: the start before has ended, and its token covers this one too.
            leasing.starts.permit(domain, term, report, now.instant);
            self.permit(domain, now.instant, id, false);
            return Ok(());
        }
        let overtaken = if leasing.starts.is_quieting(domain) {
            let joined = if restores { None } else { leasing.starts.joins(id, report, now.instant) };
            joined.ok_or("another start of it has not been given up yet: try again in half a minute")?
        } else if leasing.leases.owns(domain) {
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
    pub(super) fn restore_wanted(
        &mut self,
        now: &Now,
        id: RequestId,
        domain: DomainId,
    ) -> Result<(), String> {
        self.may_start(now)?;
        if let Some(leasing) = &mut self.leasing {
            leasing.starts.restores(domain);
        }
        self.desk.reply(id, true, "");
        Ok(())
    }

    /// The domain is owned here: its token is opened, and the page carries it before the hook is answered.
    pub(super) fn open_token(
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
}

/// When the token was opened of a recovery under way: its start is the one that is asked for, by the agent itself or by a user who
/// was faster.
fn start_of(recovery: &Recovery, restores: bool) -> Result<Instant, String> {
    if restores {
        return Err("Leasefence is restarting it here already, and not from a saved image".to_owned());
    }
    if recovery.stage != Stage::Starting {
        let (stage, reason) = (recovery.stage.as_str(), &recovery.reason);
        return Err(format!("Leasefence is restarting it here already ({stage}: {reason})"));
    }
    if recovery.begun && !planted!(RecoveryRunsTwice) {
        return Err(LAST_RUN_NOT_ENDED.to_owned());
    }
    Ok(recovery.opened)
}
