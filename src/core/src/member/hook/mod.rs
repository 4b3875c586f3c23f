//! What libvirt's hook asks before a domain starts here, whoever starts it: no protected domain starts without winning its
//! lease (R9). A start is permitted once its own entry is acknowledged and its token stands in the page; the driver looks at
//! the fencer's half once more between the two and the answer.

mod acquired;
mod prepare;
mod turn;
mod under_token;
mod why_not;

use super::{Command, HookOperation, HookQuestion, LogLevel, Member, RequestId};
use crate::ids::DomainId;
use crate::time::{Instant, Now};

impl Member {
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
            self.deny_start(id, domain, &why);
        }
    }

    pub(super) fn deny_start(&mut self, id: RequestId, domain: DomainId, why: &str) {
        let text = format!("domain {domain} may not start here: {why}");
        self.desk.note(LogLevel::Warn, "start-denied", text);
        self.desk.reply(id, false, why);
    }

    pub(super) fn overtake(&mut self, asker: Option<RequestId>) {
        if let Some(asker) = asker {
            self.desk.reply(asker, false, "libvirt has given this start up");
        }
    }

    pub(super) fn permit(&mut self, domain: DomainId, opened: Instant, id: RequestId, token_is_new: bool) {
        self.publish();
        self.desk.push(Command::PermitStart { id, domain, opened, token_is_new });
    }
}

/// The sentence for a domain whose entry is of a run that has not been shown to be over.
pub(super) const LAST_RUN_NOT_ENDED: &str = "its last run here has not ended yet, its last writes may still leave this host: start it again in some seconds";

/// The sentence for a start beside a migration to this host.
pub(super) const ONLY_ITS_MIGRATION: &str = "it is being migrated to this host: only that may start it";

/// The sentence for a host that is on its way to its lease.
pub(super) const NOT_YET: &str =
    "this host does not hold its lease yet: try again once `leasefence status` says that it is held";
