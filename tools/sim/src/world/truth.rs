//! What is really so, which no host can know: the judges ask here.

use leasefence_core::format::{HostRecord, LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::{DomainId, Incarnation, Slot};
use leasefence_core::member::Member;

use super::World;

impl World {
    /// The host that has had this incarnation.
    pub(crate) fn host_of(&self, incarnation: Incarnation) -> Option<usize> {
        self.hosts.iter().position(|host| host.lives.contains_key(&incarnation))
    }

    /// A run under this incarnation, or an earlier life of its slot on the same host, of which a write may still land.
    pub(crate) fn writer_of(&self, incarnation: Incarnation) -> Option<usize> {
        let writes =
            |run: &super::Run| run.incarnation == Some(incarnation) && run.may_write_as_assumed(self.at);
        self.runs.iter().rposition(writes)
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
    /// its newest disk chain was stored is reported, and not restarted (ARCHITECTURE 7).
    pub(crate) fn should_run(&self, domain: usize) -> bool {
        let this = &self.domains[domain];
        let can_run = this.leased && this.stored.contains(&this.chain);
        self.plan.domains[domain].ha && can_run && !this.stopped_by_user
    }

    /// True while a process of it is there.
    pub(crate) fn runs_now(&self, domain: usize) -> bool {
        self.domains[domain].runs.last().is_some_and(|run| self.runs[*run].killed.is_none())
    }

    /// True while the host's lease is held, by its record and its fencer.
    pub(crate) fn holds(&self, host: usize) -> bool {
        let this = &self.hosts[host];
        let half = &this.fencer.half;
        this.powered && this.agent.member.is_some() && half.armed && half.latched.is_none()
    }
}

impl World {
    /// All incarnations that ever were.
    pub(crate) fn lives(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.hosts.iter().flat_map(|host| host.lives.keys().copied())
    }

    /// Which process of an observer it is.
    pub(crate) fn process_of(&self, observer: usize) -> u32 {
        self.hosts.get(observer).map_or(0, |host| host.agent.process)
    }

    /// An observer's name.
    pub(crate) fn name_of(&self, observer: usize) -> String {
        self.hosts.get(observer).map_or_else(|| "the observer".to_owned(), |host| host.name.clone())
    }

    /// True when the end that a host's fencer guards has passed: it acts at its next beat.
    pub(crate) fn end_has_passed(&self, host: usize) -> bool {
        let this = &self.hosts[host];
        this.fencer.half.lease_end.reached(this.clock.now(self.at).instant)
    }
}

impl World {
    /// True when a slot's record is damaged, or its sector of a page in both copies, and it has no owner who would mend them:
    /// such a slot needs an operator, and until then nothing is recovered that it may speak of (PROTOCOL 3, and 4, S1).
    pub(crate) fn needs_an_operator(&self) -> bool {
        let layout = &self.file.layout;
        layout.slots().filter(|slot| !self.has_owner(*slot)).any(|slot| {
            let records = RecordCopy::BOTH.map(|copy| layout.host_record(slot, copy));
            let record_lost = records
                .iter()
                .all(|place| HostRecord::decode(place, &self.file.read(place.offset, place.len)).is_err());
            let page_lost = |page| {
                let pages = RecordCopy::BOTH.map(|copy| layout.lease_page(page, slot, copy));
                pages
                    .iter()
                    .all(|place| LeasePage::decode(place, &self.file.read(place.offset, place.len)).is_err())
            };
            let used = records
                .iter()
                .any(|place| self.file.read(place.offset, place.len).iter().any(|byte| *byte != 0));
            used && (record_lost || (0..layout.pages()).any(page_lost))
        })
    }

    fn has_owner(&self, slot: Slot) -> bool {
        (0..self.hosts.len())
            .any(|host| self.holds(host) && self.hosts[host].life().is_some_and(|life| life.slot == slot))
    }
}

impl World {
    /// True when the host's sector of the lease page, as it lies on the storage, says that it owns the domain.
    pub(crate) fn owns_on_storage(&self, host: usize, domain: DomainId) -> bool {
        let layout = &self.file.layout;
        let Some(life) = self.hosts[host].life() else { return false };
        let copies = RecordCopy::BOTH.map(|copy| layout.lease_page(layout.page_of(domain), life.slot, copy));
        let pages = copies
            .iter()
            .filter_map(|place| LeasePage::decode(place, &self.file.read(place.offset, place.len)).ok());
        let newest = pages.filter(|page| page.incarnation == life).max_by_key(|page| page.sequence);
        newest.and_then(|page| page.get(domain).map(|entry| entry.state)) == Some(LeaseState::Own)
    }
}

impl World {
    /// True when an entry on the storage says that the domain runs somewhere, or should.
    pub(crate) fn may_be_recovered(&self, domain: usize) -> bool {
        let layout = &self.file.layout;
        let id = self.domains[domain].id;
        let page = layout.page_of(id);
        let copies =
            layout.slots().flat_map(|slot| RecordCopy::BOTH.map(|copy| layout.lease_page(page, slot, copy)));
        let pages = copies
            .filter_map(|place| LeasePage::decode(&place, &self.file.read(place.offset, place.len)).ok());
        let speaks = |state| matches!(state, LeaseState::Own | LeaseState::Orphan | LeaseState::Incoming);
        pages
            .into_iter()
            .any(|page| page.get(id).is_some_and(|entry| speaks(entry.state) || entry.want_term.0 > 0))
    }
}
