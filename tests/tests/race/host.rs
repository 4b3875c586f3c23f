//! One host of the race: a thread that drives the member over a real storage thread, the fencer's decisions, and guests
//! in the ledger. To be killed is to lose its guests and to do nothing more, at whatever instruction it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use leasefence_core::evidence::Verdict;
use leasefence_core::fencing::{
    AgentHalf, DomainProcess, Fencer, MarkerFound, PageView, QuiesceTarget, RestoredPage, Scan, StorageKind,
};
use leasefence_core::ids::{BootId, DomainId, HostKey, Incarnation, Nonce};
use leasefence_core::member::{
    Command, DomainReport, Input, LogLevel, Member, MemberConfig, MemberStatus, Protection, StartFailure,
};
use leasefence_core::recovery::RecoveryPolicy;
use leasefence_core::terms::Terms;
use leasefence_core::time::Now;
use leasefence_disk::{Disk, DiskOptions};

use crate::lease_file::CLUSTER;
use crate::ledger::Ledger;

const BEAT: Duration = Duration::from_millis(20);
const LISTING: Duration = Duration::from_millis(200);

/// Which host of which round, and what runs on it at the start.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) index: u8,
    pub(crate) round: u32,
    pub(crate) guests: Vec<DomainId>,
}

/// What a test sees of a host.
pub(crate) struct HostHandle {
    part: Part,
    ledger: Ledger,
    /// Held by the host for each step: who has it has stopped the host between two instructions of the test's choice.
    alive: Arc<Mutex<bool>>,
    seen: Arc<Seen>,
}

/// What the host's own status said last.
#[derive(Default)]
struct Seen {
    held: AtomicBool,
    owned: AtomicUsize,
    alive_peers: AtomicUsize,
}

/// Short terms: a verdict after 2.26 s.
fn terms() -> Terms {
    Terms {
        lease_ttl: Duration::from_secs(2),
        fence_budget: Duration::from_millis(150),
        write_drain: Duration::from_millis(100),
        renewal_interval: Duration::from_millis(100),
        scan_interval: Duration::from_millis(100),
        drift_ppm: 500,
        watchdog_actual: Duration::ZERO,
    }
}

impl HostHandle {
    pub(crate) fn start(path: &Path, ledger: &Ledger, part: Part) -> Self {
        let handle = Self {
            part: part.clone(),
            ledger: ledger.clone(),
            alive: Arc::new(Mutex::new(true)),
            seen: Arc::default(),
        };
        let (alive, seen) = (handle.alive.clone(), handle.seen.clone());
        let (path, ledger) = (path.to_path_buf(), ledger.clone());
        thread::spawn(move || {
            let mut host = Host::new(&path, ledger, part);
            loop {
                let input = host.next_input();
                let alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
                if !*alive {
                    return;
                }
                host.take(input);
                seen.take(&host.member.status(&leasefence_clock::now()));
            }
        });
        handle
    }

    /// True when it holds its lease, and sees this many hosts that hold theirs: a host that dies before its first
    /// `held` is on storage is nobody's to call gone.
    pub(crate) fn holds_among(&self, hosts: usize) -> bool {
        self.seen.held.load(Ordering::Relaxed) && self.seen.alive_peers.load(Ordering::Relaxed) == hosts
    }

    pub(crate) fn owns(&self) -> usize {
        self.seen.owned.load(Ordering::Relaxed)
    }

    /// Power off: its guests end at once; a write that is in flight may land or not.
    pub(crate) fn kill(self) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        *alive = false;
        self.ledger.tell(format!("host {}: POWER OFF", self.part.index));
        for domain in self.ledger.guests_of(self.part.index) {
            self.ledger.kill(self.part.index, domain);
        }
    }
}

impl Seen {
    fn take(&self, status: &MemberStatus) {
        let own = status.domains.iter().filter(|domain| domain.lease == "own").count();
        let alive = status.hosts.iter().filter(|host| host.verdict == Verdict::Alive).count();
        self.held.store(status.own.state == "held", Ordering::Relaxed);
        self.owned.store(own, Ordering::Relaxed);
        self.alive_peers.store(alive, Ordering::Relaxed);
    }
}

struct Host {
    part: Part,
    ledger: Ledger,
    member: Member,
    fencer: Fencer,
    disk: Disk,
    page: Option<AgentHalf>,
    inbox: Receiver<Input>,
    outbox: Sender<Input>,
    beat: Instant,
    listing: Instant,
    begun: bool,
}

impl Host {
    fn new(path: &Path, ledger: Ledger, part: Part) -> Self {
        let now = leasefence_clock::now();
        let boot_id = BootId([part.index + 1; 16]);
        let (outbox, inbox) = mpsc::channel();
        let done = outbox.clone();
        let (disk, medium) = Disk::open(&PathBuf::from(path), DiskOptions::default(), move |end| {
            drop(done.send(Input::Io(end)));
        })
        .expect("the lease file opens");
        let member = Member::new(MemberConfig {
            host_key: HostKey([part.index + 1; 16]),
            boot_id,
            process_nonce: Nonce(u64::from(part.index) + 1),
            host_name: format!("host-{}", part.index),
            cluster_name: CLUSTER.to_owned(),
            terms: terms(),
            watchdog_class: 0,
            reset_on: false,
            expire_without_hardware: true,
            unknown_hold: Duration::from_secs(5),
            has_machine_uuid: true,
            uptime: Duration::from_secs(3600),
            seed: u64::from(part.round) * 16 + u64::from(part.index),
            page: None,
            // All at once: the lease decides, and no delay keeps them apart.
            recovery: RecoveryPolicy { rank_delay: Duration::ZERO, ..RecoveryPolicy::default() },
        });
        let fencer = Fencer::start(&now, boot_id, MarkerFound::None, &RestoredPage::default());
        let at = Instant::now();
        outbox.send(Input::Fencer(fencer.half().clone())).expect("a channel");
        outbox.send(Input::Opened(medium)).expect("a channel");
        Self {
            part,
            ledger,
            member,
            fencer,
            disk,
            page: None,
            inbox,
            outbox,
            beat: at,
            listing: at,
            begun: false,
        }
    }

    /// Waits for the next thing that happens, and at most until the next beat.
    fn next_input(&mut self) -> Input {
        let wake = self.beat.saturating_duration_since(Instant::now());
        self.inbox.recv_timeout(wake).unwrap_or(Input::Tick)
    }

    fn take(&mut self, input: Input) {
        if !self.begun {
            self.begun = true;
            for domain in self.part.guests.clone() {
                self.ledger.start(self.part.index, Incarnation::default(), domain);
            }
        }
        if self.beat <= Instant::now() {
            self.beat = Instant::now() + BEAT;
            self.fencer_beats();
        }
        if self.listing <= Instant::now() {
            self.listing = Instant::now() + LISTING;
            let guests = self.ledger.guests_of(self.part.index);
            self.handle(Input::Capacity { memory_mib: 100_000 });
            self.handle(Input::Domains(guests.iter().map(report).collect()));
        }
        self.handle(input);
    }

    fn handle(&mut self, input: Input) {
        let now = leasefence_clock::now();
        self.member.handle(&now, input);
        while let Some(command) = self.member.poll_command(&leasefence_clock::now()) {
            self.execute(command);
        }
    }

    fn execute(&mut self, command: Command) {
        let index = self.part.index;
        match command {
            Command::Io(request) => assert!(self.disk.submit(request), "the storage thread lives"),
            Command::Page(half) => self.page = Some(*half),
            Command::Barrier { domain, asked, .. } => {
                self.later(Input::Barrier { domain, asked, result: Ok(Duration::from_millis(1)) });
            }
            Command::Start { domain, term, .. } => {
                // The fencer looks once more between the token and the start, as it does beside a real agent.
                self.fencer_beats();
                let incarnation = self.member.incarnation().unwrap_or_default();
                let result = if self.fencer.half().latched.is_none() {
                    self.ledger.start(index, incarnation, domain);
                    Ok(())
                } else {
                    Err(StartFailure::Failed("the lease is over".to_owned()))
                };
                self.later(Input::StartEnded { domain, term, result });
            }
            Command::Destroy { domain, .. } => self.ledger.kill(index, domain),
            Command::KillAll => {
                self.ledger.guests_of(index).into_iter().for_each(|d| self.ledger.kill(index, d));
            }
            Command::Note(note) if note.level >= LogLevel::Info => {
                self.ledger.tell(format!("host {index}: {}: {}", note.event, note.text));
            }
            // Nobody but the agents starts anything here.
            Command::PermitStart { .. }
            | Command::AskActivity { .. }
            | Command::Migration { .. }
            | Command::StoreDefinition { .. }
            | Command::Reply(..)
            | Command::Note(_) => {}
            Command::Fatal(why) => panic!("host {index} gives up: {why}\n{}", self.ledger.story()),
        }
    }

    fn later(&self, input: Input) {
        self.outbox.send(input).expect("the host holds both ends");
    }

    fn fencer_beats(&mut self) {
        let now = leasefence_clock::now();
        self.fencer.handle_page(&now, self.page.as_ref().map_or(PageView::Unreadable, PageView::Good));
        if self.fencer.marker_wanted().is_some() {
            self.fencer.marker_written();
        }
        self.fencer.published();
        for domain in self.ledger.guests_of(self.part.index) {
            if self.fencer.condemns(&process(domain)) {
                self.ledger.kill(self.part.index, domain);
            }
        }
        let now: Now = leasefence_clock::now();
        let processes: Vec<_> = self.ledger.guests_of(self.part.index).into_iter().map(process).collect();
        let started = now.instant;
        let scan = Scan { started, complete: true, searched: Some(started), processes: &processes };
        self.fencer.handle_scan(&now, &scan);
        self.fencer.take_events().for_each(drop);
        self.fencer.published();
        self.later(Input::Fencer(self.fencer.half().clone()));
    }
}

fn process(domain: DomainId) -> DomainProcess {
    DomainProcess { domain, pid: 1, start_time: u64::MAX / 100_000_000, scan: 0 }
}

fn report(domain: &DomainId) -> DomainReport {
    DomainReport {
        domain: *domain,
        name: format!("guest-{}", domain.0[0]),
        running: true,
        protection: Protection { ha: true, priority: 1, exempt: false },
        vcpus: 1,
        memory_mib: 16,
        definition_hash: u64::from(domain.0[0]),
        definition_version: 1,
        storages: vec![QuiesceTarget { kind: StorageKind::OneKernel, device: 1 }],
        unanswered: false,
        doubtful: false,
    }
}
