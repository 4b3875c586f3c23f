//! The source of a live migration (PROTOCOL 4): what is told of it, the looks that it asks for, and the end of its entry once the
//! domain has moved away. What becomes of one that libvirt has resumed is said in `returns`.

use std::time::Duration;

use super::MigrationNews;
use super::migrations::{Beside, Told};
use super::returns::LOOK_AGAIN;
use crate::ids::DomainId;
use crate::lease::{Leases, PageScan, Standing, page_of};
use crate::member::leasing::Leasing;
use crate::member::{LogLevel, Member};
use crate::time::{Instant, Now, ObserverDeadline};

/// Of a domain that has left, and that no other host is seen to have, an unreadable sector is read again for so long.
const READABLE_WITHIN: Duration = Duration::from_secs(10);

impl Member {
    /// Libvirt's list says that the CPUs of these domains run here: they may have come in, or been resumed. When is not known: of
    /// one that was resumed it may be a further migration by now, which must not be stopped.
    pub(in crate::member) fn cpus_run(&mut self, now: &Now, domains: &[DomainId]) {
        self.arrivals_run(now, domains);
        for domain in domains {
            let looked_at = self.leasing.as_ref().is_some_and(|l| l.migrations.returns.contains_key(domain));
            if self.is_outgoing(*domain) && !looked_at {
                self.look_at_return(now, *domain, Told::Nothing);
            }
        }
    }

    /// Libvirt has resumed it. One that was paused before its migration was never seen stopped for that: whoever resumes it by hand
    /// may not know that it has moved.
    pub(in crate::member) fn domain_resumed(&mut self, now: &Now, domain: DomainId) {
        self.arrivals_run(now, &[domain]);
        let is_its = |leases: &Leases| leases.owns(domain) || leases.is_unread(domain);
        if self.leasing.as_ref().is_some_and(|leasing| is_its(&leasing.leases)) {
            let told = if self.is_outgoing(domain) { Told::Resumed } else { Told::Nothing };
            self.look_at_return(now, domain, told);
            // It has not stood still until then: on whose account it does now is not known.
            if let Some(back) = self.returning(domain) {
                back.beside = Beside::Unknown;
            }
        }
    }

    /// What the driver tells of a domain that migrates.
    pub(in crate::member) fn migration_told(&mut self, now: &Now, domain: DomainId, news: MigrationNews) {
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
            MigrationNews::Job { beside, migrates } => self.job_told(now, domain, beside, migrates),
        }
    }

    /// A restarted agent found an entry.
    pub(in crate::member) fn migration_found(
        &mut self,
        now: &Now,
        domain: DomainId,
        incoming: bool,
        outgoing: bool,
    ) {
        if !incoming {
            self.look_at_return(now, domain, Told::Nothing);
        } else if let Some(leasing) = &mut self.leasing {
            leasing.migrations.arrivals.entry(domain).or_default();
        }
        if outgoing {
            let text =
                format!("domain {domain} was being migrated away when the agent before this one ended");
            self.desk.note(LogLevel::Info, "migration", text);
        }
        self.domains.settled = false;
    }

    /// Libvirt answers again: what it did meanwhile nobody has told.
    pub(in crate::member) fn look_after_a_gap(&mut self, now: &Now) {
        let own = self.leasing.as_ref().map(|leasing| leasing.leases.own_leases()).unwrap_or_default();
        own.into_iter().for_each(|own| self.look_at_return(now, own.domain, Told::Nothing));
    }

    /// The process of a domain that was migrated away is gone.
    pub(in crate::member) fn domain_departed(&mut self, now: &Now, domain: DomainId) {
        if let Some(leasing) = &mut self.leasing {
            leasing.migrations.departed.entry(domain).or_insert((now.instant, now.instant));
        }
        self.domains.settled = false;
    }

    /// Asks for the looks that are due, and answers hooks that wait.
    pub(in crate::member) fn migrations_turn(&mut self, now: &Now) {
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
        leasing.migrations.returns.retain(|domain, _| leases.owns(*domain) || leases.is_unread(*domain));
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
    pub(in crate::member) fn look_at_departures(&mut self, now: &Now, scan: &PageScan) {
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
                self.tell_departed(domain, seen);
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

    fn tell_departed(&mut self, domain: DomainId, seen: bool) {
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
        self.desk.note(level, "migration", text);
    }

    /// True while an own domain may be taken again, above the term of a destination that is gone.
    pub(in crate::member) fn is_retaken(&self, domain: DomainId) -> bool {
        let returned = |leasing: &Leasing| {
            leasing.leases.owns(domain) && leasing.migrations.returns.contains_key(&domain)
        };
        self.leasing.as_deref().is_some_and(returned)
    }

    /// True while an own domain may run on a host that it has moved to: until its page, read since then, says that nobody stands above
    /// it. What libvirt has told says nothing: of one that was paused it tells no migration. What stands above it is looked at.
    pub(in crate::member) fn may_have_moved(&mut self, now: &Now, domain: DomainId, since: Instant) -> bool {
        let Some(leasing) = &self.leasing else { return true };
        let gone = |incarnation| self.counts_as_gone(incarnation);
        let scan = self.last_scan_of(domain);
        let standing = scan.and_then(|scan| leasing.leases.standing(scan, domain, since, &gone));
        let looked_at = leasing.migrations.returns.contains_key(&domain);
        match standing {
            Some(Standing::Top) if !self.is_outgoing(domain) => return looked_at,
            Some(_) if !looked_at => self.look_at_return(now, domain, Told::Nothing),
            Some(_) => {}
            None => self.read_page_of(domain),
        }
        true
    }

    pub(in crate::member) fn is_outgoing(&self, domain: DomainId) -> bool {
        self.leasing.as_ref().is_some_and(|leasing| leasing.leases.is_outgoing(domain))
    }
}
