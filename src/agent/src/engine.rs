//! The member and what it drives. Events and questions come in; the member decides; its commands are executed here, each
//! before the next is polled. Nothing here waits: what may take its time happens on other threads.

mod begin;
mod hooks;
mod migrations;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasefence_api::Answer;
use leasefence_config::{Config, StorageHint};
use leasefence_core::fencing::FencerHalf;
use leasefence_core::ids::{DomainId, Term};
use leasefence_core::member::{
    Command, DomainReport, Input, LeaseMedium, LogLevel, Member, Note, Reply, Request, RequestId, StartGate,
    Starting, destroy_needs_libvirt, guarded,
};
use leasefence_core::storage::{IoDone, IoId, IoOp, IoRequest};
use leasefence_core::time::{HolderDeadline, Now};
use leasefence_disk::{Disk, OpenError};
use leasefence_hypervisor::Hypervisor;
use leasefence_page::Page;
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::decisions::Decisions;
use crate::definitions::DefinitionStore;
use crate::domains::{DomainStorages, Nudge};
use crate::drill::Stall;
use crate::engine::hooks::Hooks;
use crate::event::{Event, Events};
use crate::exempt_list::ExemptList;
use crate::exemptions::{Exemptions, Shown};
use crate::fencer::Fencer;
use crate::ladder::Ladder;
use crate::metrics::Metrics;
use crate::remount::Remount;
use crate::reset::Reset;
use crate::setup::Setup;
use crate::start::Starter;
use crate::watchdog::Watchdog;

/// What the engine works with.
pub(crate) struct Parts {
    /// The configuration.
    pub(crate) config: Config,
    /// Machine, boot, process.
    pub(crate) setup: Setup,
    /// What carries the lease's reads and writes.
    pub(crate) connection: Connection,
    /// The storage thread.
    pub(crate) disk: Disk,
    /// Libvirt.
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    /// Definitions.
    pub(crate) store: DefinitionStore,
    /// Barriers and starts.
    pub(crate) starter: Starter,
    /// What the hook goes by while the agent is away.
    pub(crate) exempt_list: ExemptList,
    /// Which exemptions count.
    pub(crate) exemptions: Arc<Exemptions>,
    /// Asks for a listing of the domains.
    pub(crate) nudge: Nudge,
    /// Whether local storage counts as one kernel's.
    pub(crate) one_kernel: Arc<AtomicBool>,
    /// For what threads have to tell later.
    pub(crate) events: Events,
}

/// The main loop's state.
pub(crate) struct Engine {
    pub(crate) parts: Parts,
    pub(crate) started: Now,
    pub(crate) member: Option<Member>,
    pub(crate) fencer: Option<Fencer>,
    pub(crate) watchdog: Watchdog,
    pub(crate) reset: Reset,
    pub(crate) ladder: Ladder,
    pub(crate) link: Result<(), String>,
    pub(crate) medium: Option<LeaseMedium>,
    pub(crate) libvirt: Result<(), String>,
    /// Names of the domains that libvirt knows here.
    pub(crate) names: BTreeMap<DomainId, String>,
    /// True once libvirt has told this process of them.
    is_listed: bool,
    /// Their storages, for people.
    pub(crate) storages: DomainStorages,
    /// Those of them that ran when libvirt was asked last, and are not exempt.
    running: BTreeSet<DomainId>,
    remount: Remount,
    pub(crate) decisions: Decisions,
    pub(crate) metrics: Metrics,
    /// The domain processes that the fencer showed last: domain, pid, start time.
    shown: BTreeSet<Shown>,
    outstanding: HashMap<IoId, IoOp>,
    /// What a drill keeps from the storage.
    pub(crate) stall: Stall,
    answers: HashMap<RequestId, oneshot::Sender<Answer>>,
    /// Libvirt's hook, and what is known of its questions.
    pub(crate) hooks: Hooks,
    next_request: u64,
    /// True once the header has said whether this is a test cluster.
    header_judged: bool,
    fatal: Option<String>,
}

impl Engine {
    /// Begins without a page and without an open lease file: the member is made when the fencer has handed out its page.
    pub(crate) fn new(parts: Parts, remount: Remount) -> Self {
        Self {
            watchdog: Watchdog::new(&parts.config),
            reset: Reset::new(&parts.config),
            ladder: Ladder::default(),
            parts,
            started: leasefence_clock::now(),
            member: None,
            fencer: None,
            link: Err("not attached yet".to_owned()),
            medium: None,
            libvirt: Err("not asked yet".to_owned()),
            names: BTreeMap::new(),
            is_listed: false,
            storages: DomainStorages::new(),
            running: BTreeSet::new(),
            remount,
            decisions: Decisions::default(),
            metrics: Metrics::new(),
            shown: BTreeSet::new(),
            outstanding: HashMap::new(),
            stall: Stall::default(),
            answers: HashMap::new(),
            hooks: Hooks::default(),
            next_request: 0,
            header_judged: false,
            fatal: None,
        }
    }

    /// Why the process must end, once it must.
    pub(crate) fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// How long until the member wants to be woken; none while only an input can change anything.
    pub(crate) fn wake_in(&self) -> Option<Duration> {
        let at = self.member.as_ref()?.wake_at()?;
        Some(HolderDeadline(at).left(leasefence_clock::instant()))
    }

    /// Takes an event.
    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Opened(result) => self.opened(result),
            Event::Io(done) => self.io_done(done),
            Event::Page(page) => self.new_page(page),
            Event::Link(link) => self.link_changed(link),
            Event::Domains(reports, storages) => self.domains_listed(reports, storages),
            Event::Capacity(memory_mib) => self.input(Input::Capacity { memory_mib }),
            Event::LibvirtAway(why) => self.libvirt_away(why),
            Event::Stopped(domain, reason) => self.input(Input::Stopped { domain, reason }),
            Event::Barrier(domain, asked, result) => self.input(Input::Barrier { domain, asked, result }),
            Event::StartEnded(domain, term, result) => {
                self.parts.nudge.nudge();
                self.input(Input::StartEnded { domain, term, result });
            }
            Event::CpusRun(domains) => self.input(Input::CpusRun(domains)),
            Event::Resumed(domain) => self.input(Input::Resumed(domain)),
            Event::Migration(domain, news) => self.input(Input::Migration { domain, news }),
            Event::Hook(asked) => self.hook_asks(asked),
            Event::StartRefused(domain, opened) => self.input(Input::StartRefused { domain, opened }),
            Event::Activity(domain, opened, activity) => {
                self.input(Input::Activity { domain, opened, activity });
            }
            Event::Trouble(event, text) => self.say(LogLevel::Warn, event, text),
        }
    }

    /// Reads the fencer's half and tells the member.
    pub(crate) fn look_at_fencer(&mut self) {
        self.end_stall_when_due();
        // In this order: a half that shows this host armed comes with a report that is no older, so that no record which follows
        // it speaks of a watchdog that was no more when the fencer armed.
        let half = self.fencer.as_mut().and_then(|fencer| fencer.read().cloned());
        let waited = self.member.is_none();
        self.look_at_watchdog();
        // A member that has just begun was told a newer one.
        let has_begun = waited && self.member.is_some();
        if let Some(half) = half.filter(|_| !has_begun && self.fatal.is_none()) {
            self.ask_of_newcomers(&half);
            let rungs = self.fencer.as_mut().and_then(Fencer::rungs);
            if let Some(told) = self.ladder.heard(rungs, &half) {
                self.say(LogLevel::Info, "fence", told);
            }
            self.remount.fencer_shows(&half);
            self.input(Input::Fencer(half));
        }
    }

    /// A domain process that was not there before: libvirt is asked at once which domain it is and where its disks lie. Until
    /// that is known the end of this host's lease would be unproven.
    fn ask_of_newcomers(&mut self, half: &FencerHalf) {
        let shown: BTreeSet<_> =
            half.processes.iter().map(|process| (process.domain, process.pid, process.start_time)).collect();
        let newcomers: Vec<_> = shown.difference(&self.shown).map(|(domain, ..)| *domain).collect();
        if shown != self.shown {
            self.parts.exemptions.shows(&shown);
        }
        if !newcomers.is_empty() {
            self.parts.nudge.nudge();
        }
        self.look_for_unasked(&newcomers);
        self.shown = shown;
    }

    /// Tells the member that time has passed.
    pub(crate) fn tick(&mut self) {
        self.input(Input::Tick);
    }

    /// Passes a request on; its answer comes when the member replies.
    pub(crate) fn request(&mut self, request: Request, answer: oneshot::Sender<Answer>) {
        if self.member.is_none() {
            let text = format!("the agent has not begun yet: {}", self.waiting_for());
            drop(answer.send(Answer { ok: false, text }));
            return;
        }
        let id = self.next_request();
        self.answers.retain(|_, waiting| !waiting.is_closed());
        self.answers.insert(id, answer);
        self.input(Input::Request(id, request));
    }

    fn next_request(&mut self) -> RequestId {
        self.next_request = self.next_request.saturating_add(1);
        RequestId(self.next_request)
    }

    /// What the agent waits for before there is a member.
    pub(crate) fn waiting_for(&self) -> String {
        match (&self.link, &self.medium) {
            (Err(why), _) => format!("waiting for the fencer's page: {why}"),
            (Ok(()), None) => {
                format!(
                    "waiting for {} to open: the storage does not answer",
                    self.parts.config.lease.display()
                )
            }
            (Ok(()), Some(_)) => "waiting for the fencer's word about the watchdog".to_owned(),
        }
    }

    /// A note of the agent's own.
    pub(crate) fn say(&mut self, level: LogLevel, event: &'static str, text: String) {
        self.note(&Note { level, event, text });
    }

    fn note(&mut self, note: &Note) {
        self.metrics.note(note);
        self.decisions.note(&leasefence_clock::now(), note);
    }

    fn input(&mut self, input: Input) {
        let now = leasefence_clock::now();
        let Some(member) = self.member.as_mut() else { return };
        member.handle(&now, input);
        self.execute_all();
    }

    fn execute_all(&mut self) {
        while self.fatal.is_none() {
            let now = leasefence_clock::now();
            let Some(command) = self.member.as_mut().and_then(|member| member.poll_command(&now)) else {
                return;
            };
            self.execute(command);
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Io(request) => self.submit(request),
            Command::Page(half) => {
                self.parts.starter.gate.set(StartGate::of(&half));
                self.note_exempt(&half.exempt);
                let named = Remount::named_by(&half);
                let written = self.fencer.as_mut().map(|fencer| fencer.write(*half));
                self.remount.page_names(named);
                if let Some(Err(error)) = written {
                    self.end(format!("writing the page: {error}"));
                }
            }
            Command::Barrier { domain, asked, definition_hash } => {
                self.parts.starter.barrier(domain, asked, definition_hash);
            }
            Command::Start { domain, term, definition_hash } => self.start(domain, term, definition_hash),
            Command::PermitStart { id, domain, opened, token_is_new } => {
                self.permit_start(id, domain, opened, token_is_new);
            }
            Command::AskActivity { domain, opened } => self.parts.starter.ask_activity(domain, opened),
            Command::Migration { domain, step } => self.migration_step(domain, step),
            Command::Destroy { domain, reason } => self.destroy(domain, &reason),
            Command::StoreDefinition { domain } => self.parts.store.store(domain),
            Command::KillAll => self.kill_all(),
            Command::Reply(id, reply) if self.hooks.waits(id) => self.answer_hook(id, reply),
            Command::Reply(id, Reply { ok, text }) => {
                if let Some(answer) = self.answers.remove(&id) {
                    drop(answer.send(Answer { ok, text }));
                }
            }
            Command::Note(note) => self.note(&note),
            // The member has told why already.
            Command::Fatal(why) => drop(self.fatal.get_or_insert(why)),
        }
    }

    pub(crate) fn submit(&mut self, request: IoRequest) {
        let Some(request) = self.stall.pass(request) else { return };
        if self.outstanding.is_empty() {
            self.parts.connection.set_busy(true);
        }
        self.outstanding.insert(request.id, request.op.clone());
        if !self.parts.disk.submit(request) {
            self.end("the storage thread has ended".to_owned());
        }
    }

    /// The token is in the page already: the member published it before.
    fn start(&mut self, domain: DomainId, term: Term, definition_hash: u64) {
        let now = leasefence_clock::instant();
        if self.fencer.as_mut().is_some_and(|fencer| fencer.permits_start(now)) {
            self.parts.starter.start(domain, term, definition_hash);
        } else {
            drop(self.parts.events.send(Event::StartEnded(domain, term, Err(Starting::refused()))));
        }
    }

    fn destroy(&mut self, domain: DomainId, reason: &str) {
        let (killed, errors) =
            self.fencer.as_mut().map(|fencer| fencer.kill(Some(domain))).unwrap_or_default();
        let name = self.names.get(&domain).cloned().unwrap_or_else(|| domain.to_string());
        self.say(
            LogLevel::Error,
            "destroy",
            format!("{name} is destroyed ({killed} processes killed): {reason}"),
        );
        if destroy_needs_libvirt(killed, errors.len()) {
            self.parts.starter.destroy(domain);
        }
        for error in errors {
            self.say(LogLevel::Error, "destroy", error);
        }
    }

    fn kill_all(&mut self) {
        let (killed, errors) = self.fencer.as_mut().map(|fencer| fencer.kill(None)).unwrap_or_default();
        let text = format!("the fencer is silent: the agent has killed {killed} domain processes itself");
        self.say(LogLevel::Error, "kill-all", text);
        for domain in &self.running {
            self.parts.starter.destroy(*domain);
        }
        for error in errors {
            self.say(LogLevel::Error, "kill-all", error);
        }
    }

    fn end(&mut self, why: String) {
        self.say(LogLevel::Error, "fatal", why.clone());
        self.fatal.get_or_insert(why);
    }

    fn opened(&mut self, result: Result<LeaseMedium, OpenError>) {
        match result {
            Ok(medium) => {
                self.medium = Some(medium);
                self.parts.connection.set_busy(false);
                self.input(Input::Opened(medium));
            }
            Err(error) => self.end(error.to_string()),
        }
    }

    fn io_done(&mut self, done: IoDone) {
        if let Some(op) = self.outstanding.remove(&done.id) {
            self.metrics.io(&op, &done);
        }
        self.parts.connection.set_busy(!self.outstanding.is_empty());
        self.input(Input::Io(done));
        self.update_one_kernel();
    }

    /// Local storage counts as one kernel's only where the configuration says so and the header's test bit allows it.
    fn update_one_kernel(&mut self) {
        if self.header_judged || self.parts.config.storage != StorageHint::OneKernel {
            return;
        }
        let status = self.member.as_ref().map(|member| member.status(&leasefence_clock::now()));
        let Some(cluster) = status.and_then(|status| status.cluster) else { return };
        self.header_judged = true;
        if cluster.test {
            self.parts.one_kernel.store(true, Ordering::Relaxed);
            self.parts.nudge.nudge();
        } else {
            let text = "storage = \"one-kernel\" is for test clusters, and this is none: no storage is shown quiet by it";
            self.say(LogLevel::Error, "config", text.to_owned());
        }
    }

    fn new_page(&mut self, page: Page) {
        let sight = self.fencer.take().map(Fencer::into_sight).unwrap_or_default();
        match Fencer::new(page, sight) {
            Ok(fencer) => self.fencer = Some(fencer),
            Err(error) => return self.end(format!("writing the page: {error}")),
        }
        if let Some(fencer) = &mut self.fencer {
            fencer.ask_watchdog(self.watchdog.wish());
            fencer.ask_reset(self.reset.wish());
            self.watchdog.asked(leasefence_clock::instant());
        }
        if self.member.is_some() {
            let text = "the fencer lost its page and made another: what it guarded has ended".to_owned();
            self.say(LogLevel::Error, "page", text);
        }
        self.look_at_fencer();
    }

    fn domains_listed(&mut self, reports: Vec<DomainReport>, storages: DomainStorages) {
        (self.libvirt, self.is_listed) = (Ok(()), true);
        self.storages = storages;
        self.names = reports.iter().map(|report| (report.domain, report.name.clone())).collect();
        self.running = guarded(&reports).collect();
        self.input(Input::Domains(reports));
        self.start_what_was_denied_for_now();
    }

    fn link_changed(&mut self, link: Result<(), String>) {
        match &link {
            Ok(()) => self.say(LogLevel::Info, "fencer", "attached to the fencer".to_owned()),
            Err(why) => self.say(LogLevel::Warn, "fencer", format!("no fencer: {why}")),
        }
        self.link = link;
    }

    fn libvirt_away(&mut self, why: String) {
        if self.libvirt.as_ref().err() != Some(&why) {
            self.say(LogLevel::Warn, "libvirt", format!("libvirt does not answer: {why}"));
        }
        self.libvirt = Err(why.clone());
        self.input(Input::LibvirtAway(why));
    }
}
