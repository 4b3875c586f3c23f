//! The fencer's hands on this machine: the page, the marker's file, the processes. They do what the core's beat says, and
//! decide nothing; what went wrong is told after the signals.

use leasefence_core::fencing::{AgentHalf, DomainProcess, Fencer, FencerHalf, HalfReading, Hands, Marker};
use leasefence_core::time::{HolderDeadline, Instant};
use leasefence_page::{FencerPage, WatchdogWish};

use crate::cgroups::Cgroups;
use crate::discovery::Discovery;
use crate::ladder::Ladder;
use crate::log::Log;
use crate::reset::HostReset;
use crate::state_file::StateFile;

/// Everything that a beat touches.
pub(crate) struct RealHands {
    pub(crate) page: FencerPage,
    pub(crate) state: StateFile,
    pub(crate) discovery: Discovery,
    pub(crate) log: Log,
    pub(crate) reset: HostReset,
    cgroups: Cgroups,
    ladder: Ladder,
    /// While the watchdog is being changed nothing is armed: it is tried again in the next beat.
    pub(crate) must_not_arm: bool,
    /// The wish about the watchdog that the report in the page answers.
    pub(crate) answered: Option<WatchdogWish>,
    marker_fails: bool,
    page_full: bool,
    /// How many were signalled, and how many could not be, by a kill of which nothing was said yet.
    unsaid: Option<(usize, usize)>,
    cannot_signal: usize,
    reset_said: bool,
}

impl RealHands {
    pub(crate) fn new(
        page: FencerPage,
        state: StateFile,
        discovery: Discovery,
        log: Log,
        reset: HostReset,
        cgroups: Cgroups,
    ) -> Self {
        Self {
            page,
            state,
            discovery,
            log,
            reset,
            cgroups,
            ladder: Ladder::default(),
            must_not_arm: false,
            answered: None,
            marker_fails: false,
            page_full: false,
            unsaid: None,
            cannot_signal: 0,
            reset_said: false,
        }
    }

    /// False while the page has a wish about the watchdog that no report there answers. Looked at after the agent's half was
    /// read: the wish with which an agent asks to be armed lies there before that.
    fn watchdog_is_settled(&mut self) -> bool {
        let wish = self.page.read_watchdog_wish();
        !self.must_not_arm && wish.is_none_or(|wish| self.answered == Some(wish))
    }

    /// What comes after all signals: the second rung, and words.
    pub(crate) fn after_kill(&mut self, fencer: &Fencer) {
        let Some((killed, failed)) = self.unsaid.take() else { return };
        self.ladder.looks(fencer.half(), self.cgroups.counts());
        self.ladder.signalled(leasefence_clock::instant(), killed, failed);
        if killed > 0 {
            self.cgroups.order(self.discovery.condemned(fencer));
            self.log.line(format_args!("killed {killed} domain processes"));
        }
        if failed > std::mem::replace(&mut self.cannot_signal, failed) {
            self.log.line(format_args!("error: {failed} domain processes cannot be signalled"));
        }
    }

    /// What a beat has seen of the rungs.
    pub(crate) fn after_beat(&mut self, fencer: &Fencer) {
        let (exits, left) = (self.discovery.take_exits(), self.discovery.listed().len());
        self.ladder.looks(fencer.half(), self.cgroups.counts());
        self.ladder.exits(leasefence_clock::instant(), exits, left);
        self.ladder.cgroups(self.cgroups.counts());
        self.ladder.storages(fencer);
        self.tell_rungs();
        if exits > 0 {
            self.log.line(format_args!("exits seen of {exits} domain processes, {left} left"));
        }
    }
}

impl RealHands {
    fn tell_rungs(&mut self) {
        if let Some(rungs) = self.ladder.news() {
            self.page.write_rungs(&rungs);
        }
    }
}

impl Hands for RealHands {
    fn read_agent(&mut self) -> HalfReading<&AgentHalf> {
        self.page.read_agent()
    }

    fn write_marker(&mut self, marker: &Marker) -> bool {
        if matches!(marker, Marker::Armed(_)) && !self.watchdog_is_settled() {
            return false;
        }
        let written = self.state.write(marker);
        if let Err(error) = &written
            && !self.marker_fails
        {
            let path = self.state.path().display();
            self.log.line(format_args!("error: neither arms nor disarms, writing {path}: {error}"));
        }
        self.marker_fails = written.is_err();
        written.is_ok()
    }

    fn kill(&mut self, fencer: &Fencer) {
        self.unsaid = Some(self.discovery.kill_condemned(fencer));
    }

    fn publish(&mut self, half: &FencerHalf) -> bool {
        let written = self.page.write(half);
        // The beat in the page grows old, and the agent renews no more: it is an end, said before it comes.
        if let Err(error) = &written
            && !self.page_full
        {
            self.page_full = true;
            self.log.line(format_args!("error: {error}"));
        }
        written.is_ok()
    }

    fn look(&mut self, now: Instant, thorough: bool) {
        self.discovery.look(now, thorough);
    }

    /// The words come first, as far as they are taken at once: afterwards there is nobody to say them.
    fn reset(&mut self) {
        self.ladder.reset(leasefence_clock::instant());
        self.tell_rungs();
        if !std::mem::replace(&mut self.reset_said, true) {
            self.log.line("resets this host now (sysrq b)");
            self.log.flush();
        }
        // What came of it is in the report, and is said where that has changed.
        self.reset.pull().ok();
    }

    fn reset_by(&mut self, deadline: Option<HolderDeadline>) {
        self.reset.pull_by(deadline);
    }

    fn found(&self) -> (bool, &[DomainProcess]) {
        (self.discovery.is_complete(), self.discovery.listed())
    }

    fn searched(&self) -> Option<Instant> {
        self.discovery.searched()
    }

    fn outside_writers(&self) -> &[u64] {
        self.discovery.outside_writers()
    }
}
