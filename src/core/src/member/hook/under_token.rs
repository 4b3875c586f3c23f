//! What follows once a start is permitted: libvirt's further steps, and how its token is closed.

use super::{LAST_RUN_NOT_ENDED, NOT_YET};
use crate::ids::DomainId;
use crate::member::user_starts::StartNews;
use crate::member::{Member, RequestId, StartActivity};
use crate::planted::planted;
use crate::time::{Instant, Now};

impl Member {
    /// `start begin`: QEMU is about to be run, under a token that is open since `prepare`.
    pub(super) fn start_begins(&mut self, now: &Now, id: RequestId, domain: DomainId) -> Result<(), String> {
        self.may_start(now)?;
        let leasing = self.leasing.as_mut().ok_or(NOT_YET)?;
        let recovers = match leasing.recoveries.begins(domain) {
            Some(false) if !planted!(RecoveryRunsTwice) => return Err(LAST_RUN_NOT_ENDED.to_owned()),
            begins => begins.is_some(),
        };
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
    pub(super) fn start_has_run(&mut self, now: &Now, id: RequestId, domain: DomainId) -> Result<(), String> {
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
    pub(in crate::member) fn start_refused(&mut self, now: &Now, domain: DomainId, opened: Instant) {
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
    pub(super) fn start_released(&mut self, now: &Now, domain: DomainId) {
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
    pub(in crate::member) fn start_activity(
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

    /// The fencer's half, for starts.
    pub(in crate::member) fn starts_seen(&mut self, now: &Now) {
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
}
