//! The loop: a beat as the core says, then the agents that ask, then the pause that the core says. It waits for nothing but
//! time and a signal to stop, and decides nothing about a lease.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasefence_core::fencing::{
    BEAT, Beat, CopyUse, Fencer, FencerHalf, Offer, QuiesceTarget, Quiet, RestoredPage, Step,
};
use leasefence_core::ids::BootId;
use leasefence_page::link::{self, LinkError, LinkServer};
use leasefence_page::{FencerPage, Page, PageError, WatchdogReport};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, fcntl_lock, major, minor};
use rustix::io::Errno;

use crate::cgroups::Cgroups;
use crate::discovery::Discovery;
use crate::finder::{Troubles, Writer};
use crate::hardening::{self, PidNamespace};
use crate::layout_file::{Held, LayoutFile};
use crate::log::Log;
use crate::manager::{self, Manager, Restored};
use crate::options::Options;
use crate::quiesce::{self, Quiescence};
use crate::real_hands::RealHands;
use crate::reset::HostReset;
use crate::state_file::StateFile;
use crate::watchdog::{self, Watchdog};

/// As many storages' last words are kept in mind; of one beyond these each word is said.
const MOST_SAID: usize = 64;

/// How the fencer came to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopped {
    /// It guarded nothing.
    Unguarded,
    /// It was told to stop while armed: the marker stays, whoever starts it again goes on.
    WhileGuarding,
}

/// Why the fencer cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "this is the machine's initial pid namespace, where other people's domains may run: it kills every domain of this \
         machine at the lease's end; if that is meant, give --allow-initial-pid-namespace"
    )]
    InitialPidNamespace,
    #[error("/proc shows another pid namespace: mount a proc of this one")]
    ForeignProc,
    #[error("{doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("another leasefence-fencer runs here: it holds {}", path.display())]
    Another { path: PathBuf },
    #[error("{} does not hold a boot id", path.display())]
    BootId { path: PathBuf },
    #[error("starting the thread that pets the watchdog")]
    WatchdogThread(#[source] std::io::Error),
    #[error("starting the thread that keeps the finder")]
    FinderThread(#[source] std::io::Error),
    #[error("starting the thread that kills cgroups")]
    CgroupsThread(#[source] std::io::Error),
    #[error("starting the thread that resets this host at a deadline")]
    ResetThread(#[source] std::io::Error),
    #[error("starting the thread that writes the log")]
    LogThread(#[source] std::io::Error),
    #[error("blocking the signals that stop the fencer")]
    Signals(#[source] nix::errno::Errno),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl StartError {
    /// The message and those of its causes.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::File { doing, path, source }
}

/// Runs until a signal stops it.
pub(crate) fn run(options: &Options) -> Result<Stopped, StartError> {
    let restored = manager::restored();
    let namespace = check_namespace(options)?;
    let mut daemon = Daemon::start(options, &namespace, restored)?;
    if let Err(error) = quiesce::announce(&options.run_dir, options.no_quiesce) {
        daemon.hands.log.line(format_args!("warning: saying whether storages are shown quiet: {error}"));
    }
    daemon.manager_hears();
    Ok(daemon.run())
}

fn check_namespace(options: &Options) -> Result<PidNamespace, StartError> {
    let proc_self = Path::new("/proc/self");
    match hardening::pid_namespace().map_err(file("examining", proc_self))? {
        PidNamespace::Initial if !options.allow_initial_pid_namespace => Err(StartError::InitialPidNamespace),
        PidNamespace::ForeignProc => Err(StartError::ForeignProc),
        namespace @ (PidNamespace::Initial | PidNamespace::Other) => Ok(namespace),
    }
}

fn boot_id() -> Result<BootId, StartError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(file("reading", path))?;
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32);
    let number = number.ok_or_else(|| StartError::BootId { path: path.to_owned() })?;
    let mut bytes = number.to_le_bytes();
    bytes.reverse();
    Ok(BootId(bytes))
}

/// A second fencer would find itself without the page, take the lease for expired, and kill: it must not start. The lock is the
/// process's (`F_SETLK`): one of `flock` is the open file's, and a child that has not become another program yet would hold it on
/// after the fencer's death. Nobody in this process may open and close the file again: that gives it up.
fn lock(path: &Path) -> Result<File, StartError> {
    let mut options = File::options();
    let opened = options.write(true).create(true).truncate(false).mode(0o600).open(path);
    let lock = opened.map_err(file("opening", path))?;
    match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => Err(StartError::Another { path: path.to_owned() }),
        Err(error) => Err(file("locking", path)(error.into())),
    }
}

struct Daemon {
    fencer: Fencer,
    hands: RealHands,
    server: LinkServer,
    signals: SignalFd,
    manager: Manager,
    /// None where it was refused: then NFS and iSCSI stay unproven.
    quiescence: Option<Quiescence>,
    /// What was said of each storage last.
    said: Vec<(QuiesceTarget, quiesce::Told)>,
    /// The writer past the domains that was named last.
    writer_said: Option<Writer>,
    #[cfg(debug_assertions)]
    allocations: crate::allocations::Watch,
    watchdog: Watchdog,
    /// What the log says of it.
    told_of_watchdog: WatchdogReport,
    layout_file: LayoutFile,
    /// Held as long as the process lives.
    _lock: File,
}

impl Daemon {
    fn start(options: &Options, namespace: &PidNamespace, restored: Restored) -> Result<Self, StartError> {
        let boot_id = boot_id()?;
        // Before the helper threads, so that they inherit the blocked signals and not the priority.
        let signals = blocked_stop_signals()?;
        let mut log = Log::start().map_err(StartError::LogThread)?;
        let run_dir = &options.run_dir;
        fs::create_dir_all(run_dir).map_err(file("making the run directory", run_dir))?;
        let lock = lock(&run_dir.join("fencer.lock"))?;
        let state = StateFile::in_dir(run_dir);
        let Restored { page: restored, watchdog: device } = restored;
        let restored = restored.and_then(|fd| match Page::from_fd(fd) {
            Ok(page) => Some(page),
            Err(error) => {
                log.line(format_args!("error: the page in the service manager's store: {error}"));
                None
            }
        });
        log.line(match restored {
            Some(_) => "page restored from the service manager's store",
            None => "no page in the service manager's store, a new one",
        });
        let has_page = restored.is_some();
        let mut page = FencerPage::new(restored.map_or_else(Page::create, Ok)?);
        let known = if has_page { page.read_watchdog_report() } else { None };
        let mut layout_file = LayoutFile::in_dir(run_dir);
        // One that was kept is open, also where nothing is known of it.
        let held = known.unwrap_or_default();
        let held = Held::new(device.is_some() || held.open, held.nowayout);
        let wish = if has_page { page.read_reset_wish() } else { None };
        let reset = HostReset::start(options, namespace, boot_id, wish).map_err(StartError::ResetThread)?;
        if let Err(error) = layout_file.write(held, reset.is_on()) {
            log.line(format_args!("warning: writing page-layout: {error}"));
        }
        let watchdog = Watchdog::start(device, known.as_ref()).map_err(StartError::WatchdogThread)?;
        let (fencer, own) = begin(boot_id, &state, has_page.then_some(&mut page));
        let discovery = Discovery::new(run_dir, &options.libvirt_run_dir, &own.processes)
            .map_err(StartError::FinderThread)?;
        let cgroups = Cgroups::start().map_err(StartError::CgroupsThread)?;
        let server = LinkServer::bind(&run_dir.join("fencer.sock"))?;
        for line in hardening::harden() {
            log.line(line);
        }
        Ok(Self {
            fencer,
            hands: RealHands::new(page, state, discovery, log, reset, cgroups),
            server,
            signals,
            manager: Manager::from_env(),
            quiescence: (!options.no_quiesce).then(Quiescence::new),
            said: Vec::with_capacity(MOST_SAID),
            writer_said: None,
            #[cfg(debug_assertions)]
            allocations: crate::allocations::Watch::default(),
            watchdog,
            told_of_watchdog: WatchdogReport::default(),
            layout_file,
            _lock: lock,
        })
    }

    /// Tells the service manager that all is ready, and to keep the page.
    fn manager_hears(&mut self) {
        let page = self.hands.page.page();
        if let Err(error) = self.manager.store_page(page).and_then(|()| self.manager.ready()) {
            self.hands.log.line(format_args!("warning: the service manager does not take notes: {error}"));
        }
    }

    fn run(&mut self) -> Stopped {
        let mut told_to_stop = false;
        loop {
            let begun = std::time::Instant::now();
            self.tend_reset();
            self.beat();
            self.tend_watchdog();
            self.quiesce();
            self.serve_agents();
            self.tell_of_finder();
            self.tell_of_writers();
            // Not while exits are awaited: words come after.
            if !self.fencer.owes_proof() || self.fencer.half().unproven {
                self.hands.log.flush();
            }
            told_to_stop |= self.wait(begun.elapsed(), told_to_stop);
            if told_to_stop && self.may_end() {
                return self.stop();
            }
        }
    }

    /// True when a stop is heeded now. Not between a lease's end and its proof where this host resets itself: a record says
    /// "reset on", and peers go by it. That time is bounded by the budget, at whose end the reset comes.
    fn may_end(&self) -> bool {
        let owes_reset = self.hands.reset.is_on() && self.fencer.reset_due().is_some();
        !owes_reset && self.watchdog.may_end(leasefence_clock::instant(), &self.fencer)
    }

    /// Before the beat, which may have to reset this host.
    fn tend_reset(&mut self) {
        let wish = self.hands.page.read_reset_wish();
        self.hands.reset.take_wish(self.fencer.half().armed, wish);
        self.fencer.resets_host(self.hands.reset.is_on());
        let Some(report) = self.hands.reset.news() else { return };
        self.hands.page.write_reset_report(&report);
        self.write_layout_file();
        self.hands.log.line(match (report.on, report.wish.on) {
            (true, _) => "resets this host (sysrq) where it cannot show it fenced in time",
            (false, true) => "warning: fence.reset is on, and this host cannot reset itself",
            (false, false) => "does not reset this host itself",
        });
        if !report.note.is_empty() {
            self.hands.log.line(format_args!("reset: {}", report.note));
        }
    }

    fn write_layout_file(&mut self) {
        let (report, resets) = (self.told_of_watchdog, self.hands.reset.is_on());
        if let Err(error) = self.layout_file.write(Held::new(report.open, report.nowayout), resets) {
            self.hands.log.line(format_args!("warning: writing page-layout: {error}"));
        }
    }

    /// After the beat, so that a pet rests on what this beat has seen.
    fn tend_watchdog(&mut self) {
        let wish = self.hands.page.read_watchdog_wish();
        self.watchdog.take_wish(&self.fencer, wish);
        self.watchdog.tend(leasefence_clock::instant(), &mut self.fencer);
        self.tell_of_watchdog();
    }

    fn tell_of_watchdog(&mut self) {
        let Some(report) = self.watchdog.news() else { return };
        self.hands.page.write_watchdog_report(&report);
        self.hands.answered = Some(report.wish);
        let before = WatchdogReport { last_pet: report.last_pet, ..self.told_of_watchdog };
        self.told_of_watchdog = report;
        self.write_layout_file();
        if before != report {
            self.hands.log.line(watchdog::Told(&report));
        }
    }

    fn beat(&mut self) {
        self.hands.must_not_arm = self.watchdog.is_unsettled();
        let mut beat = Beat::default();
        while let Some(step) = beat.step(&leasefence_clock::now(), &mut self.fencer, &mut self.hands) {
            if matches!(step, Step::Kill | Step::KillFound) {
                self.log_events();
                self.hands.after_kill(&self.fencer);
            }
        }
        self.hands.after_beat(&self.fencer);
        self.log_events();
    }

    fn quiesce(&mut self) {
        let Some(quiescence) = &mut self.quiescence else { return };
        if let Some(error) = quiescence.prepare(&self.fencer) {
            self.hands.log.line(format_args!("error: no thread for a storage: {error}"));
        }
        let (log, said) = (&mut self.hands.log, &mut self.said);
        quiescence.tend(leasefence_clock::instant(), &mut self.fencer, |target, answer| {
            let text = match answer {
                Ok(Quiet::Forced) => "is quiet: what was under way was cut off",
                Ok(_) => "is quiet: all was acknowledged",
                Err(why) => why.as_str(),
            };
            if !said.iter().any(|(known, before)| known == target && before == answer) {
                said.retain(|(known, _)| known != target);
                if said.len() < MOST_SAID {
                    said.push((target.clone(), *answer));
                }
                let (major, minor) = (major(target.device), minor(target.device));
                log.line(format_args!("storage {major}:{minor}: {text}"));
            }
        });
    }

    fn tell_of_finder(&mut self) {
        let now = leasefence_clock::instant();
        let Some((before, now)) = self.hands.discovery.take_troubles(now) else { return };
        let log = &mut self.hands.log;
        let Troubles { hung, ended, not_started, unlocked, lost } = now;
        if (Troubles { unlocked, lost, ..before }) != now {
            log.line(format_args!(
                "warning: the finder, which looks for domains that libvirt's files do not show, is started again; since this \
                 process started {hung} hung, {ended} ended, and {not_started} could not be started"
            ));
        }
        if unlocked && !before.unlocked {
            log.line("warning: the finder's memory is not locked, under pressure it may find nothing (LimitMEMLOCK)");
        }
        match (before.lost, lost) {
            (false, true) => log.line(
                "warning: the finder has not looked for long, or found more than has room: no lease's end is proven until it has",
            ),
            (true, false) => log.line("the finder has looked again"),
            _ => {}
        }
    }

    /// Once for each, while it keeps the proof away.
    fn tell_of_writers(&mut self) {
        let discovery = &self.hands.discovery;
        let written = self.fencer.storages().iter().filter(|_| self.fencer.owes_proof());
        let writer = written.filter_map(|target| discovery.outside_writer_of(target.device)).next().copied();
        if std::mem::replace(&mut self.writer_said, writer) == writer {
            return;
        }
        if let Some(writer) = writer {
            let (major, minor) = (major(writer.device), minor(writer.device));
            let (name, pid) = (writer.name(), writer.process.pid);
            self.hands.log.line(format_args!(
                "warning: storage {major}:{minor} is open for writing to {name} (pid {pid}), which is no domain's: no proof while it is"
            ));
        }
    }

    fn log_events(&mut self) {
        for event in self.fencer.take_events() {
            self.hands.log.line(event);
            #[cfg(debug_assertions)]
            if let Some(counts) = self.allocations.sees(&event) {
                self.hands.log.line(counts);
            }
        }
    }

    /// Hands the page to agents that ask, and takes a copy over where this fencer has lost its own.
    fn serve_agents(&mut self) {
        while let Some(link::Offer { id, boot_id, page }) = self.server.poll() {
            if let Some(copy) = page
                && !copy.is_same(self.hands.page.page()).unwrap_or(true)
            {
                self.consider(boot_id, copy);
            }
            if let Err(error) = self.server.welcome(id, self.hands.page.page()) {
                self.hands.log.line(format_args!("warning: {error}"));
            }
        }
    }

    fn consider(&mut self, boot_id: BootId, copy: Page) {
        let mut copy = FencerPage::new(copy);
        let own = copy.read_own();
        let agent = copy.read_agent();
        let offer = Offer { boot_id, agent, in_hand: self.hands.page.read_agent() };
        let how = self.fencer.judge_offer(&offer);
        let restored = RestoredPage::read(own.as_ref(), agent);
        let taken = self.fencer.take_offer(&leasefence_clock::now(), how, self.hands.state.read(), &restored);
        self.hands.log.line(match how {
            CopyUse::Refuse => "an agent's copy of the page refused: this one's own page is used",
            CopyUse::Restart => "page taken over from the agent's copy",
            CopyUse::KeepEnded => "page taken over from the agent's copy; the lease stays ended",
        });
        if how != CopyUse::Refuse {
            let listed = own.good().unwrap_or_default().processes;
            self.hands.discovery.hold_again(&listed);
        }
        if taken {
            self.hands.page = copy;
            self.hands.answered = None;
            self.watchdog.tell_again();
            self.hands.reset.tell_again();
            if let Some(known) = self.hands.page.read_watchdog_report() {
                self.watchdog.go_on(&known);
            }
            self.manager_hears();
        }
    }

    /// Waits for the next beat. True when a signal says to stop; who was told already only waits. While exits are awaited it
    /// leaves the processor to others for as long as the last beat took: on a host with one, the kernel's own threads end what a
    /// storage has under way.
    fn wait(&self, took: Duration, told: bool) -> bool {
        let now = leasefence_clock::instant();
        let pause = self.fencer.pause(now);
        let pause = if self.fencer.owes_proof() { pause.max(took.min(BEAT)) } else { pause };
        let pause = self.fencer.reset_in(now).map_or(pause, |left| pause.min(left));
        let timeout = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.signals, PollFlags::IN)];
        let listened = if told { &mut fds[..0] } else { &mut fds[..] };
        poll(listened, Some(&timeout)) == Ok(1)
    }

    fn stop(&mut self) -> Stopped {
        let guarding = self.fencer.half().armed;
        if !guarding {
            self.watchdog.let_go();
            self.tell_of_watchdog();
        }
        self.hands.log.line(if guarding {
            "warning: stopped while it guards a lease: nothing is let go, start it again within the ttl or the agent stops \
             renewing; to let go: leasefence disarm"
        } else {
            "stopped, it guarded nothing"
        });
        self.hands.log.last_words();
        if guarding { Stopped::WhileGuarding } else { Stopped::Unguarded }
    }
}

/// The fencer as the marker and the halves of `page` say, and what its predecessor had published.
fn begin(boot_id: BootId, state: &StateFile, page: Option<&mut FencerPage>) -> (Fencer, FencerHalf) {
    let now = leasefence_clock::now();
    let Some(page) = page else {
        let fencer = Fencer::start(&now, boot_id, state.read(), &RestoredPage::default());
        return (fencer, FencerHalf::default());
    };
    let own = page.read_own();
    let restored = RestoredPage::read(own.as_ref(), page.read_agent());
    let fencer = Fencer::start(&now, boot_id, state.read(), &restored);
    (fencer, own.good().unwrap_or_default())
}

/// Those that stop the fencer.
pub(crate) fn stop_signals() -> SigSet {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask
}

fn blocked_stop_signals() -> Result<SignalFd, StartError> {
    let mask = stop_signals();
    mask.thread_block().map_err(StartError::Signals)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(StartError::Signals)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use std::process::{Command, Stdio};

    /// Catches: a fencer that is killed while it starts a child, and whose successor finds the lock held.
    #[test]
    fn a_child_that_has_the_file_open_still_holds_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fencer.lock");
        let held = lock(&path).unwrap();
        let output = Stdio::from(held.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("30").stdout(output).stderr(Stdio::null()).spawn().unwrap();
        drop(held);
        let again = lock(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        again.unwrap();
    }
}
