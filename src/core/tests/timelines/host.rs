//! One host: a member, a fencer, what they share, the guests that run, and its way to the storage.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use leasefence_core::fencing::{
    AgentHalf, DomainProcess, Fencer, FencerHalf, Marker, MarkerFound, PageView, QuiesceTarget, Quiet,
    RestoredPage, Scan, StartToken, StorageKind,
};
use leasefence_core::ids::{BootId, DomainId, HostKey, Incarnation, Nonce};
use leasefence_core::member::{
    Command, DomainReport, Input, LeaseMedium, Member, MemberConfig, MigrationNews, MigrationStep,
    Protection, RequestId, StartActivity, StartFailure,
};
use leasefence_core::recovery::RecoveryPolicy;
use leasefence_core::storage::{IoDone, IoError, IoOp, IoRequest};
use leasefence_core::terms::Terms;
use leasefence_core::time::{Instant, Now};

use crate::disk::{Disk, Path};

/// Between two beats of the fencer.
const BEAT: u64 = 50_000_000;
/// Between two of libvirt's lists.
const LISTING: u64 = 1_000_000_000;

/// A line of the world's log: when (ms), which host, which event, the sentence.
pub(crate) type Line = (u64, String, String, String);

/// An operation that the storage thread has in hand.
#[derive(Clone, Debug)]
struct Pending {
    request: IoRequest,
    issued: Now,
    /// When it is done; none while the path is cut.
    due: Option<u64>,
}

/// One host.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) terms: Terms,
    pub(crate) watchdog_class: u8,
    boots: u8,
    processes: u64,
    /// What this host's clocks are ahead of the world's, so that a comparison of two hosts' clocks shows (R2).
    offset: u64,
    pub(crate) suspended_ns: u64,
    pub(crate) powered: bool,
    booted: u64,
    pub(crate) member: Option<Member>,
    pub(crate) page: Option<AgentHalf>,
    fencer: Option<Fencer>,
    pub(crate) fencer_half: FencerHalf,
    marker: MarkerFound,
    /// The agent's process is stopped (SIGSTOP).
    pub(crate) agent_stopped: bool,
    /// The fencer's process is gone or stopped.
    pub(crate) fencer_stopped: bool,
    /// The agent has not come to look at what the fencer has written since.
    pub(crate) half_unseen: bool,
    /// The fencer beats and cannot write its marker: it arms nothing.
    pub(crate) marker_broken: bool,
    /// A killed guest stays: it waits for the kernel.
    pub(crate) guests_stay: bool,
    pub(crate) path: Path,
    picture: Option<Disk>,
    pending: Option<Pending>,
    late: Vec<(u64, IoOp)>,
    inbox: VecDeque<(u64, Input)>,
    next_beat: u64,
    next_listing: u64,
    /// The guests that run, each with the incarnation under which it was started.
    pub(crate) guests: BTreeMap<DomainId, Incarnation>,
    /// Processes whose CPUs have never run: they wait for a migration, or are a start that libvirt still sets up.
    pub(crate) waiting: BTreeMap<DomainId, Incarnation>,
    /// Domains whose processes were run to wait for a migration.
    pub(crate) came_in: BTreeSet<DomainId>,
    /// What shows of them is not QEMU, or not yet.
    pub(crate) helpers_only: bool,
    /// Guests whose CPUs libvirt has stopped, in order to migrate them away.
    pub(crate) suspended: BTreeSet<DomainId>,
    /// Guests whose processes the agent has stopped.
    pub(crate) halted: BTreeSet<DomainId>,
    /// Domains that libvirt is migrating away.
    pub(crate) migrates: BTreeSet<DomainId>,
    /// So many signals reach none of their processes.
    pub(crate) signals_lost: u8,
    /// So many questions whether it does are not answered.
    pub(crate) jobs_untold: u8,
    /// The answer to the next one is so long on its way, in milliseconds.
    pub(crate) job_told_late: u64,
    pub(crate) libvirt_away: bool,
    /// The way to the guests' storage is cut: a barrier is not answered.
    pub(crate) data_cut: bool,
    /// Nobody can write a barrier: a disk that only QEMU reaches.
    pub(crate) barriers_refused: bool,
    /// How long a barrier takes.
    pub(crate) barrier_takes: Duration,
    barriers: Vec<(DomainId, Instant)>,
    /// What libvirt's lists say of the guests' storage.
    pub(crate) storage_kind: StorageKind,
    /// Nobody can find out what storage its guests lie on.
    pub(crate) storage_is_silent: bool,
    /// The storage is shown quiet by force.
    pub(crate) quiets_by_force: bool,
    /// Domains whose disk chain libvirt knows to be another than in the beginning: its hash.
    pub(crate) chains: BTreeMap<DomainId, u64>,
    /// Domains that libvirt knows here, shut off, each with the hash of its disk chain.
    pub(crate) left_here: BTreeMap<DomainId, u64>,
    /// The disk chain of each start.
    pub(crate) started_as: BTreeMap<DomainId, u64>,
    /// So many guests that are destroyed are started again in the same moment.
    pub(crate) started_again: u8,
    /// The operator has exempted all guests of this host.
    pub(crate) exempts: bool,
    /// The driver cannot tell whether that counts.
    pub(crate) doubts_exemptions: bool,
    /// Libvirt's hook has gone before it was answered.
    pub(crate) hook_gives_up: bool,
    /// What libvirt says of starts.
    pub(crate) libvirt_says: Option<StartActivity>,
    pub(crate) replies: BTreeMap<RequestId, (bool, String)>,
    pub(crate) log: Vec<Line>,
}

impl Host {
    pub(crate) fn new(index: u8, terms: Terms) -> Self {
        Self {
            name: format!("host-{index}"),
            terms,
            watchdog_class: 0,
            boots: 0,
            processes: 0,
            offset: u64::from(index) * 1_000_000_000_000,
            suspended_ns: 0,
            powered: false,
            booted: 0,
            member: None,
            page: None,
            fencer: None,
            fencer_half: FencerHalf::default(),
            marker: MarkerFound::None,
            agent_stopped: false,
            fencer_stopped: false,
            half_unseen: false,
            marker_broken: false,
            guests_stay: false,
            path: Path::Works(Duration::from_millis(2)),
            picture: None,
            pending: None,
            late: Vec::new(),
            inbox: VecDeque::new(),
            next_beat: 0,
            next_listing: 0,
            guests: BTreeMap::new(),
            waiting: BTreeMap::new(),
            came_in: BTreeSet::new(),
            helpers_only: false,
            suspended: BTreeSet::new(),
            halted: BTreeSet::new(),
            migrates: BTreeSet::new(),
            signals_lost: 0,
            jobs_untold: 0,
            job_told_late: 0,
            libvirt_away: false,
            data_cut: false,
            barriers_refused: false,
            barrier_takes: Duration::from_millis(3),
            barriers: Vec::new(),
            storage_kind: StorageKind::OneKernel,
            storage_is_silent: false,
            quiets_by_force: false,
            chains: BTreeMap::new(),
            left_here: BTreeMap::new(),
            started_as: BTreeMap::new(),
            started_again: 0,
            exempts: false,
            doubts_exemptions: false,
            hook_gives_up: false,
            libvirt_says: None,
            replies: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    pub(crate) fn now(&self, at: u64) -> Now {
        let ns = at + self.offset;
        let instant = Instant { boot_ns: ns, raw_ns: ns };
        Now { instant, suspended_ns: self.suspended_ns, wall_ns: 1_700_000_000_000_000_000 + at }
    }

    fn index(&self) -> u8 {
        u8::try_from(self.offset / 1_000_000_000_000).expect("few hosts")
    }

    fn boot_id(&self) -> BootId {
        BootId([self.index().wrapping_mul(16).wrapping_add(self.boots); 16])
    }

    /// Power on: a new boot, an empty /run.
    pub(crate) fn boot(&mut self, at: u64, size: u64) {
        self.boots += 1;
        (self.powered, self.booted) = (true, at.saturating_sub(60_000_000_000));
        (self.page, self.marker, self.fencer_half) = (None, MarkerFound::None, FencerHalf::default());
        (self.agent_stopped, self.fencer_stopped) = (false, false);
        self.start_fencer(at);
        self.start_agent(at, size);
    }

    pub(crate) fn start_fencer(&mut self, at: u64) {
        self.fencer_stopped = false;
        let restored = RestoredPage { own: Some(&self.fencer_half), agent: self.page.as_ref() };
        let restored = if self.page.is_some() { restored } else { RestoredPage::default() };
        self.fencer = Some(Fencer::start(&self.now(at), self.boot_id(), self.marker, &restored));
        self.next_beat = at;
    }

    /// A new agent process; it finds the page of the one before.
    pub(crate) fn start_agent(&mut self, at: u64, size: u64) {
        self.processes += 1;
        let config = MemberConfig {
            host_key: HostKey([self.index() + 1; 16]),
            boot_id: self.boot_id(),
            process_nonce: Nonce(u64::from(self.index()) * 1000 + self.processes),
            host_name: self.name.clone(),
            cluster_name: "test".to_owned(),
            terms: self.terms,
            watchdog_class: self.watchdog_class,
            reset_on: false,
            expire_without_hardware: true,
            unknown_hold: Duration::from_secs(20),
            has_machine_uuid: true,
            uptime: Duration::from_nanos(at - self.booted),
            seed: u64::from(self.index()) * 77 + self.processes,
            page: self.page.clone(),
            recovery: RecoveryPolicy::default(),
        };
        self.member = Some(Member::new(config));
        self.agent_stopped = false;
        self.pending = None;
        self.inbox.clear();
        self.next_listing = at + 10_000_000;
        let medium = LeaseMedium { size, block_device: false, sector_size: 4096 };
        // The page is memory: what the fencer wrote last can be read whether it runs or not.
        self.inbox.push_back((at, Input::Fencer(self.fencer_half.clone())));
        self.inbox.push_back((at, Input::Opened(medium)));
    }

    /// The agent's process dies: what it had in flight may land or not; here it is lost.
    pub(crate) fn kill_agent(&mut self) {
        (self.member, self.pending) = (None, None);
        self.inbox.clear();
        self.barriers.clear();
    }

    /// Power off: everything of this host is gone.
    pub(crate) fn power_off(&mut self) {
        self.kill_agent();
        (self.powered, self.fencer) = (false, None);
        self.guests.clear();
        self.waiting.clear();
        self.late.clear();
    }

    /// The guests whose CPUs run.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&DomainId, &Incarnation)> {
        self.guests
            .iter()
            .filter(|(domain, _)| !self.suspended.contains(*domain) && !self.halted.contains(*domain))
    }

    fn migration_step(&mut self, at: u64, domain: DomainId, step: MigrationStep) {
        let news = match step {
            MigrationStep::LookAt(process) => {
                let incoming = (!self.helpers_only).then(|| self.came_in.contains(&domain));
                MigrationNews::Process { process, incoming }
            }
            MigrationStep::AskJob { beside } if self.jobs_untold > 0 => {
                self.jobs_untold -= 1;
                MigrationNews::Job { beside, migrates: None }
            }
            MigrationStep::AskJob { beside } => {
                let news = MigrationNews::Job { beside, migrates: Some(self.migrates.contains(&domain)) };
                let late = std::mem::take(&mut self.job_told_late) * 1_000_000;
                return self.tell(at + 2_000_000 + late, Input::Migration { domain, news });
            }
            MigrationStep::Halt | MigrationStep::GoOn if self.signals_lost > 0 => {
                self.signals_lost -= 1;
                return;
            }
            MigrationStep::Halt => {
                self.halted.insert(domain);
                return self.log.push((
                    at / 1_000_000,
                    self.name.clone(),
                    "halted".to_owned(),
                    domain.to_string(),
                ));
            }
            MigrationStep::GoOn => {
                self.halted.remove(&domain);
                return;
            }
        };
        self.inbox.push_back((at + 2_000_000, Input::Migration { domain, news }));
    }

    /// The path changes. What was outstanding on a cut path is done when it works again.
    pub(crate) fn set_path(&mut self, at: u64, path: Path, disk: &Disk) {
        self.path = path;
        if path == Path::Picture {
            self.picture = Some(disk.clone());
        }
        if let Some(pending) = &mut self.pending {
            pending.due = match path {
                Path::Cut => None,
                _ => Some(at + 1_000_000),
            };
        }
    }

    pub(crate) fn ask(&mut self, at: u64, id: u64, request: leasefence_core::member::Request) {
        if self.member.is_some() {
            self.inbox.push_back((at, Input::Request(RequestId(id), request)));
        }
    }

    pub(crate) fn tell(&mut self, at: u64, input: Input) {
        // Before what comes later.
        let place = self.inbox.iter().position(|(when, _)| *when > at).unwrap_or(self.inbox.len());
        self.inbox.insert(place, (at, input));
    }

    /// When something happens here next.
    pub(crate) fn next_event(&self) -> Option<u64> {
        if !self.powered {
            return None;
        }
        let io = self.pending.as_ref().and_then(|pending| pending.due).filter(|_| !self.agent_stopped);
        let inbox = self.inbox.front().map(|(at, _)| *at).filter(|_| !self.agent_stopped);
        let wake = self.member.as_ref().filter(|_| !self.agent_stopped).and_then(Member::wake_at);
        let wake = wake.map(|at| at.boot_ns.saturating_sub(self.offset));
        let beat = (!self.fencer_stopped).then_some(self.next_beat);
        let listing = (self.member.is_some() && !self.agent_stopped).then_some(self.next_listing);
        let late = self.late.iter().map(|(at, _)| *at).min();
        [io, inbox, wake, beat, listing, late].into_iter().flatten().min()
    }

    /// Does all that is due.
    pub(crate) fn run(&mut self, at: u64, disk: &mut Disk) {
        self.land_late_writes(at, disk);
        if !self.fencer_stopped && self.next_beat <= at {
            self.beat(at);
        }
        if self.agent_stopped || self.member.is_none() {
            return;
        }
        self.finish_io(at, disk);
        if self.next_listing <= at {
            self.list_domains(at);
        }
        let mut due: Vec<Input> = Vec::new();
        while self.inbox.front().is_some_and(|(when, _)| *when <= at) {
            due.extend(self.inbox.pop_front().map(|(_, input)| input));
        }
        due.push(Input::Tick);
        for input in due {
            self.input(at, input);
        }
    }

    fn input(&mut self, at: u64, input: Input) {
        let now = self.now(at);
        if let Some(member) = &mut self.member {
            member.handle(&now, input);
        }
        while let Some(command) = self.member.as_mut().and_then(|member| member.poll_command(&now)) {
            self.execute(at, command);
        }
    }

    fn execute(&mut self, at: u64, command: Command) {
        let ms = at / 1_000_000;
        match command {
            Command::Io(request) => {
                let took = match self.path {
                    Path::Works(took) => took,
                    _ => Duration::from_millis(2),
                };
                let due =
                    (self.path != Path::Cut).then(|| at + u64::try_from(took.as_nanos()).expect("short"));
                assert!(self.pending.is_none(), "one operation is outstanding at a time");
                self.pending = Some(Pending { request, issued: self.now(at), due });
            }
            Command::Page(half) => self.page = Some(*half),
            Command::Barrier { domain, asked, .. } if self.barriers_refused => {
                let result = Err("only QEMU reaches its disk".to_owned());
                self.tell(at, Input::Barrier { domain, asked, result });
            }
            Command::Barrier { domain, asked, .. } if self.data_cut => self.barriers.push((domain, asked)),
            Command::Barrier { domain, asked, .. } => self.barrier_lands(at, domain, asked),
            Command::Start { domain, term, definition_hash } => {
                self.started_as.insert(domain, definition_hash);
                let incarnation =
                    self.member.as_ref().and_then(Member::incarnation).expect("it holds a lease");
                // The driver reads the fencer's half once more after the token was written.
                let latched = self.fencer.as_ref().is_some_and(|fencer| fencer.half().latched.is_some());
                let result = if latched {
                    Err(StartFailure::Failed("the lease ended before the start".to_owned()))
                } else {
                    self.guests.insert(domain, incarnation);
                    self.log.push((ms, self.name.clone(), "started".to_owned(), format!("{domain} runs")));
                    Ok(())
                };
                self.inbox.push_back((at + 200_000_000, Input::StartEnded { domain, term, result }));
            }
            Command::Destroy { domain, reason } => {
                if self.started_again > 0 {
                    self.started_again -= 1;
                } else {
                    self.guests.remove(&domain);
                    self.waiting.remove(&domain);
                }
                self.log.push((ms, self.name.clone(), "destroy".to_owned(), reason));
            }
            Command::StoreDefinition { .. } => {}
            Command::Migration { domain, step } => self.migration_step(at, domain, step),
            Command::PermitStart { id, domain, opened, token_is_new } => {
                let in_page = |token: &StartToken| token.domain == domain && token.opened == opened;
                let carried = self.page.iter().flat_map(|page| &page.tokens).any(in_page);
                assert!(carried || !token_is_new, "a start is permitted whose token is not in the page");
                let latched = self.fencer.as_ref().is_some_and(|fencer| fencer.half().latched.is_some());
                let refused = latched || self.hook_gives_up;
                if refused && token_is_new {
                    self.inbox.push_back((at, Input::StartRefused { domain, opened }));
                }
                self.replies.insert(id, (!refused, "by the page".to_owned()));
            }
            Command::AskActivity { domain, opened } => {
                let activity = self.libvirt_says.unwrap_or(StartActivity::Unsettled);
                self.inbox.push_back((at + 1_000_000, Input::Activity { domain, opened, activity }));
            }
            Command::KillAll => {
                self.guests.clear();
                self.log.push((ms, self.name.clone(), "killed".to_owned(), "by the agent".to_owned()));
            }
            Command::Reply(id, reply) => {
                self.log.push((
                    ms,
                    self.name.clone(),
                    "reply".to_owned(),
                    format!("{}: {}", reply.ok, reply.text),
                ));
                self.replies.insert(id, (reply.ok, reply.text));
            }
            Command::Note(note) => self.log.push((ms, self.name.clone(), note.event.to_owned(), note.text)),
            Command::Fatal(why) => {
                self.log.push((ms, self.name.clone(), "exit".to_owned(), why));
                self.kill_agent();
            }
        }
    }

    fn barrier_lands(&mut self, at: u64, domain: DomainId, asked: Instant) {
        let took = self.barrier_takes;
        let due = at + u64::try_from(took.as_nanos()).expect("short");
        self.inbox.push_back((due, Input::Barrier { domain, asked, result: Ok(took) }));
    }

    /// The way to the guests' storage is whole again: what waited in the kernel goes out, and barriers after it.
    pub(crate) fn data_path_heals(&mut self, at: u64) {
        self.data_cut = false;
        for (domain, asked) in std::mem::take(&mut self.barriers) {
            self.barrier_lands(at, domain, asked);
        }
    }

    fn finish_io(&mut self, at: u64, disk: &mut Disk) {
        let due = self.pending.as_ref().is_some_and(|pending| pending.due.is_some_and(|due| due <= at));
        let Some(pending) = self.pending.take_if(|_| due) else { return };
        let op = &pending.request.op;
        let is_write = matches!(op, IoOp::Write { .. });
        let result = match self.path {
            Path::Cut => return,
            Path::LosesWrites if is_write => Ok(Vec::new()),
            Path::LosesCopyB if disk.is_copy_b(op) => Ok(Vec::new()),
            Path::LandsLate(after) if is_write => {
                let lands = at + u64::try_from(after.as_nanos()).expect("short");
                self.late.push((lands, op.clone()));
                Err(IoError::Failed("input/output error".to_owned()))
            }
            Path::ReadsFail if !is_write => Err(IoError::Failed("input/output error".to_owned())),
            Path::Replaced if !is_write => Err(IoError::Replaced("another inode".to_owned())),
            Path::Picture => self.picture.as_mut().expect("it was taken").perform(op),
            Path::Works(_)
            | Path::LosesWrites
            | Path::LosesCopyB
            | Path::LandsLate(_)
            | Path::ReadsFail
            | Path::Replaced => disk.perform(op),
        };
        let done = IoDone { id: pending.request.id, issued: pending.issued, ended: self.now(at), result };
        self.input(at, Input::Io(done));
    }

    fn land_late_writes(&mut self, at: u64, disk: &mut Disk) {
        let (due, later): (Vec<_>, Vec<_>) = self.late.drain(..).partition(|(when, _)| *when <= at);
        self.late = later;
        for (_, op) in due {
            disk.perform(&op).expect("memory does not fail");
        }
    }

    fn beat(&mut self, at: u64) {
        self.next_beat = at + BEAT;
        let now = self.now(at);
        let page = self.page.clone();
        let Some(fencer) = &mut self.fencer else { return };
        fencer.handle_page(&now, page.as_ref().map_or(PageView::Unreadable, PageView::Good));
        if let Some(marker) = fencer.marker_wanted().filter(|_| !self.marker_broken) {
            self.marker = MarkerFound::Marker(marker);
            fencer.marker_written();
        }
        if !self.half_unseen {
            self.fencer_half = fencer.half().clone();
        }
        fencer.published();
        let process = |domain: &DomainId| DomainProcess {
            domain: *domain,
            pid: 1,
            start_time: u64::MAX / 100_000_000,
            scan: 0,
        };
        let before = self.guests.len();
        let stay = self.guests_stay;
        self.guests.retain(|domain, _| stay || !fencer.condemns(&process(domain)));
        self.waiting.retain(|domain, _| !fencer.condemns(&process(domain)));
        if self.guests.len() < before {
            self.log.push((
                at / 1_000_000,
                self.name.clone(),
                "killed".to_owned(),
                "by the fencer".to_owned(),
            ));
        }
        for target in page.iter().flat_map(|page| &page.quiesce).filter(|_| self.quiets_by_force) {
            fencer.handle_quiesced(target, now.instant, Quiet::Forced);
        }
        let processes: Vec<DomainProcess> =
            self.guests.keys().chain(self.waiting.keys()).map(process).collect();
        let started = now.instant;
        let scan = Scan { started, complete: true, searched: Some(started), processes: &processes };
        fencer.handle_scan(&now, &scan);
        for event in fencer.take_events() {
            self.log.push((at / 1_000_000, self.name.clone(), "fencer".to_owned(), event.to_string()));
        }
        fencer.published();
        if self.half_unseen {
            return;
        }
        self.fencer_half = fencer.half().clone();
        if self.member.is_some() {
            self.inbox.push_back((at, Input::Fencer(self.fencer_half.clone())));
        }
    }

    fn list_domains(&mut self, at: u64) {
        self.next_listing = at + LISTING;
        let input = if self.libvirt_away {
            Input::LibvirtAway("hung".to_owned())
        } else {
            self.inbox.push_back((at, Input::Capacity { memory_mib: 100_000 }));
            let report = |domain: &DomainId| {
                let storage = (!self.storage_is_silent).then_some(self.storage_kind);
                let report = chained(report(domain, self.exempts, storage), &self.chains);
                DomainReport { doubtful: self.doubts_exemptions, ..report }
            };
            let shut_off = |(domain, definition_hash): (&DomainId, &u64)| DomainReport {
                running: false,
                definition_hash: *definition_hash,
                ..report(domain)
            };
            let cpus_run = self.guests.keys().filter(|domain| !self.suspended.contains(*domain));
            self.inbox.push_back((at, Input::CpusRun(cpus_run.copied().collect())));
            let idle = self.left_here.iter().filter(|(domain, _)| !self.guests.contains_key(domain));
            let active = self.guests.keys().chain(self.waiting.keys());
            Input::Domains(active.map(report).chain(idle.map(shut_off)).collect())
        };
        self.inbox.push_back((at, input));
    }

    /// The marker in /run, for tests that look at it.
    pub(crate) fn is_disarmed(&self) -> bool {
        matches!(self.marker, MarkerFound::Marker(Marker::Disarmed { .. }))
    }
}

/// What libvirt says of a guest.
pub(crate) fn report(domain: &DomainId, exempt: bool, kind: Option<StorageKind>) -> DomainReport {
    DomainReport {
        domain: *domain,
        name: format!("guest-{}", domain.0[0]),
        running: true,
        protection: Protection { ha: true, priority: 1, exempt },
        vcpus: 1,
        memory_mib: 64,
        definition_hash: u64::from(domain.0[0]),
        definition_version: 1,
        storages: kind.map(|kind| QuiesceTarget { kind, device: 1 }).into_iter().collect(),
        unanswered: kind.is_none(),
        doubtful: false,
    }
}

/// The same with the disk chain that it has by now.
pub(crate) fn chained(report: DomainReport, chains: &BTreeMap<DomainId, u64>) -> DomainReport {
    let chain = chains.get(&report.domain).copied();
    DomainReport { definition_hash: chain.unwrap_or(report.definition_hash), ..report }
}
