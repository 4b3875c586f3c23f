//! The world: hosts, their ways to one lease file, the guests' storages, and one queue of what happens next. It drives
//! the shipped core as agent and fencer do, in virtual time; it reads no clock and draws all chance from the seed.

mod agent;
mod clock;
mod cpus;
mod event;
mod faults;
mod fencer;
mod guests;
mod hooked;
mod host;
mod lease_file;
mod libvirt;
mod looks;
mod memory;
mod mend;
mod moment;
mod moves;
mod observer;
mod path;
mod power;
mod quiesced;
mod run;
mod sights;
mod storage;
mod truth;
mod users;
mod watchdog;

use std::collections::BTreeSet;

use leasefence_core::fencing::StorageKind;
use leasefence_core::ids::{DomainId, Incarnation};

pub(crate) use event::Event;
use event::Queue;
use host::Host;
use lease_file::LeaseFile;
pub(crate) use lease_file::{FLAGS_AT, LateWrite, STATE_AT, version_in};
use looks::Looks;
pub(crate) use looks::Writing;
use moves::Moving;
use observer::ObserverProcess;
use path::{Client, Path};
pub use run::Run;

use crate::invariants::{Happened, Judges, Violation};
use crate::plan::Plan;
use crate::story::{Lane, Story};

/// A domain, as the world knows it.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) id: DomainId,
    /// All runs, in order.
    pub(crate) runs: Vec<usize>,
    /// Its disk chain now; each snapshot makes a higher one.
    pub(crate) chain: u64,
    /// When a snapshot made it.
    pub(crate) chained_at: u64,
    /// The chains whose definitions are stored.
    pub(crate) stored: Vec<u64>,
    /// An entry that says that it is owned and HA has reached the storage.
    pub(crate) leased: bool,
    /// A user shut it down, and nobody has started it since.
    pub(crate) stopped_by_user: bool,
}

/// A guests' storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataStorage {
    pub(crate) kind: StorageKind,
    /// The longest that it holds a write.
    pub(crate) hold: u64,
    /// Its back end stands still until then.
    pub(crate) stalled_until: u64,
}

/// How a seed ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What was violated, if anything was.
    pub violation: Option<Violation>,
    /// Nanoseconds of the world's time that were lived through.
    pub lived: u64,
    /// Events that were handled.
    pub events: u64,
    /// Runs of domains, recoveries among them, latched ends, verdicts: that something happened at all.
    pub counts: Counts,
}

/// That something happened at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Runs of domains.
    pub runs: u64,
    /// Runs that a recovery began.
    pub recoveries: u64,
    /// Domains that came in by a live migration, and ran.
    pub moves: u64,
    /// Latched ends.
    pub fences: u64,
    /// Incarnations that somebody called gone.
    pub verdicts: u64,
    /// Hosts reset by their watchdog or their fencer.
    pub resets: u64,
}

impl Counts {
    /// The sum of both.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.recoveries += other.recoveries;
        self.moves += other.moves;
        self.fences += other.fences;
        self.verdicts += other.verdicts;
        self.resets += other.resets;
    }
}

/// All of it.
#[derive(Debug)]
pub struct World {
    pub(crate) at: u64,
    /// Questions of libvirt's hooks so far.
    pub(crate) asked: u64,
    pub(crate) plan: Plan,
    pub(crate) rng: fastrand::Rng,
    pub(crate) queue: Queue,
    pub(crate) file: LeaseFile,
    /// The hosts' ways to the lease storage, then the observer's.
    pub(crate) clients: Vec<Client>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) storages: Vec<DataStorage>,
    pub(crate) runs: Vec<Run>,
    /// All migrations, in order.
    pub(crate) moves: Vec<Moving>,
    pub(crate) observer: Option<ObserverProcess>,
    pub(crate) counts: Counts,
    pub(crate) story: Story,
    /// Faults are over; what was broken is whole again.
    pub(crate) mended: bool,
    pub(crate) requests: u64,
    /// Machines whose slot an operator was asked to free.
    pub(crate) freed: Vec<u8>,
    /// When both copies of a sector were damaged.
    pub(crate) damaged_at: Option<u64>,
    /// What the storage has shown of lease pages, and to whom.
    pub(crate) looks: Looks,
    /// Whose records have reached the storage. A name that stood in a page alone nobody has seen.
    pub(crate) recorded: BTreeSet<Incarnation>,
    judges: Judges,
    violation: Option<Violation>,
    over: bool,
}

impl World {
    /// The world of a plan, before anything has happened. A story is kept only where somebody will read it.
    #[must_use]
    pub fn new(plan: Plan, keeps_story: bool) -> Self {
        let keeps_history = plan.breaks_assumptions();
        let hosts: Vec<Host> = plan
            .hosts
            .iter()
            .enumerate()
            .map(|(index, host)| Host::new(index, host.machine, host.terms))
            .collect();
        let mut clients: Vec<Client> = plan
            .hosts
            .iter()
            .map(|host| Client {
                path: Path { latency: host.latency, ..Path::default() },
                ..Client::default()
            })
            .collect();
        clients
            .push(Client { path: Path { latency: crate::time::MS, ..Path::default() }, ..Client::default() });
        let domains = (0..plan.domains.len()).map(Domain::new).collect();
        let storages = plan.cluster.storages.iter();
        let mut world = Self {
            at: 0,
            asked: 0,
            rng: fastrand::Rng::with_seed(plan.seed ^ 0x005e_ed0f_7a11_5000),
            queue: Queue::default(),
            file: LeaseFile::new(&plan.cluster, keeps_history),
            clients,
            hosts,
            domains,
            storages: storages
                .map(|(kind, hold)| DataStorage { kind: *kind, hold: *hold, stalled_until: 0 })
                .collect(),
            runs: Vec::new(),
            moves: Vec::new(),
            observer: plan.cluster.observer.then(|| ObserverProcess::new(plan.seed)),
            counts: Counts::default(),
            story: Story::new(keeps_story, plan.hosts.len()),
            mended: false,
            requests: 0,
            freed: Vec::new(),
            damaged_at: None,
            looks: Looks::default(),
            recorded: BTreeSet::new(),
            judges: Judges::new(&plan),
            violation: None,
            over: false,
            plan,
        };
        world.fill_queue();
        world
    }

    fn fill_queue(&mut self) {
        let plan = &self.plan;
        for (host, this) in plan.hosts.iter().enumerate().filter(|(host, _)| !plan.begins_off(*host)) {
            self.queue.at(this.boots_at, Event::PowerOn { host });
        }
        for (domain, this) in
            plan.domains.iter().enumerate().filter(|(domain, _)| !plan.unstarted.contains(domain))
        {
            self.queue.at(this.starts_at, Event::UserStart { domain });
        }
        for (number, fault) in plan.kept() {
            self.queue.at(fault.at, Event::Fault { number });
        }
        if self.observer.is_some() {
            self.queue.at(0, Event::Observer { number: 0 });
        }
        self.queue.at(self.plan.mended_at, Event::Mend);
        self.queue.at(self.plan.end(), Event::End);
    }

    /// Lives through the plan, to its end or to the first violation.
    pub fn live(&mut self) -> Outcome {
        while !self.over && self.violation.is_none() {
            let Some((at, event)) = self.queue.next() else { break };
            self.at = at;
            self.dispatch(event);
            self.take_sights();
        }
        self.outcome()
    }

    /// What has become of it so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome {
            violation: self.violation.clone(),
            lived: self.at,
            events: self.queue.filled(),
            counts: self.counts,
        }
    }

    /// What was told.
    #[must_use]
    pub fn story(&self) -> &Story {
        &self.story
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::PowerOn { host } => self.power_on(host),
            Event::StartFencer { host, boot } => self.start_fencer(host, boot),
            Event::StartAgent { host, boot } => self.start_agent(host, boot),
            Event::Agent { host, number } => self.agent_wakes(host, number),
            Event::Look { host, process } => self.agent_looks(host, process),
            Event::Beat { host, number } => self.fencer_wakes(host, number),
            Event::Offer { host, boot } => self.page_offered(host, boot),
            Event::Bite { host, boot } => self.watchdog_is_due(host, boot),
            Event::Reset { host, boot } => self.trigger_acts(host, boot),
            Event::Listing { host, process } => self.look_at_libvirt(host, process),
            Event::Destroy { host, boot, domain } => self.libvirt_destroys(host, boot, domain),
            Event::Open { host, process } => self.lease_opens(host, process),
            Event::Io { client, number } => self.io_moves(client, number),
            Event::TimeOut { client, number } => self.io_times_out(client, number),
            Event::Land { write } => self.late_write_lands(write),
            Event::Barrier { host, process, domain, barrier } => {
                self.barrier_ends(host, process, domain, barrier);
            }
            Event::Begin { host, boot, start } => self.start_begins(host, boot, start),
            Event::Started { host, boot, start } => self.process_appears(host, boot, start),
            Event::Stored { host, boot, domain, chain } => self.definition_stored(host, boot, domain, chain),
            Event::Exit { run } => self.process_exits(run),
            Event::Told { host, process, run } => self.libvirt_tells(host, process, run),
            Event::Quiesced { host, boot, storage, begun } => {
                self.storage_quiesced(host, boot, storage, begun);
            }
            Event::Observer { number } => self.observer_wakes(number),
            Event::Fault { number } => self.fault_strikes(number),
            Event::Over { number } => self.fault_is_over(number),
            Event::Mend => self.mend(),
            Event::Tend => self.tend(),
            Event::UserStart { domain } => self.user_starts(domain),
            Event::HookLate { host, id } => self.hook_gives_up(host, id),
            Event::HookGoesOn { host, boot, domain, step } => self.start_goes_on(host, boot, domain, step),
            Event::Moves { number } => self.migration_moves(number),
            Event::Word { host, process, domain, word } => self.word_comes(host, process, domain, word),
            Event::End => self.end(),
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.happened(&Happened::End);
    }

    /// Shows the judges what happened; the first violation ends the world.
    pub(crate) fn happened(&mut self, happened: &Happened) {
        if self.violation.is_some() {
            return;
        }
        let mut judges = std::mem::take(&mut self.judges);
        self.violation = judges.judge(self, happened);
        self.judges = judges;
        if let Some(violation) = &self.violation {
            self.story.tell(self.at, Lane::Storage, "violation", || violation.to_string());
        }
    }

    /// A number below `most`, or zero.
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.rng.u64(..most) }
    }
}

impl Domain {
    fn new(index: usize) -> Self {
        let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
        let id = DomainId([number; 16]);
        Self {
            id,
            runs: Vec::new(),
            chain: 1,
            chained_at: 0,
            stored: Vec::new(),
            leased: false,
            stopped_by_user: false,
        }
    }
}
