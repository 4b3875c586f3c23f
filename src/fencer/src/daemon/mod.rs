//! The loop: a beat as the core says, then the agents that ask, then the pause that the core says. It waits for nothing but
//! time and a signal to stop, and decides nothing about a lease.

mod agents;
mod start;
mod start_error;
mod tending;

use std::fs::File;
use std::time::Duration;

use leasefence_core::fencing::{BEAT, Beat, Fencer, QuiesceTarget, Step};
use leasefence_core::time::HolderDeadline;
use leasefence_page::WatchdogReport;
use leasefence_page::link::LinkServer;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use start::stop_signals;
use start_error::StartError;

use crate::finder::Writer;
use crate::layout_file::LayoutFile;
use crate::manager::{self, Manager};
use crate::options::Options;
use crate::quiesce::{self, Quiescence};
use crate::real_hands::RealHands;
use crate::watchdog::Watchdog;

/// How long words wait for exits, after a lease's end: where its budget is short, a watchdog may bite a second and a half after it.
const WORDS_WAIT: Duration = Duration::from_millis(700);

/// How the fencer came to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopped {
    /// It guarded nothing.
    Unguarded,
    /// It was told to stop while armed: the marker stays, whoever starts it again goes on.
    WhileGuarding,
}

/// Runs until a signal stops it.
pub(crate) fn run(options: &Options) -> Result<Stopped, StartError> {
    let restored = manager::restored();
    let namespace = start::check_namespace(options)?;
    let mut daemon = Daemon::start(options, &namespace, restored)?;
    if let Err(error) = quiesce::announce(&options.run_dir, options.no_quiesce) {
        daemon.hands.log.line(format_args!("warning: saying whether storages are shown quiet: {error}"));
    }
    daemon.manager_hears();
    Ok(daemon.run())
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
            if self.may_write() {
                self.hands.log.flush();
            }
            told_to_stop |= self.wait(begun.elapsed(), told_to_stop);
            if told_to_stop && self.may_end() {
                return self.stop();
            }
        }
    }

    /// Words come after exits. But whoever is reset by the watchdog without a proof should have said before what it waited for.
    fn may_write(&self) -> bool {
        let half = self.fencer.half();
        let waited = |end: HolderDeadline| leasefence_clock::instant().since_by_faster(end.0) >= WORDS_WAIT;
        let awaits_exits =
            self.fencer.owes_proof() && half.processes.iter().any(|process| self.fencer.condemns(process));
        !awaits_exits || half.unproven || half.latched.is_some_and(waited)
    }

    /// True when a stop is heeded now. Not between a lease's end and its proof where this host resets itself: a record says
    /// "reset on", and peers go by it. That time is bounded by the budget, at whose end the reset comes.
    fn may_end(&self) -> bool {
        let owes_reset = self.hands.reset.is_on() && self.fencer.reset_due().is_some();
        !owes_reset && self.watchdog.may_end(leasefence_clock::instant(), &self.fencer)
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

    fn log_events(&mut self) {
        for event in self.fencer.take_events() {
            self.hands.log.line(event);
            #[cfg(debug_assertions)]
            if let Some(counts) = self.allocations.sees(&event) {
                self.hands.log.line(counts);
            }
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
