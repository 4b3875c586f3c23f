//! The destination of a live migration (PROTOCOL 4): from `migrate begin` until the domain's CPUs run here and its entry is own, or
//! until nothing of it is left and the entry is erased. It never lets anything but a migration in under `incoming`.

use std::time::Duration;

use super::MigrationStep;
use super::returns::LOOK_AGAIN;
use crate::fencing::DomainProcess;
use crate::ids::DomainId;
use crate::lease::{AcquireKind, AcquireOutcome, AcquireRequest};
use crate::member::domains::spec_of;
use crate::member::hook::{NOT_YET, ONLY_ITS_MIGRATION};
use crate::member::user_starts::{ANSWER_WITHIN, Asked};
use crate::member::{Command, DomainReport, LogLevel, Member, RequestId};
use crate::planted::planted;
use crate::time::{Instant, Now};

/// A source that libvirt has resumed must see that its migration has failed, and go on, before the next one begins: else it would
/// stand still in the middle of that.
const SEEN_BY_SOURCE: Duration = Duration::from_secs(3);
/// Between two kills of what is no migration.
const KILL_AGAIN: Duration = Duration::from_secs(1);

impl Member {
    /// True while the domain is incoming here.
    pub(in crate::member) fn is_incoming(&self, domain: DomainId) -> bool {
        self.leasing.as_ref().is_some_and(|leasing| leasing.leases.incoming(domain).is_some())
    }

    /// `migrate begin`: its lease is acquired as `incoming`, beside its live source's own.
    pub(in crate::member) fn begin_migration(
        &mut self,
        now: &Now,
        id: RequestId,
        domain: DomainId,
        report: Box<DomainReport>,
    ) -> Result<(), String> {
        self.may_start(now)?;
        // Left over of an earlier run, it would be taken for what comes in.
        if self.shows_process(domain) {
            return Err("a process of it, of an earlier run, is still there on this host".to_owned());
        }
        let leasing = self.leasing.as_mut().ok_or(NOT_YET)?;
        if leasing.recoveries.get(domain).is_some_and(|recovery| recovery.stage.is_under_way()) {
            return Err("Leasefence is restarting it here".to_owned());
        }
        if leasing.leases.owns(domain) {
            return Err("this host owns it".to_owned());
        }
        let recent = |failed: &mut Instant| now.instant.since_by_slower(*failed) < SEEN_BY_SOURCE;
        leasing.migrations.failed.retain(|_, failed| recent(failed));
        if leasing.migrations.failed.contains_key(&domain) {
            return Err(
                "a migration of it to this host has just failed: try again in some seconds".to_owned()
            );
        }
        let known = leasing.starts.knows(domain) || leasing.leases.incoming(domain).is_some();
        let tokens = leasing.leases.tokens();
        if known || tokens.iter().any(|token| token.domain == domain) || leasing.leases.is_acquiring(domain) {
            return Err("another start or migration of it is not settled here yet".to_owned());
        }
        let kind = AcquireKind::Incoming(spec_of(&report));
        leasing.starts.acquire_arrival(id, report, now.instant);
        leasing.leases.acquire(AcquireRequest { domain, kind });
        self.domains.settled = false;
        Ok(())
    }

    /// The acquire of a migration ended: its token is opened, and the page carries it before the hook is answered.
    pub(in crate::member) fn arrival_acquired(
        &mut self,
        now: &Now,
        domain: DomainId,
        asked: Asked,
        outcome: &AcquireOutcome,
    ) {
        let permitted = match outcome {
            AcquireOutcome::Acquired(entry) => self.may_start(now).map(|()| entry.term),
            refused => Err(self.why_not_acquired(refused)),
        };
        match (permitted, asked.asker) {
            (Ok(term), Some(asker)) => {
                if let Some(leasing) = &mut self.leasing {
                    leasing.starts.permit_arrival(domain, term, asked.report, now.instant);
                }
                self.refresh_exempt_and_storages();
                self.permit(domain, now.instant, asker, true);
            }
            (permitted, asker) => {
                // Nothing was permitted under it.
                self.erase_incoming(now, domain);
                if let (Err(why), Some(asker)) = (permitted, asker)
                    && let Err(why) = self.deny_migration(now, (asker, asked.since), domain, why)
                {
                    self.deny_start(asker, domain, &why);
                }
            }
        }
        self.domains.settled = false;
    }

    /// `prepare begin` of a domain that is incoming here: of its migration, once, and of nothing else.
    pub(in crate::member) fn arrival_prepared(
        &mut self,
        now: &Now,
        id: RequestId,
        domain: DomainId,
        report: Box<DomainReport>,
    ) -> Result<(), String> {
        let leasing = self.leasing.as_mut().ok_or(NOT_YET)?;
        if !leasing.starts.prepares_arrival(report) {
            return Err(ONLY_ITS_MIGRATION.to_owned());
        }
        self.refresh_exempt_and_storages();
        self.permit(domain, now.instant, id, false);
        Ok(())
    }

    /// `started begin`: libvirt has set its process up. Only one that waits for a migration goes on.
    pub(in crate::member) fn arrival_has_started(&mut self, now: &Now, id: RequestId, domain: DomainId) {
        let waiting = self.leasing.as_mut().map(|l| l.migrations.started.insert(domain, (id, now.instant)));
        if let Some((overtaken, _)) = waiting.flatten() {
            self.desk.reply(overtaken, false, "libvirt has given this start up");
        }
        self.domains.settled = false;
    }

    /// The fencer shows the process of a permitted migration.
    pub(in crate::member) fn arrival_shown(&mut self, now: &Now, domain: DomainId) {
        if let Some(leasing) = &mut self.leasing {
            leasing.migrations.arrivals.entry(domain).or_default();
        }
        self.arrivals_seen(now);
    }

    /// Nothing of a migration to this host is left. One whose CPUs had run, by libvirt's word or since its source has given it up, has
    /// come in and died since: its entry ends as any own one does, once its storages are quiet (R6), and says so to those who
    /// recover. Not where what ran may have been a cold start.
    fn arrival_gone(&mut self, now: &Now, domain: DomainId) {
        let arrival = self.leasing.as_mut().and_then(|l| l.migrations.arrivals.get_mut(&domain));
        let Some(arrival) = arrival else { return };
        let (since, was_killed) = (arrival.left(now.instant), arrival.killed.is_some());
        let has_run = match arrival.cpus_run {
            _ if was_killed => Some(false),
            true => Some(true),
            false => self.is_given_up(now, domain, since),
        };
        match has_run {
            Some(true) => self.arrived(now, domain),
            Some(false) => self.erase_incoming(now, domain),
            // Looked at again with the page.
            None => {}
        }
    }

    /// Whether its source has given it up, by its page as read since then; none while that is not known.
    fn is_given_up(&mut self, now: &Now, domain: DomainId, since: Instant) -> Option<bool> {
        let gone = |incarnation| self.counts_as_gone(incarnation);
        let (scan, leases) = (self.last_scan_of(domain), &self.leasing.as_ref()?.leases);
        let given_up = scan.and_then(|scan| leases.is_given_up(scan, domain, since, &gone));
        // One with an unreadable sector is read again, but not all the time.
        let is_due = scan.is_none_or(|scan| now.instant.since_by_slower(scan.began) >= LOOK_AGAIN);
        if given_up.is_none() && is_due {
            self.read_page_of(domain);
        }
        given_up
    }

    /// A migration to this host came to nothing, whether or not a process of it was seen.
    pub(in crate::member) fn erase_incoming(&mut self, now: &Now, domain: DomainId) {
        let known = self.is_incoming(domain);
        self.with_leasing(now, |context, leasing| {
            leasing.migrations.arrivals.remove(&domain);
            // Only what was written may have been seen by the source.
            if known {
                leasing.migrations.failed.insert(domain, now.instant);
            }
            leasing.leases.erase_incoming(context, domain);
        });
        self.domains.ended(domain);
        if known && !self.is_incoming(domain) {
            let text = format!("domain {domain} has not come in: its incoming entry is erased");
            self.desk.note(LogLevel::Info, "migration", text);
        }
    }

    /// The fencer's half, for domains that come in: each process must be one that waits for a migration; with none left, it has
    /// failed.
    pub(in crate::member) fn arrivals_seen(&mut self, now: &Now) {
        if self.leasing.as_ref().is_none_or(|leasing| leasing.migrations.arrivals.is_empty()) {
            return;
        }
        let Some(half) = self.fencer.clone() else { return };
        let Some(leasing) = &mut self.leasing else { return };
        let (mut looks, mut failed) = (Vec::new(), Vec::new());
        for (domain, arrival) in &mut leasing.migrations.arrivals {
            let open = leasing.leases.tokens().iter().any(|token| token.domain == *domain);
            if arrival.is_gone(*domain, &half, now.instant) && !open {
                failed.push(*domain);
            }
            let verified = arrival.is_verified(*domain, &half);
            for process in half.processes.iter().filter(|process| process.domain == *domain) {
                if arrival.is_to_be_looked_at(process, verified, now.instant) {
                    looks.push((*domain, *process));
                }
            }
        }
        for (domain, process) in looks {
            self.desk.push(Command::Migration { domain, step: MigrationStep::LookAt(process) });
        }
        failed.into_iter().for_each(|domain| self.arrival_gone(now, domain));
        self.answer_started(now);
    }

    /// What the command line of a process says.
    pub(in crate::member) fn process_looked_at(
        &mut self,
        now: &Now,
        domain: DomainId,
        process: &DomainProcess,
        incoming: Option<bool>,
    ) {
        let arrival = self.leasing.as_mut().and_then(|l| l.migrations.arrivals.get_mut(&domain));
        let Some(arrival) = arrival else { return };
        match incoming {
            Some(false) if !planted!(MigrateThenColdStart) => self.kill_cold_start(now, domain),
            Some(_) => {
                arrival.verify(process);
                self.answer_started(now);
                self.take_arrived(now, domain);
            }
            None => {}
        }
    }

    /// Something has started it beside its migration, while it runs on its source.
    fn kill_cold_start(&mut self, now: &Now, domain: DomainId) {
        let arrival = self.leasing.as_mut().and_then(|l| l.migrations.arrivals.get_mut(&domain));
        let due = |killed: Instant| now.instant.since_by_slower(killed) >= KILL_AGAIN;
        let Some(arrival) = arrival.filter(|arrival| arrival.killed.is_none_or(due)) else { return };
        arrival.killed = Some(now.instant);
        let reason = "a process of it runs here that waits for no migration, and it runs on another host";
        self.desk.push(Command::Destroy { domain, reason: reason.to_owned() });
    }

    /// Libvirt says that the CPUs of these domains run.
    pub(in crate::member) fn arrivals_run(&mut self, now: &Now, domains: &[DomainId]) {
        for domain in domains {
            let arrival = self.leasing.as_mut().and_then(|l| l.migrations.arrivals.get_mut(domain));
            if let Some(arrival) = arrival {
                arrival.cpus_run = true;
                self.take_arrived(now, *domain);
            }
        }
    }

    /// Its CPUs run in the process that waited for them: from here on it is this host's.
    fn take_arrived(&mut self, now: &Now, domain: DomainId) {
        let Some(half) = self.fencer.clone() else { return };
        let arrival = self.leasing.as_ref().and_then(|l| l.migrations.arrivals.get(&domain));
        if !arrival.is_some_and(|arrival| arrival.cpus_run && arrival.is_verified(domain, &half)) {
            return;
        }
        self.arrived(now, domain);
        self.answer_started(now);
    }

    fn arrived(&mut self, now: &Now, domain: DomainId) {
        self.with_leasing(now, |context, leasing| {
            leasing.migrations.arrivals.remove(&domain);
            leasing.leases.arrived(context, domain);
        });
        self.domains.settled = false;
        let text = format!("domain {domain} has come in, and runs here: it is owned here from now on");
        self.desk.note(LogLevel::Info, "migration", text);
    }

    /// Answers the hooks that wait at `started begin`.
    pub(in crate::member) fn answer_started(&mut self, now: &Now) {
        if self.leasing.as_ref().is_none_or(|leasing| leasing.migrations.started.is_empty()) {
            return;
        }
        let live = self.lease_is_live(now.instant);
        let half = self.fencer.clone().unwrap_or_default();
        let Some(leasing) = &self.leasing else { return };
        let (leases, arrivals) = (&leasing.leases, &leasing.migrations.arrivals);
        let answer = |domain: DomainId, since: Instant| {
            let verified = arrivals.get(&domain).is_some_and(|arrival| arrival.is_verified(domain, &half));
            let gone = leases.incoming(domain).is_none() && !leases.owns(domain);
            let late = now.instant.since_by_faster(since) >= ANSWER_WITHIN;
            if live && (verified || leases.owns(domain)) {
                Some(true)
            } else {
                (gone || late || !live).then_some(false)
            }
        };
        let answers: Vec<_> = leasing
            .migrations
            .started
            .iter()
            .filter_map(|(domain, (id, since))| Some((*domain, *id, answer(*domain, *since)?)))
            .collect();
        for (domain, id, ok) in answers {
            if let Some(leasing) = &mut self.leasing {
                leasing.migrations.started.remove(&domain);
            }
            if ok {
                self.desk.reply(id, true, "");
            } else {
                self.deny_start(id, domain, "no process of it that waits for a migration was seen here");
            }
        }
    }
}
