//! Libvirt and the starter's threads: lists, events, definitions, barriers, starts.

use std::time::Duration;

use leasefence_core::barrier::BarrierWalk;
use leasefence_core::fencing::{HalfReading, QuiesceTarget};
use leasefence_core::format::WatchdogClass;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{
    DomainReport, Input, Protection, Sight, StartFailure, StartGate, StartStep, Starting, StopReason, guarded,
};
use leasefence_core::time::Instant;

use super::World;
use super::event::{Barrier, Event, HookStep, OwnStep, Start};
use super::run::{Cpus, Ended};
use crate::invariants::Happened;
use crate::time::{MS, S};

/// Between two looks whether a listing is due.
const LOOK: u64 = S;
/// Loading a definition from shared storage.
const LOAD: u64 = 50 * MS;
/// From libvirt's call to the process, and on to its answer.
const START: u64 = 400 * MS;

impl World {
    /// Looks whether a listing is due: one comes back after libvirt was away, and every two seconds.
    pub(crate) fn look_at_libvirt(&mut self, host: usize, process: u32) {
        let this = &mut self.hosts[host];
        if this.agent.process != process || this.agent.member.is_none() {
            return;
        }
        if !this.stands_still() {
            let answers = this.libvirt_hung == 0;
            match (std::mem::replace(&mut this.agent.libvirt_answers, answers), answers) {
                (false, true) => this.agent.listing.changed(),
                (true, false) => {
                    this.agent.listing.away();
                    self.give(host, Input::LibvirtAway("hung".to_owned()));
                }
                _ => {}
            }
            self.list_if_due(host);
        }
        self.queue.at(self.at + LOOK, Event::Listing { host, process });
    }

    /// Libvirt tells of a change: all is listed anew.
    pub(crate) fn libvirt_changed(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        if this.agent.member.is_some() && this.agent.libvirt_answers {
            this.agent.listing.changed();
            self.list_if_due(host);
        }
    }

    fn list_if_due(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        let now = this.clock.now(self.at).instant;
        if !this.agent.listing.due(now, false) {
            return;
        }
        let used: u32 = u32::try_from(this.guests.len()).unwrap_or_default() * 64;
        let memory_mib = self.plan.hosts[host].memory_mib.saturating_sub(used);
        let known = self.hosts[host].known.iter();
        let reports: Vec<_> = known.map(|(domain, chain)| self.report(host, *domain, *chain)).collect();
        self.hosts[host].agent.running = guarded(&reports).collect();
        self.give(host, Input::Capacity { memory_mib });
        self.give(host, Input::Domains(reports));
        self.give(host, Input::CpusRun(self.cpus_run(host)));
    }

    /// The domains whose CPUs run, as libvirt says: it knows nothing of a signal.
    fn cpus_run(&self, host: usize) -> Vec<DomainId> {
        let runs = self.hosts[host].guests.iter().map(|run| &self.runs[*run]);
        let listed = runs.filter(|run| run.cpus == Cpus::Run && !run.told);
        listed.map(|run| self.domains[run.domain].id).collect()
    }

    pub(crate) fn report(&self, host: usize, domain: usize, chain: u64) -> DomainReport {
        let this = &self.domains[domain];
        let plan = &self.plan.domains[domain];
        let running = self.hosts[host]
            .guests
            .iter()
            .any(|run| self.runs[*run].domain == domain && !self.runs[*run].told);
        let target = |storage: &usize| QuiesceTarget {
            kind: self.storages[*storage].kind,
            device: u64::try_from(storage + 1).unwrap_or_default(),
        };
        DomainReport {
            domain: this.id,
            name: format!("domain-{domain}"),
            running,
            protection: Protection { ha: plan.ha, priority: 1, exempt: false },
            vcpus: 1,
            memory_mib: 64,
            definition_hash: chain,
            definition_version: u32::from(this.stored.contains(&chain)),
            storages: plan.storages.iter().flatten().map(target).collect(),
            unanswered: false,
            doubtful: false,
        }
    }

    /// Libvirt's event that a domain stopped.
    pub(crate) fn libvirt_tells(&mut self, host: usize, process: u32, run: usize) {
        let this = &self.hosts[host];
        if this.agent.process != process || !this.powered {
            return;
        }
        if this.libvirt_hung > 0 || this.still_since.is_some() {
            self.queue.at(self.at + S, Event::Told { host, process, run });
            return;
        }
        let reason = match self.runs[run].ended_by {
            Some(Ended::Stopped) => StopReason::Shutdown,
            Some(Ended::Crashed) | None => StopReason::Crashed,
            Some(Ended::Migrated) => StopReason::Migrated,
            Some(Ended::Destroyed) => StopReason::Destroyed,
        };
        let domain = self.domains[self.runs[run].domain].id;
        self.give(host, Input::Stopped { domain, reason });
        self.hook_tells_of_release(host, domain);
        self.libvirt_changed(host);
    }

    pub(crate) fn store_definition(&mut self, host: usize, domain: DomainId) {
        let Some(domain) = self.domain(domain) else { return };
        let (boot, chain) = (self.hosts[host].boot, self.domains[domain].chain);
        let after = LOAD + self.below(S);
        self.queue.at(self.at + after, Event::Stored { host, boot, domain, chain });
    }

    pub(crate) fn definition_stored(&mut self, host: usize, boot: u32, domain: usize, chain: u64) {
        let this = &self.hosts[host];
        if this.boot == boot && !this.stands_still() {
            self.domains[domain].stored.push(chain);
        }
    }

    pub(crate) fn domain(&self, id: DomainId) -> Option<usize> {
        self.domains.iter().position(|domain| domain.id == id)
    }

    /// A barrier on every storage of the domain, unless one is under way: each acknowledges it when all that it had received
    /// before has landed.
    pub(crate) fn barrier_asked(&mut self, host: usize, domain: DomainId, asked: Instant, chain: u64) {
        if self.hosts[host].agent.barriers.asked(domain, asked, chain) {
            self.barrier_begins(host, domain, asked);
        }
    }

    fn barrier_begins(&mut self, host: usize, domain: DomainId, asked: Instant) {
        let process = self.hosts[host].agent.process;
        let storages = self.domain(domain).map(|domain| self.plan.domains[domain].storages);
        let walk = BarrierWalk::over(storages.into_iter().flatten().flatten());
        self.hosts[host].agent.walks.insert(domain, walk);
        let after = MS + self.below(50 * MS);
        let barrier = Barrier { asked, issued: self.at };
        self.queue.at(self.at + after, Event::Barrier { host, process, domain, barrier });
    }

    /// One storage after the other acknowledges it.
    pub(crate) fn barrier_ends(&mut self, host: usize, process: u32, id: DomainId, barrier: Barrier) {
        let (this, Some(domain)) = (&self.hosts[host], self.domain(id)) else { return };
        if this.agent.process != process || this.agent.member.is_none() {
            return;
        }
        let again = |barrier| Event::Barrier { host, process, domain: id, barrier };
        // What cannot be written waits for no path.
        let is_refused = this.barriers_refused.get(&domain).is_some_and(|faults| *faults > 0);
        if this.data_cut > 0 && !is_refused || this.stands_still() {
            self.queue.at(self.at + 100 * MS, again(barrier));
            return;
        }
        if is_refused {
            return self.barrier_is_over(host, id, barrier, Err("only QEMU reaches its disk".to_owned()));
        }
        let Some(mut walk) = self.hosts[host].agent.walks.remove(&id) else { return };
        let mut issued = barrier.issued;
        while let Some(storage) = walk.next_place().copied() {
            let ready = self.has_landed_by(domain, storage);
            if ready > self.at {
                self.hosts[host].agent.walks.insert(id, walk);
                self.queue.at(ready, again(Barrier { issued, ..barrier }));
                return;
            }
            walk.acknowledged(Duration::from_nanos(self.at - issued));
            issued = self.at;
        }
        self.barrier_is_over(host, id, barrier, Ok(walk.slowest()));
    }

    /// A barrier is answered, unless another was asked for meanwhile.
    fn barrier_is_over(
        &mut self,
        host: usize,
        domain: DomainId,
        barrier: Barrier,
        result: Result<Duration, String>,
    ) {
        match self.hosts[host].agent.barriers.ended(domain) {
            Some((asked, _)) => self.barrier_begins(host, domain, asked),
            None => self.give(host, Input::Barrier { domain, asked: barrier.asked, result }),
        }
    }

    /// When a storage has applied all that it has received of the domain: then it acknowledges a barrier.
    fn has_landed_by(&self, domain: usize, storage: usize) -> u64 {
        let storages = self.plan.domains[domain].storages;
        let place = storages.iter().position(|on| *on == Some(storage)).unwrap_or_default();
        let runs = self.domains[domain].runs.iter().map(|run| &self.runs[*run]);
        let landed = runs.filter_map(|run| run.writes[place].landed).max().unwrap_or_default();
        landed.max(self.storages[storage].stalled_until)
    }

    /// What the agent knows of the page: here every read of it is good.
    pub(crate) fn page_seen(&self, host: usize) -> Sight {
        let mut sight = Sight::default();
        self.hosts[host].page.iter().for_each(|page| sight.wrote(page.clone()));
        sight
    }

    /// The token is in the page. The fencer's half is read once more, after that; then a thread of the agent begins.
    pub(crate) fn start_permitted(&mut self, host: usize, start: Start) {
        let this = &self.hosts[host];
        let now = this.clock.now(self.at).instant;
        let found = HalfReading::Good(this.fencer.half.clone());
        if !self.page_seen(host).permits_start(now, found) {
            return self.start_ended(host, start, Err(Starting::refused()));
        }
        self.happened(&Happened::Permitted { host, domain: start.domain, term: start.term });
        let boot = self.hosts[host].boot;
        // Where libvirt asks its hook, half of the hangs strike before its job is begun, so that a user may be faster.
        let hangs = self.hosts[host].start_hangs.take_if(|hangs| self.plan.hook && hangs.is_multiple_of(2));
        let after = hangs.unwrap_or_default() + MS + self.below(LOAD);
        self.queue.at(self.at + after, Event::Begin { host, boot, start });
    }

    /// The starter's thread: the definition, the lease once more, libvirt's call.
    pub(crate) fn start_begins(&mut self, host: usize, boot: u32, start: Start) {
        let this = &self.hosts[host];
        if this.boot != boot || this.agent.process != start.process || this.agent.member.is_none() {
            return;
        }
        if this.stands_still() || this.agent.paused_until > self.at {
            self.queue.at(self.at + 100 * MS, Event::Begin { host, boot, start });
            return;
        }
        let Some(domain) = self.domain(start.domain) else { return };
        let gate = this.page.as_ref().map(StartGate::of).unwrap_or_default();
        let stored = self.domains[domain].stored.contains(&start.hash);
        let definition =
            stored.then_some(start.hash).ok_or_else(|| "no definition of this chain is stored".to_owned());
        let (starting, _) = Starting::begin(start.hash);
        let now = this.clock.now(self.at).instant;
        if let StartStep::Ended(result) = starting.loaded(now, gate, definition) {
            return self.start_ended(host, start, result);
        }
        if !self.plan.hook {
            return self.own_start_runs(host, boot, domain, start);
        }
        // One that runs already was started by somebody else, and libvirt has one job of a domain at a time: the other's goes first.
        if !self.hosts[host].starting.insert(domain) {
            self.queue.at(self.at + 100 * MS, Event::Begin { host, boot, start });
        } else if self.runs_there(host, domain) {
            self.own_start_fails(host, domain, start, "it runs already");
        } else {
            self.ask_hook(host, domain, HookStep::Own { start, step: OwnStep::Prepare });
        }
    }

    /// Libvirt runs QEMU for it, or fails.
    pub(super) fn own_start_runs(&mut self, host: usize, boot: u32, domain: usize, start: Start) {
        if self.hosts[host].image_locked > 0 {
            return self.own_start_ended(host, domain, start, Err(StartFailure::ImageLocked));
        }
        if self.hosts[host].starts_fail > 0 {
            self.hosts[host].starts_fail -= 1;
            return self.own_start_fails(host, domain, start, "out of luck");
        }
        self.hosts[host].libvirt_starts += 1;
        let hangs = self.hosts[host].start_hangs.take();
        let after = hangs.unwrap_or_else(|| MS + self.below(START));
        self.queue.at(self.at + after, Event::Started { host, boot, start });
    }

    /// Libvirt has the process made, whatever became of the agent meanwhile.
    pub(crate) fn process_appears(&mut self, host: usize, boot: u32, start: Start) {
        let this = &self.hosts[host];
        if this.boot != boot || !this.powered {
            return;
        }
        if this.still_since.is_some() || this.libvirt_hung > 0 {
            self.queue.at(self.at + 100 * MS, Event::Started { host, boot, start });
            return;
        }
        let Some(domain) = self.domain(start.domain) else { return };
        self.hosts[host].libvirt_starts -= 1;
        let this = &self.hosts[host];
        if this.guests.iter().any(|run| self.runs[*run].domain == domain) {
            return self.own_start_fails(host, domain, start, "it runs already");
        }
        // Nothing resets such a host while its start hangs: only a hook could deny it then (ARCHITECTURE 11).
        let unwatched = self.plan.hosts[host].watchdog == WatchdogClass::None;
        if unwatched && this.fencer.half.latched.is_some() {
            return self.own_start_fails(host, domain, start, "a hook denies it");
        }
        let run = self.begin_run(domain, host, Some(start.term), start.hash);
        if !self.plan.hook {
            return self.own_start_ended(host, domain, start, Ok(()));
        }
        let after = MS + self.below(START);
        let step = HookStep::Own { start, step: OwnStep::Answered { run } };
        self.queue.at(self.at + after, Event::HookGoesOn { host, boot, domain, step });
    }

    /// Its guest may have ended meanwhile.
    pub(super) fn own_start_is_answered(&mut self, host: usize, domain: usize, start: Start, run: usize) {
        match self.hosts[host].guests.contains(&run) {
            true => self.own_start_ended(host, domain, start, Ok(())),
            false => self.own_start_fails(host, domain, start, "it ended as soon as it was started"),
        }
    }

    pub(super) fn own_start_fails(&mut self, host: usize, domain: usize, start: Start, why: &str) {
        self.own_start_ended(host, domain, start, Err(StartFailure::Failed(why.to_owned())));
    }

    /// Libvirt has answered, and its job is over.
    fn own_start_ended(
        &mut self,
        host: usize,
        domain: usize,
        start: Start,
        result: Result<(), StartFailure>,
    ) {
        if self.plan.hook {
            self.hosts[host].starting.remove(&domain);
            if result.is_err() {
                self.hook_tells_of_release(host, start.domain);
            }
        }
        self.start_ended(host, start, result);
    }

    fn start_ended(&mut self, host: usize, start: Start, result: Result<(), StartFailure>) {
        if self.hosts[host].agent.process == start.process {
            self.give(host, Input::StartEnded { domain: start.domain, term: start.term, result });
        }
    }
}
