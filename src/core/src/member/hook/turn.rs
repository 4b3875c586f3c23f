//! What time decides for starts under way: after every input.

use crate::ids::DomainId;
use crate::member::phase::Phase;
use crate::member::user_starts::Asked;
use crate::member::{Command, LogLevel, Member};
use crate::planted::planted;
use crate::time::{Instant, Now};

impl Member {
    /// Asks libvirt what became of starts that show nothing; tells those who wait that the lease is over.
    pub(in crate::member) fn starts_turn(&mut self, now: &Now) {
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

    /// Starts whose domain's last run here has ended by now, its entry with it.
    fn starts_after_an_end(&mut self, now: &Now) {
        let Some(leasing) = &mut self.leasing else { return };
        for (domain, since) in leasing.starts.leaving() {
            self.runs_again_here(now, domain, since);
        }
        let Some(leasing) = &mut self.leasing else { return };
        let leases = &leasing.leases;
        let ended: Vec<_> =
            leasing.starts.leaving().into_iter().filter(|(domain, _)| !leases.owns(*domain)).collect();
        for (domain, _) in ended {
            let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_leaving(domain));
            let Some(Asked { asker: Some(asker), report, .. }) = taken else { continue };
            if let Err(why) = self.start_wanted(now, asker, domain, report) {
                self.deny_start(asker, domain, &why);
            }
        }
    }

    /// A domain whose last run here cannot be shown to be over, since no barrier can be written to its storages, would be locked
    /// for ever: after `unknown_hold`, in which what may still land has landed (R11), it runs again here under the same term.
    fn runs_again_here(&mut self, now: &Now, domain: DomainId, asked: Instant) {
        let hold = self.config.unknown_hold;
        let Some(leasing) = &mut self.leasing else { return };
        let Some(term) = leasing.leases.may_run_again_here(domain, hold, now.instant) else { return };
        if leasing.starts.is_restored(domain)
            || self.may_start(now).is_err()
            || !planted!(MovedRunsAgain) && self.may_have_moved(now, domain, asked)
        {
            return;
        }
        let taken = self.leasing.as_mut().and_then(|leasing| leasing.starts.take_leaving(domain));
        let Some(Asked { asker: Some(asker), report, .. }) = taken else { return };
        let text = format!(
            "domain {domain} runs again here: no barrier can show that what its last run wrote has landed"
        );
        self.desk.note(LogLevel::Warn, "start-unproven", text);
        self.open_token(now, domain, term, asker, report);
    }

    /// Who waits for too long is told why.
    fn answer_the_late(&mut self, now: &Now) {
        let late = self.leasing.as_ref().map(|leasing| leasing.starts.late(now.instant)).unwrap_or_default();
        for (domain, why) in late {
            let asker = self.leasing.as_mut().and_then(|leasing| leasing.starts.tells_to_try_again(domain));
            if let Some(asker) = asker {
                self.deny_start(asker, domain, why);
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
}
