//! The page as the fencer uses it: it reads the agent's half and writes its own. After `new` nothing is allocated.

use leasefence_core::fencing::{AgentHalf, FencerHalf, HalfReading};

use crate::codec::EncodeError;
use crate::layout::{
    AGENT_OFFSET, AGENT_SLOT_BYTES, FENCER_OFFSET, FENCER_SLOT_BYTES, MAX_COVERED, MAX_EXEMPT,
    MAX_OWN_LEASES, MAX_QUIESCE_TARGETS, MAX_TOKENS, MAX_UNKNOWN_WRITES, REPORT_OFFSET, REPORT_SLOT_BYTES,
    RESET_OFFSET, RESET_SLOT_BYTES, RESET_WISH_OFFSET, RESET_WISH_SLOT_BYTES, RUNGS_OFFSET, RUNGS_SLOT_BYTES,
    WISH_OFFSET, WISH_SLOT_BYTES,
};
use crate::page::Page;
use crate::reset::{ResetReport, ResetWish};
use crate::rungs::Rungs;
use crate::slots::{Place, Slots};
use crate::watchdog::{WatchdogReport, WatchdogWish};

/// The fencer's handle on the page.
pub struct FencerPage {
    page: Page,
    agent: Slots<AgentHalf>,
    own: Slots<FencerHalf>,
    wish: Slots<WatchdogWish>,
    report: Slots<WatchdogReport>,
    reset_wish: Slots<ResetWish>,
    reset: Slots<ResetReport>,
    rungs: Slots<Rungs>,
    /// The last decoded half of the agent; its lists have their full capacity from the start.
    half: AgentHalf,
}

impl std::fmt::Debug for FencerPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FencerPage").field("page", &self.page).finish_non_exhaustive()
    }
}

impl FencerPage {
    /// Takes the page over. Writes nothing.
    #[must_use]
    pub fn new(page: Page) -> Self {
        let place = Place { offset: AGENT_OFFSET, slot_bytes: AGENT_SLOT_BYTES };
        let agent = Slots::new(page.shared(), place);
        let place = Place { offset: FENCER_OFFSET, slot_bytes: FENCER_SLOT_BYTES };
        let own = Slots::new(page.shared(), place).take_over();
        let wish = Slots::new(page.shared(), Place { offset: WISH_OFFSET, slot_bytes: WISH_SLOT_BYTES });
        let place = Place { offset: REPORT_OFFSET, slot_bytes: REPORT_SLOT_BYTES };
        let report = Slots::new(page.shared(), place).take_over();
        let place = Place { offset: RESET_WISH_OFFSET, slot_bytes: RESET_WISH_SLOT_BYTES };
        let reset_wish = Slots::new(page.shared(), place);
        let place = Place { offset: RESET_OFFSET, slot_bytes: RESET_SLOT_BYTES };
        let reset = Slots::new(page.shared(), place).take_over();
        let place = Place { offset: RUNGS_OFFSET, slot_bytes: RUNGS_SLOT_BYTES };
        let rungs = Slots::new(page.shared(), place).take_over();
        let half = AgentHalf {
            unknown: Vec::with_capacity(MAX_UNKNOWN_WRITES),
            tokens: Vec::with_capacity(MAX_TOKENS),
            exempt: Vec::with_capacity(MAX_EXEMPT),
            quiesce: Vec::with_capacity(MAX_QUIESCE_TARGETS),
            covered: Vec::with_capacity(MAX_COVERED),
            own: Vec::with_capacity(MAX_OWN_LEASES),
            ..AgentHalf::default()
        };
        Self { page, agent, own, wish, report, reset_wish, reset, rungs, half }
    }

    /// The page itself, to be handed to the agent and to the service manager.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The agent's half: the newest whole slot. `Bad` when there is none, or when the newest one that was seen before can
    /// no longer be read.
    pub fn read_agent(&mut self) -> HalfReading<&AgentHalf> {
        match self.agent.read(&mut self.half) {
            HalfReading::Good(_) => HalfReading::Good(&self.half),
            HalfReading::Empty => HalfReading::Empty,
            HalfReading::Bad => HalfReading::Bad,
        }
    }

    /// What a fencer wrote here last: this process, or the one before it.
    pub fn read_own(&mut self) -> HalfReading<FencerHalf> {
        let mut half = FencerHalf::default();
        match self.own.read(&mut half) {
            HalfReading::Good(_) => HalfReading::Good(half),
            HalfReading::Empty => HalfReading::Empty,
            HalfReading::Bad => HalfReading::Bad,
        }
    }

    /// Publishes the fencer's half. A read of the agent's half after this shows every token whose writer did not see what
    /// was published here.
    ///
    /// # Errors
    /// When more processes are listed than the page has room for; the page is then as it was.
    pub fn write(&mut self, half: &FencerHalf) -> Result<(), EncodeError> {
        self.own.write(half).map(|_| ())
    }

    /// What the agent wants of the watchdog; none before it has said so, or while that cannot be read.
    pub fn read_watchdog_wish(&mut self) -> Option<WatchdogWish> {
        read(&mut self.wish)
    }

    /// What a fencer said of the watchdog last: this process, or the one before it.
    pub fn read_watchdog_report(&mut self) -> Option<WatchdogReport> {
        read(&mut self.report)
    }

    /// Says what there is to say of the watchdog.
    pub fn write_watchdog_report(&mut self, report: &WatchdogReport) {
        let written = self.report.write(report);
        debug_assert!(written.is_ok(), "all of it is bounded");
    }

    /// Whether the agent wants this host to reset itself; none before it has said so, or while that cannot be read.
    pub fn read_reset_wish(&mut self) -> Option<ResetWish> {
        read(&mut self.reset_wish)
    }

    /// Says what there is to say of the reset.
    pub fn write_reset_report(&mut self, report: &ResetReport) {
        let written = self.reset.write(report);
        debug_assert!(written.is_ok(), "all of it is bounded");
    }

    /// Says what was done at the end of a lease.
    pub fn write_rungs(&mut self, rungs: &Rungs) {
        let written = self.rungs.write(rungs);
        debug_assert!(written.is_ok(), "all of it is bounded");
    }
}

fn read<H: crate::codec::Half>(slots: &mut Slots<H>) -> Option<H> {
    let mut half = H::default();
    match slots.read(&mut half) {
        HalfReading::Good(_) => Some(half),
        HalfReading::Empty | HalfReading::Bad => None,
    }
}
