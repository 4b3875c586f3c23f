//! The source of a live migration (PROTOCOL 4): the end of its entry once the domain has moved away, and the doubt about one that
//! libvirt has resumed though its destination may run it. In doubt its processes are stopped, and looked after, not guessed about.

use std::time::Duration;

use super::migrations::Return;
use super::{Command, LogLevel, Member, MigrationNews, MigrationStep};
use crate::ids::DomainId;
use crate::lease::{AcquireKind, AcquireRequest, PageScan, Standing, page_of, shows};
use crate::time::{Instant, Now, ObserverDeadline};

/// Between two looks at the key.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The same where nothing is being decided: libvirt migrates it, or it is being killed.
const LOOK_LATER: Duration = Duration::from_secs(1);

/// Of a domain that has left, and that no other host is seen to have, an unreadable sector is read again for so long.
const READABLE_WITHIN: Duration = Duration::from_secs(10);
/// Libvirt that has not said for so long whether it migrates a domain away, which runs elsewhere, is waited for no longer.
const SILENT: Duration = Duration::from_secs(30);

/// What people are told of a source that is stopped in doubt.
pub(super) const STANDS_STILL: &str =
    "it may run on the host that it was to move to, and is stopped (SIGSTOP) here until that is known";

impl Member {
    /// Libvirt says that the CPUs of these domains run here: they may have come in, or been resumed.
    pub(super) fn cpus_run(&mut self, now: &Now, domains: &[DomainId]) {
        self.arrivals_run(now, domains);
        for domain in domains {
            if self.is_outgoing(*domain) {
                self.look_at_return(now, *domain, false);
            }
        }
    }

    /// Libvirt has resumed it. One that was paused before its migration was never seen stopped for that: whoever resumes it by hand
    /// may not know that it has moved.
    pub(super) fn domain_resumed(&mut self, now: &Now, domain: DomainId) {
        self.arrivals_run(now, &[domain]);
        if self.leasing.as_ref().is_some_and(|leasing| leasing.leases.owns(domain)) {
            let unseen = !self.is_outgoing(domain);
            self.look_at_return(now, domain, unseen);
        }
    }

    /// What the driver tells of a domain that migrates.
    pub(super) fn migration_told(&mut self, now: &Now, domain: DomainId, news: MigrationNews) {
        match news {
            MigrationNews::Suspended => {
                if let Some(leasing) = &mut self.leasing {
                    leasing.leases.outgoing(domain, true);
                }
                self.domains.settled = false;
            }
            MigrationNews::Process { process, incoming } => {
                self.process_looked_at(now, domain, &process, incoming);
            }
            MigrationNews::Job(migrates) => self.job_told(now, domain, migrates),
        }
    }

    /// A restarted agent found an entry.
    pub(super) fn migration_found(&mut self, now: &Now, domain: DomainId, incoming: bool, outgoing: bool) {
        if !incoming {
            self.look_at_return(now, domain, true);
        } else if let Some(leasing) = &mut self.leasing {
            leasing.migrations.arrivals.entry(domain).or_default();
        }
        if outgoing {
            let text =
                format!("domain {domain} was being migrated away when the agent before this one ended");
            self.desk.note(now, LogLevel::Info, "migration", text);
        }
        self.domains.settled = false;
    }

    /// Libvirt answers again: what it did meanwhile nobody has told.
    pub(super) fn look_after_a_gap(&mut self, now: &Now) {
        let own = self.leasing.as_ref().map(|leasing| leasing.leases.own_leases()).unwrap_or_default();
        own.into_iter().for_each(|own| self.look_at_return(now, own.domain, true));
    }

    fn look_at_return(&mut self, now: &Now, domain: DomainId, unseen: bool) {
        let Some(leasing) = &mut self.leasing else { return };
        let new = Return::new(now.instant, unseen);
        let known = leasing.migrations.returns.entry(domain).or_insert(new);
        if known.unseen {
            // What was read before this says nothing of it.
            *known = Return { halted: known.halted, unanswered: known.unanswered, ..new };
        }
        self.domains.settled = false;
    }

    /// The process of a domain that was migrated away is gone.
    pub(super) fn domain_departed(&mut self, now: &Now, domain: DomainId) {
        if let Some(leasing) = &mut self.leasing {
            leasing.migrations.departed.entry(domain).or_insert((now.instant, now.instant));
        }
        self.domains.settled = false;
    }

    /// Asks for the looks that are due, and answers hooks that wait.
    pub(super) fn migrations_turn(&mut self, now: &Now) {
        let Some(leasing) = self.leasing.as_mut().filter(|leasing| leasing.migrations.any()) else { return };
        self.domains.settled = false;
        if leasing.lost {
            // What runs here is killed with everything else; nothing of it is decided any more.
            leasing.migrations.departed.clear();
            leasing.migrations.returns.clear();
            leasing.migrations.arrivals.clear();
        }
        let Some(layout) = self.header.as_ref().map(|header| header.layout) else { return };
        let leases = &mut leasing.leases;
        leasing.migrations.departed.retain(|domain, _| leases.owns(*domain));
        leasing.migrations.returns.retain(|domain, _| leases.owns(*domain));
        let departed = leasing.migrations.departed.iter_mut().map(|(domain, (_, due))| (domain, due));
        let returned = leasing.migrations.returns.iter_mut().map(|(domain, back)| (domain, &mut back.due));
        for (domain, due) in departed.chain(returned) {
            if ObserverDeadline(*due).reached(now.instant) {
                *due = now.instant.plus(LOOK_AGAIN);
                leases.scan_page(page_of(&layout, *domain));
            }
        }
        self.answer_started(now);
        self.answer_denied(now, None);
    }

    /// A page was read.
    pub(super) fn look_at_departures(&mut self, now: &Now, scan: &PageScan) {
        let Some(leasing) = self.leasing.as_ref().filter(|leasing| leasing.migrations.any()) else { return };
        let departed: Vec<_> =
            leasing.migrations.departed.iter().map(|(d, (since, _))| (*d, *since)).collect();
        let returns: Vec<_> = leasing.migrations.returns.iter().map(|(d, back)| (*d, *back)).collect();
        for (domain, since) in departed {
            let ended = self.with_leasing(now, |context, leasing| {
                let patient = now.instant.since_by_slower(since) < READABLE_WITHIN;
                leasing.leases.migrated_away(context, scan, domain, since, patient)
            });
            if let Some(seen) = ended.flatten() {
                self.tell_departed(now, domain, seen);
            }
        }
        for (domain, back) in returns {
            let standing = self.with_leasing(now, |context, leasing| {
                leasing.leases.standing(scan, domain, back.since, context.gone)
            });
            if let Some(standing) = standing.flatten() {
                self.decide_return(now, domain, back, standing);
            }
        }
    }

    fn tell_departed(&mut self, now: &Now, domain: DomainId, seen: bool) {
        if let Some(leasing) = &mut self.leasing {
            leasing.migrations.departed.remove(&domain);
        }
        let (level, text) = if seen {
            (LogLevel::Info, format!("domain {domain} has moved to another host, which has its lease"))
        } else {
            (
                LogLevel::Warn,
                format!(
                    "domain {domain} was migrated to a host WITHOUT LEASEFENCE: no host of this cluster has its lease, nobody restarts it, and nothing keeps it from being started a second time"
                ),
            )
        };
        self.desk.note(now, level, "migration", text);
    }

    fn decide_return(&mut self, now: &Now, domain: DomainId, back: Return, standing: Standing) {
        match standing {
            // By post-copy it runs there, and needs what is here, until libvirt has sent the rest of its memory.
            Standing::Overtaken(_) if back.unseen && !back.is_silent(now) => {
                self.ask_job(now, domain);
            }
            Standing::Overtaken(who) => {
                self.look_again(now, domain, LOOK_LATER);
                if self.fencer.as_ref().is_some_and(|half| shows(half, domain)) {
                    let who = self.name_of(who);
                    let reason = format!("it was migrated to {who}, which has run it since");
                    self.desk.push(Command::Destroy { domain, reason });
                }
            }
            // Nothing speaks for a migration but that one host's sector cannot be read: no guest stands still for that.
            Standing::Unknown(_) if !self.is_outgoing(domain) => self.look_again(now, domain, LOOK_LATER),
            Standing::Arriving(_) | Standing::Unknown(_) if back.unseen => self.ask_job(now, domain),
            Standing::Arriving(_) | Standing::Unknown(_) => self.halt(now, domain),
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
        }
    }

    /// True while an own domain may be taken again, above the term of a destination that is gone.
    pub(super) fn is_retaken(&self, domain: DomainId) -> bool {
        let returned = |leasing: &super::leasing::Leasing| {
            leasing.leases.owns(domain) && leasing.migrations.returns.contains_key(&domain)
        };
        self.leasing.as_deref().is_some_and(returned)
    }

    fn is_outgoing(&self, domain: DomainId) -> bool {
        self.leasing.as_ref().is_some_and(|leasing| leasing.leases.is_outgoing(domain))
    }

    fn look_again(&mut self, now: &Now, domain: DomainId, after: Duration) {
        if let Some(back) = self.leasing.as_mut().and_then(|l| l.migrations.returns.get_mut(&domain)) {
            (back.since, back.due) = (now.instant, now.instant.plus(after));
        }
    }

    fn ask_job(&mut self, now: &Now, domain: DomainId) {
        self.look_again(now, domain, LOOK_LATER);
        if let Some(back) = self.leasing.as_mut().and_then(|l| l.migrations.returns.get_mut(&domain)) {
            back.unanswered.get_or_insert(now.instant);
        }
        self.desk.push(Command::Migration { domain, step: MigrationStep::AskJob });
    }

    /// Libvirt says whether it migrates the domain away. A libvirt that does not say so is asked again: a source that is stopped in
    /// the middle of its migration would stand still for good.
    fn job_told(&mut self, now: &Now, domain: DomainId, migrates: Option<bool>) {
        let back = self.leasing.as_mut().and_then(|l| l.migrations.returns.get_mut(&domain));
        let Some(back) = back else { return };
        match migrates {
            Some(false) => *back = Return { since: now.instant, due: now.instant, unseen: false, ..*back },
            Some(true) => back.unanswered = None,
            None => {}
        }
    }

    /// It may run on its destination: it stands still here until that is known.
    fn halt(&mut self, now: &Now, domain: DomainId) {
        self.look_again(now, domain, LOOK_AGAIN);
        let Some(leasing) = &mut self.leasing else { return };
        let Some(back) = leasing.migrations.returns.get_mut(&domain) else { return };
        let fresh = !std::mem::replace(&mut back.halted, true);
        back.goes_on = false;
        // An agent that is restarted meanwhile must know that it is this one that goes on.
        leasing.leases.outgoing(domain, true);
        self.publish();
        // At each look: a signal that reached nobody is no halt.
        self.desk.push(Command::Migration { domain, step: MigrationStep::Halt });
        if fresh {
            self.desk.note(now, LogLevel::Warn, "migration", format!("domain {domain}: {STANDS_STILL}"));
        }
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
            let again = Return { goes_on: true, ..Return::new(now.instant, true) };
            leasing.migrations.returns.insert(domain, again);
            self.look_again(now, domain, LOOK_AGAIN);
        }
        self.desk.push(Command::Migration { domain, step: MigrationStep::GoOn });
        if was_outgoing && !back.goes_on {
            let text = if back.halted { "goes on here" } else { "stays here" };
            let text = format!("domain {domain} has not moved: it {text}");
            self.desk.note(now, LogLevel::Info, "migration", text);
        }
    }
}

impl Return {
    fn new(now: Instant, unseen: bool) -> Self {
        Self { since: now, due: now, unseen, unanswered: None, halted: false, goes_on: false }
    }

    /// True when libvirt has been asked for long whether it migrates the domain, and has said nothing.
    fn is_silent(&self, now: &Now) -> bool {
        self.unanswered.is_some_and(|since| now.instant.since_by_faster(since) >= SILENT)
    }
}
