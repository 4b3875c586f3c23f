//! Guests: their processes, and until when a write of theirs may land. A guest that runs may write at every instant; what
//! it wrote waits in the host's kernel where the way is cut, and on the storage until that applies it.

use leasefence_core::fencing::{DomainProcess, HalfReading, StorageKind};
use leasefence_core::ids::{DomainId, Term};
use leasefence_core::member::destroy_needs_libvirt;

use super::event::Event;
use super::fencer::run_of;
use super::run::{Cpus, Ended, Run, Writes};
use super::{DataStorage, Lane, World};
use crate::invariants::Happened;
use crate::time::{MS, S};

/// From SIGKILL to the exit of a process that does not wait for the kernel.
const EXIT: u64 = 30 * MS;
/// How long libvirt takes to tell that a domain ended.
const TELL: u64 = 500 * MS;

impl World {
    /// A process of a domain appears, and its CPUs run.
    pub(crate) fn begin_run(&mut self, domain: usize, host: usize, term: Option<Term>, chain: u64) -> usize {
        let number = self.add_process(domain, host, term, chain);
        self.counts.runs += 1;
        self.counts.recoveries += u64::from(term.is_some());
        self.tell_host(host, "runs", || format!("domain {domain} begins, {}", by(term)));
        self.cold_start_runs(number);
        self.beat_soon(host);
        self.libvirt_changed(host);
        number
    }

    /// The CPUs of a process run that waited for no migration.
    pub(super) fn cold_start_runs(&mut self, run: usize) {
        let (at, this) = (self.at, &mut self.runs[run]);
        (this.cpus, this.ran_at) = (Cpus::Run, Some(at));
        let (domain, recovers) = (this.domain, this.term.is_some());
        self.domains[domain].stopped_by_user = false;
        // What a user starts is protected from its first lease on.
        self.domains[domain].leased &= recovers;
        self.happened(&Happened::Began { run });
    }

    /// A process of a domain appears, its CPUs stopped.
    pub(super) fn add_process(
        &mut self,
        domain: usize,
        host: usize,
        term: Option<Term>,
        chain: u64,
    ) -> usize {
        let number = self.runs.len();
        let this = &self.hosts[host];
        let run = Run {
            domain,
            host,
            boot: this.boot,
            incarnation: this.life(),
            term,
            chain,
            began: self.at,
            killed: None,
            exited: None,
            quiet: None,
            quiet_as_assumed: None,
            told: false,
            writes: [Writes::default(); 2],
            ended_by: None,
            cut_short: false,
            comes_in: false,
            cpus: Cpus::Wait,
            ran_at: None,
            handed_over: None,
            halted: None,
            resumed: None,
            lost: false,
        };
        let process = DomainProcess {
            domain: self.domains[domain].id,
            pid: u32::try_from(number + 1).unwrap_or(u32::MAX),
            start_time: this.clock.now(self.at).instant.boot_ns / (10 * MS),
            scan: 0,
        };
        self.runs.push(run);
        self.domains[domain].runs.push(number);
        let this = &mut self.hosts[host];
        this.guests.push(number);
        this.processes.push(process);
        this.known.insert(domain, chain);
        number
    }

    /// Runs that began before their host had an incarnation are under the first that it gets. One whose record has never reached the
    /// storage, and under which none of them is owned, was none for anybody else: they go on under the next.
    pub(crate) fn name_runs(&mut self, host: usize) {
        let Some(life) = self.hosts[host].life() else { return };
        let is_named = |run: &usize| {
            let named = self.runs[*run].incarnation;
            named.is_some_and(|named| self.recorded.contains(&named)) || self.own_has_landed(*run)
        };
        let unnamed: Vec<usize> =
            self.hosts[host].guests.iter().copied().filter(|run| !is_named(run)).collect();
        unnamed.into_iter().for_each(|run| self.runs[run].incarnation = Some(life));
    }

    /// The agent kills what the core means, of one domain or of all; libvirt is its second line.
    pub(crate) fn agent_kills(&mut self, host: usize, domain: Option<DomainId>) {
        let found = HalfReading::Good(self.hosts[host].fencer.half.clone());
        let runs: Vec<usize> = self.page_seen(host).to_kill(domain, found).filter_map(run_of).collect();
        let by_libvirt = match domain {
            Some(domain) if destroy_needs_libvirt(runs.len(), 0) => vec![domain],
            Some(_) => Vec::new(),
            None => self.hosts[host].agent.running.clone(),
        };
        runs.into_iter().for_each(|run| self.kill_run(run, "by the agent"));
        let boot = self.hosts[host].boot;
        for domain in by_libvirt {
            let after = MS + self.below(TELL);
            self.queue.at(self.at + after, Event::Destroy { host, boot, domain });
        }
    }

    /// Libvirt ends a domain, as soon as it answers.
    pub(crate) fn libvirt_destroys(&mut self, host: usize, boot: u32, domain: DomainId) {
        let this = &self.hosts[host];
        if this.boot != boot || !this.powered {
            return;
        }
        if this.libvirt_hung > 0 || this.still_since.is_some() {
            self.queue.at(self.at + S, Event::Destroy { host, boot, domain });
            return;
        }
        let is_its = |run: &&usize| self.domains[self.runs[**run].domain].id == domain;
        let run = this.guests.iter().find(is_its).copied();
        run.into_iter().for_each(|run| self.kill_run(run, "by libvirt, whom the agent asked"));
    }

    /// SIGKILL.
    pub(crate) fn kill_run(&mut self, run: usize, who: &'static str) {
        // One that a user has shut down, and that waits for its storage, does so no more.
        self.runs[run].cut_short |= self.runs[run].ended_by.is_some() && self.runs[run].exited.is_none();
        if self.runs[run].killed.is_some() {
            return;
        }
        self.runs[run].killed = Some(self.at);
        let (host, domain) = (self.runs[run].host, self.runs[run].domain);
        self.tell_host(host, "kill", || format!("domain {domain} {who}"));
        self.happened(&Happened::Killed { run });
        self.has_died(run);
        let after = self.below(EXIT);
        self.queue.at(self.at + after, Event::Exit { run });
    }

    /// It ends by itself.
    pub(crate) fn end_run(&mut self, run: usize, why: Ended) {
        if self.runs[run].killed.is_none() {
            self.runs[run].ended_by = Some(why);
            self.runs[run].killed = Some(self.at);
            let domain = self.runs[run].domain;
            self.domains[domain].stopped_by_user |= why == Ended::Stopped;
            let host = self.runs[run].host;
            // One that crashes before a list shows it under its new lease ends as stopped (ARCHITECTURE 11).
            let id = self.domains[domain].id;
            let own = self.hosts[host].page.iter().flat_map(|page| &page.own);
            let seen = own.into_iter().any(|lease| lease.domain == id && lease.ran);
            let moved = matches!(why, Ended::Migrated | Ended::Destroyed);
            self.domains[domain].leased &= seen || moved || self.runs[run].term.is_some();
            self.tell_host(host, "ends", || format!("domain {domain}: {why:?}"));
            self.has_died(run);
            self.queue.at(self.at, Event::Exit { run });
        }
    }

    /// The process is gone, unless it waits for the kernel.
    pub(crate) fn process_exits(&mut self, run: usize) {
        let (host, boot) = (self.runs[run].host, self.runs[run].boot);
        if self.runs[run].exited.is_some() || self.hosts[host].boot != boot {
            return;
        }
        if self.hosts[host].stands_still() || self.hosts[host].unkillable > 0 {
            if self.runs[run].ended_by.is_some() {
                self.tell_of(run);
            }
            self.queue.at(self.at + 50 * MS, Event::Exit { run });
            return;
        }
        if self.is_stuck(run) || self.drains_itself(run) && self.waits_for_storage(run) {
            self.queue.at(self.at + 50 * MS, Event::Exit { run });
            return;
        }
        self.runs[run].exited = Some(self.at);
        self.forget_process(host, run);
        self.writes_on_their_way(run);
        self.tell_of(run);
        self.beat_soon(host);
    }

    /// Libvirt notices that a run is over.
    fn tell_of(&mut self, run: usize) {
        if !std::mem::replace(&mut self.runs[run].told, true) {
            let host = self.runs[run].host;
            let process = self.hosts[host].agent.process;
            let after = self.below(TELL);
            self.queue.at(self.at + after, Event::Told { host, process, run });
        }
    }

    /// QEMU that a user has shut down has all its writes acknowledged before it exits. (Where users look first they wait, and the world knows
    /// no such thing.)
    fn drains_itself(&self, run: usize) -> bool {
        let run = &self.runs[run];
        self.plan.hook && run.ended_by == Some(Ended::Stopped) && !run.cut_short
    }

    pub(super) fn waits_for_storage(&self, run: usize) -> bool {
        let cut = self.hosts[self.runs[run].host].data_cut > 0;
        cut || self.storages_of(run).any(|storage| self.storages[storage].stalled_until > self.at)
    }

    fn forget_process(&mut self, host: usize, run: usize) {
        let this = &mut self.hosts[host];
        this.guests.retain(|guest| *guest != run);
        this.processes.retain(|process| usize::try_from(process.pid).ok() != Some(run + 1));
    }

    pub(crate) fn storages_of(&self, run: usize) -> impl Iterator<Item = usize> + use<> {
        self.plan.domains[self.runs[run].domain].storages.into_iter().flatten()
    }

    /// The places of its storages in its list of them, and the storages.
    pub(super) fn places_of(&self, run: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let storages = self.plan.domains[self.runs[run].domain].storages.into_iter().enumerate();
        storages.filter_map(|(place, storage)| Some((place, storage?)))
    }

    fn is_remote(&self, storage: usize) -> bool {
        self.storages[storage].kind == StorageKind::Nfs
    }

    /// What a process that is gone has written: with a file system of this kernel all of it has landed; over a network it
    /// is on its way, or waits in this kernel while the way is cut.
    fn writes_on_their_way(&mut self, run: usize) {
        // One whose CPUs never ran has written nothing; QEMU hands over only what has landed.
        let has_none = self.drains_itself(run) || self.runs[run].cpus != Cpus::Run;
        let local = |world: &Self, storage| has_none || !world.is_remote(storage);
        for (place, storage) in self.places_of(run) {
            if local(self, storage) {
                self.lands(run, place, self.at, self.at);
            }
        }
        if self.hosts[self.runs[run].host].data_cut == 0 {
            self.lands_from_now(run);
        } else if self.runs[run].quiet.is_none() {
            self.hosts[self.runs[run].host].queued.push(run);
        }
    }

    /// All that it wrote has been received, and lands as soon as each storage applies it.
    fn lands_from_now(&mut self, run: usize) {
        for (place, storage) in self.places_of(run) {
            self.lands_from_now_on(run, place, storage);
        }
    }

    /// The same, on one storage.
    pub(super) fn lands_from_now_on(&mut self, run: usize, place: usize, storage: usize) {
        let DataStorage { hold, stalled_until, .. } = self.storages[storage];
        self.lands(run, place, self.at.max(stalled_until) + hold, self.at + hold);
    }

    /// It is known when the last write of it lands on one storage. It is quiet when that is so of all.
    fn lands(&mut self, run: usize, place: usize, truly: u64, as_assumed: u64) {
        let places: Vec<usize> = self.places_of(run).map(|(place, _)| place).collect();
        let run = &mut self.runs[run];
        let writes = &mut run.writes[place];
        if writes.landed.is_none() {
            (writes.landed, writes.landed_as_assumed) = (Some(truly), as_assumed);
        }
        let all = places.iter().map(|place| run.writes[*place]);
        run.quiet = all.clone().try_fold(0, |last, writes| Some(writes.landed?.max(last)));
        run.quiet_as_assumed = run.quiet.map(|_| all.map(|w| w.landed_as_assumed).max().unwrap_or_default());
    }

    /// The way to the guests' storage is whole again: what waited in the kernel goes out.
    pub(crate) fn data_path_heals(&mut self, host: usize) {
        for run in std::mem::take(&mut self.hosts[host].queued) {
            self.lands_from_now(run);
        }
    }

    /// Power is lost: processes and kernel are gone; what the storages have received lands.
    pub(crate) fn runs_lose_power(&mut self, host: usize) {
        self.hosts[host].queued.clear();
        self.hosts[host].processes.clear();
        self.hosts[host].guests.clear();
        for run in 0..self.runs.len() {
            let this = &self.runs[run];
            if this.host == host && this.boot == self.hosts[host].boot && this.quiet.is_none() {
                let cut = this.exited.is_some() || this.cpus != Cpus::Run;
                if this.killed.is_none() {
                    self.runs[run].killed = Some(self.at);
                    self.has_died(run);
                }
                self.runs[run].exited.get_or_insert(self.at);
                if cut {
                    self.places_of(run).for_each(|(place, _)| self.lands(run, place, self.at, self.at));
                } else {
                    self.lands_from_now(run);
                }
            }
        }
    }

    pub(crate) fn tell_storage(&mut self, event: &'static str, text: impl FnOnce() -> String) {
        self.story.tell(self.at, Lane::Storage, event, text);
    }
}

fn by(term: Option<Term>) -> String {
    term.map_or_else(|| "started by a user".to_owned(), |term| format!("recovered under term {term}"))
}

#[cfg(test)]
mod tests;
