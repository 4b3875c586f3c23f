//! What is really so, which no host can know: the judges ask here.

use leasefence_core::fencing::FencerHalf;
use leasefence_core::format::{HostState, LeaseEntry, LeaseFlags, LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::{DomainId, Incarnation, Slot, Term};
use leasefence_core::member::Member;
use leasefence_core::terms::RESET_LATENCY;
use leasefence_core::time::HolderDeadline;

use super::World;
use crate::plan::FaultKind;
use crate::time::{S, nanos};

/// A host that holds its lease has written its entries anew by then.
const LONG: u64 = 60 * S;

impl World {
    /// The host that has had this incarnation.
    pub(crate) fn host_of(&self, incarnation: Incarnation) -> Option<usize> {
        self.hosts.iter().position(|host| host.lives.boot_of(incarnation).is_some())
    }

    /// A run under this incarnation, or an earlier life of its slot on the same host, of which a write may still land.
    pub(crate) fn writer_of(&self, incarnation: Incarnation) -> Option<usize> {
        let writes =
            |run: &super::Run| run.incarnation == Some(incarnation) && run.may_write_as_assumed(self.at);
        self.runs.iter().rposition(writes)
    }

    /// True when a domain has run elsewhere since this run of it was handed over: what that one has in memory is old.
    pub(crate) fn has_run_since(&self, old: &super::Run) -> bool {
        let Some(handed_over) = old.handed_over else { return false };
        let runs = self.domains[old.domain].runs.iter().map(|run| &self.runs[*run]);
        runs.filter(|run| run.began != old.began || run.host != old.host)
            .any(|run| run.ran_at.is_some_and(|ran| ran >= handed_over))
    }

    /// True for a source that libvirt has resumed, its agent not having let it go on since, and the run that waited for it.
    ///
    /// Between that and the SIGSTOP both may write: a lock on the image covers it (ARCHITECTURE 11, Migration). The world has no such
    /// lock: it leaves these two out beside each other, and nobody else; how long that may last the judge of sources says.
    pub(crate) fn are_source_and_destination(&self, one: usize, other: usize) -> bool {
        self.moves.iter().any(|moving| {
            let pair = [Some(moving.source), moving.waiting];
            self.runs[moving.source].resumed.is_some()
                && pair.contains(&Some(one))
                && pair.contains(&Some(other))
        })
    }

    /// What this observer (a host's member, or the one without a slot) says of an incarnation.
    pub(crate) fn evidence_of(&self, observer: usize, incarnation: Incarnation) -> Option<&'static str> {
        match self.hosts.get(observer) {
            Some(host) => {
                let evidence =
                    host.agent.member.as_ref().and_then(|member| Member::evidence(member, incarnation));
                evidence.map(|(evidence, _)| evidence.as_str())
            }
            None => self.observer.as_ref().and_then(|this| this.evidence(incarnation)),
        }
    }

    /// True for an HA domain that was protected and that no user has stopped. One whose host died before the definition of
    /// its newest disk chain was stored, or soon after the snapshot that made it and before its entry named it, is reported,
    /// and not restarted (ARCHITECTURE 7).
    pub(crate) fn should_run(&self, domain: usize) -> bool {
        let this = &self.domains[domain];
        let can_run = this.leased && this.stored.contains(&this.chain);
        let named = |(_, entry): &(Slot, LeaseEntry)| entry.definition_hash == this.chain;
        let is_named = || self.entries_of(domain).iter().any(named);
        let last = self.running(domain).or_else(|| {
            let ran = |run: &&usize| self.runs[**run].ran_at.is_some();
            this.runs.iter().rev().find(ran).copied()
        });
        let last = last.map(|run| &self.runs[run]);
        let ended = last.and_then(|run| run.killed).unwrap_or(self.at);
        // In maintenance an agent may be stopped for as long as it likes.
        let stopped_until = last.map_or(0, |run| self.hosts[run.host].agent.paused_until);
        // What a fault has left unknown is held, anew with each of them, and not written over meanwhile (R11).
        let unknown_since = last.map_or(0, |run| self.last_left_unknown(run.host, ended));
        let had_time = ended > this.chained_at.max(stopped_until).max(unknown_since) + LONG;
        let should = can_run && !this.stopped_by_user && !self.waits_for_good(domain);
        self.plan.domains[domain].ha && should && (had_time || is_named())
    }

    /// When the last fault before this struck writes of a host whose outcome it has not learned.
    fn last_left_unknown(&self, host: usize, before: u64) -> u64 {
        let unknown = |kind| matches!(kind, FaultKind::LandsLate { .. } | FaultKind::AckLost { .. });
        let faults = self.plan.kept().map(|(_, fault)| fault);
        let struck = faults.filter(|fault| fault.host == host && fault.at < before && unknown(fault.kind));
        struck.map(|fault| fault.at).max().unwrap_or_default()
    }

    /// Left out (ARCHITECTURE 11, Migration): a source that stands still, whose agent was started again since, and which libvirt
    /// migrates: it stands still in that migration until somebody gives it up.
    fn waits_for_good(&self, domain: usize) -> bool {
        let stands = |run: &usize| {
            let this = &self.runs[*run];
            let anew = this.halted.is_some_and(|by| by != self.hosts[this.host].agent.process);
            self.is_there(*run) && anew
        };
        self.has_job(domain) && self.domains[domain].runs.iter().any(stands)
    }

    /// True while its guest runs somewhere.
    pub(crate) fn runs_now(&self, domain: usize) -> bool {
        self.running(domain).is_some()
    }

    /// True while the host's lease is held, by its record and its fencer.
    pub(crate) fn holds(&self, host: usize) -> bool {
        let this = &self.hosts[host];
        let half = &this.fencer.half;
        this.powered && this.agent.member.is_some() && half.armed && half.latched.is_none()
    }

    /// All incarnations that ever were.
    pub(crate) fn lives(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.hosts.iter().flat_map(|host| host.lives.iter())
    }

    /// Which process of an observer it is.
    pub(crate) fn process_of(&self, observer: usize) -> u32 {
        self.hosts.get(observer).map_or(0, |host| host.agent.process)
    }

    /// An observer's name.
    pub(crate) fn name_of(&self, observer: usize) -> String {
        self.hosts.get(observer).map_or_else(|| "the observer".to_owned(), |host| host.name.clone())
    }

    /// True once nothing of this incarnation can be written any more, by what its host has promised: by the faster of its
    /// clocks the end that its fencer guards, and then the budget, were over `write_drain` ago. A host that was ended early
    /// may have been petted right before.
    pub(crate) fn promise_is_over(&self, incarnation: Incarnation) -> bool {
        let Some(host) = self.host_of(incarnation).map(|host| &self.hosts[host]) else { return true };
        let now = (&host.fencer.half, host.fencer.guarded, &host.clock);
        let before = host.promised.as_ref().map(|(half, guarded, clock)| (half, *guarded, clock));
        let is_its = |half: &FencerHalf| half.incarnation == incarnation && half.armed;
        let found =
            [Some(now).filter(|_| host.powered && !host.fencer.page_lost), before].into_iter().flatten();
        let Some((half, guarded, clock)) = found.into_iter().find(|(half, ..)| is_its(half)) else {
            return true;
        };
        let drained = self.at.saturating_sub(nanos(half.terms.write_drain));
        let now = clock.now(drained).instant;
        let over = |end: HolderDeadline, then| HolderDeadline(end.0.plus(then)).reached(now);
        let budget = half.terms.fence_budget;
        match half.latched {
            None => over(half.lease_end, budget),
            Some(latched) => {
                let bitten = budget.max(half.terms.watchdog_actual + RESET_LATENCY);
                over(latched, bitten) || over(guarded, budget)
            }
        }
    }

    /// True when the end that a host's fencer guards has passed: it acts at its next beat.
    pub(crate) fn end_has_passed(&self, host: usize) -> bool {
        let this = &self.hosts[host];
        this.fencer.half.lease_end.reached(this.clock.now(self.at).instant)
    }

    /// True when a slot's record is damaged, or its sector of a page in both copies, and it has no owner who would mend them:
    /// such a slot needs an operator, and until then nothing is recovered that it may speak of (PROTOCOL 3, and 4, S1).
    pub(crate) fn needs_an_operator(&self) -> bool {
        let (layout, file) = (&self.file.layout, &self.file);
        layout.slots().filter(|slot| !self.has_owner(*slot)).any(|slot| {
            let record_lost = RecordCopy::BOTH.iter().all(|copy| file.record(slot, *copy).is_none());
            let page_lost = |page| file.lease_pages(page, slot).next().is_none();
            let used = RecordCopy::BOTH.iter().any(|copy| {
                let place = layout.host_record(slot, *copy);
                file.read(place.offset, place.len).iter().any(|byte| *byte != 0)
            });
            used && (record_lost || (0..layout.pages()).any(page_lost))
        })
    }

    fn has_owner(&self, slot: Slot) -> bool {
        (0..self.hosts.len())
            .any(|host| self.holds(host) && self.hosts[host].life().is_some_and(|life| life.slot == slot))
    }

    /// True when the host's sector of the lease page, as it lies on the storage, says that it owns the domain.
    pub(crate) fn owns_on_storage(&self, host: usize, domain: DomainId) -> bool {
        let Some(life) = self.hosts[host].life() else { return false };
        let pages = self.file.lease_pages(self.file.layout.page_of(domain), life.slot);
        let newest = pages.filter(|page| page.incarnation == life).max_by_key(|page| page.sequence);
        newest.and_then(|page| page.get(domain).map(|entry| entry.state)) == Some(LeaseState::Own)
    }

    /// True when the own entry of the incarnation under which a run came in is the last that it has written of it.
    pub(crate) fn own_has_landed(&self, run: usize) -> bool {
        let run = &self.runs[run];
        let Some(life) = run.incarnation else { return false };
        let id = self.domains[run.domain].id;
        let pages = self.file.lease_pages(self.file.layout.page_of(id), life.slot);
        let newest = pages.filter(|page| page.incarnation == life).max_by_key(|page| page.sequence);
        newest.and_then(|page| page.get(id).map(|entry| entry.state)) == Some(LeaseState::Own)
    }

    /// The same, by both copies: where one is damaged the other may be of before the entry ended.
    pub(crate) fn owns_by_both_copies(&self, host: usize, domain: DomainId) -> bool {
        let Some(life) = self.hosts[host].life() else { return false };
        let owns = |page: &LeasePage| {
            let owned = page.get(domain).is_some_and(|entry| entry.state == LeaseState::Own);
            page.incarnation == life && owned
        };
        self.file.lease_pages(self.file.layout.page_of(domain), life.slot).filter(owns).count() == 2
    }

    /// True when an entry on the storage says that the domain runs somewhere, or should.
    pub(crate) fn may_be_recovered(&self, domain: usize) -> bool {
        let layout = &self.file.layout;
        let id = self.domains[domain].id;
        let mut pages = layout.slots().flat_map(|slot| self.file.lease_pages(layout.page_of(id), slot));
        let speaks = |state| matches!(state, LeaseState::Own | LeaseState::Orphan | LeaseState::Incoming);
        pages.any(|page| page.get(id).is_some_and(|entry| speaks(entry.state) || entry.want_term.0 > 0))
    }

    /// True when a readable copy of the host's sector does not say that it owns the domain under this term. Not where a
    /// write has just landed there that its agent had forgotten with its page (ARCHITECTURE 11).
    pub(crate) fn shows_less_than_own(&self, host: usize, domain: DomainId, term: Term) -> bool {
        let this = &self.hosts[host];
        let forgotten =
            this.fencer.pages_lost > 0 && this.late_page_at.is_some_and(|at| self.at - at < 10 * S);
        let Some(life) = this.life().filter(|_| !forgotten) else { return false };
        let owns = |page: &LeasePage| {
            page.get(domain).is_some_and(|entry| entry.state == LeaseState::Own && entry.term == term)
        };
        self.file
            .lease_pages(self.file.layout.page_of(domain), life.slot)
            .any(|page| page.incarnation.slot == life.slot && !owns(&page))
    }

    /// A used slot whose sector of the domain's page has been unreadable in both copies for so long that every scan of an
    /// acquire that ends now has seen it.
    pub(crate) fn damaged_beside(&self, domain: DomainId) -> Option<Slot> {
        self.damaged_at.filter(|since| self.at - since > 3 * S)?;
        self.unreadable_beside(domain)
    }

    fn unreadable_beside(&self, domain: DomainId) -> Option<Slot> {
        let layout = &self.file.layout;
        layout.slots().find(|slot| {
            let records = RecordCopy::BOTH.iter().filter_map(|copy| self.file.record(*slot, *copy));
            let used = records.into_iter().any(|record| record.state != HostState::Free);
            used && self.file.lease_pages(layout.page_of(domain), *slot).next().is_none()
        })
    }

    /// The domains of a lease page of which no slot has an entry now that this has landed in it: their next start begins with the
    /// first term, whether or not anything comes to run under that.
    pub(crate) fn left_without_entry(&self, offset: u64) -> Vec<usize> {
        let Some((page, ..)) = self.file.sector_at(offset) else { return Vec::new() };
        let is_left = |domain: &usize| {
            let id = self.domains[*domain].id;
            let here = self.file.layout.page_of(id) == page;
            here && self.entries_of(*domain).is_empty() && self.unreadable_beside(id).is_none()
        };
        (0..self.domains.len()).filter(is_left).collect()
    }

    /// For how long the host's agent and its path have been free of faults that strike them, as far as is known.
    pub(crate) fn reads_since(&self, host: usize) -> u64 {
        let host = &self.hosts[host];
        self.at.saturating_sub(host.hindered_at.max(host.agent.paused_until).max(host.fencer.paused_until))
    }

    /// What the storage says of a domain, slot by slot: for people.
    pub(crate) fn entries_of(&self, domain: usize) -> Vec<(Slot, LeaseEntry)> {
        let layout = &self.file.layout;
        let id = self.domains[domain].id;
        let newest = |slot| {
            let pages = self.file.lease_pages(layout.page_of(id), slot);
            let page = pages.max_by_key(|page| (page.incarnation.generation, page.sequence))?;
            page.get(id).map(|entry| (slot, *entry))
        };
        layout.slots().filter_map(newest).collect()
    }

    /// A sector of a lease page has landed: what it says is owned and HA is protected from now on.
    pub(crate) fn note_protected(&mut self, offset: u64) {
        let Some((page, slot, copy)) = self.file.sector_at(offset) else { return };
        let Some(page) = self.file.lease_page(page, slot, copy) else { return };
        let ha = |entry: &&LeaseEntry| entry.state == LeaseState::Own && entry.flags.contains(LeaseFlags::HA);
        let protected: Vec<DomainId> = page.entries().filter(ha).map(|entry| entry.domain).collect();
        let runs = &self.runs;
        for domain in &mut self.domains {
            // One that crashed before its lease was there never ran under it: it ends as stopped.
            let alive = domain.runs.iter().any(|run| runs[*run].runs());
            domain.leased |= alive && protected.contains(&domain.id);
        }
    }
}
