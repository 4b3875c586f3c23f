//! The page as the agent uses it: it writes its own half and reads the fencer's.

use leasefence_core::fencing::{AgentHalf, FencerHalf, HalfReading};

use crate::codec::EncodeError;
use crate::layout::{
    AGENT_OFFSET, AGENT_SLOT_BYTES, FENCER_OFFSET, FENCER_SLOT_BYTES, REPORT_OFFSET, REPORT_SLOT_BYTES,
    RESET_OFFSET, RESET_SLOT_BYTES, RESET_WISH_OFFSET, RESET_WISH_SLOT_BYTES, RUNGS_OFFSET, RUNGS_SLOT_BYTES,
    WISH_OFFSET, WISH_SLOT_BYTES,
};
use crate::page::Page;
use crate::reset::{ResetReport, ResetWish};
use crate::rungs::Rungs;
use crate::slots::{Place, Slots};
use crate::watchdog::{WatchdogReport, WatchdogWish};

/// The agent's handle on the page. There is at most one agent that writes: the lock on the identity sees to that.
pub struct AgentPage {
    page: Page,
    own: Slots<AgentHalf>,
    fencer: Slots<FencerHalf>,
    wish: Slots<WatchdogWish>,
    report: Slots<WatchdogReport>,
    reset_wish: Slots<ResetWish>,
    reset: Slots<ResetReport>,
    rungs: Slots<Rungs>,
}

impl std::fmt::Debug for AgentPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentPage").field("page", &self.page).finish_non_exhaustive()
    }
}

impl AgentPage {
    /// Takes the page over. Writes nothing.
    #[must_use]
    pub fn new(page: Page) -> Self {
        let place = Place { offset: AGENT_OFFSET, slot_bytes: AGENT_SLOT_BYTES };
        let own = Slots::new(page.shared(), place).take_over();
        let place = Place { offset: FENCER_OFFSET, slot_bytes: FENCER_SLOT_BYTES };
        let fencer = Slots::new(page.shared(), place);
        let place = Place { offset: WISH_OFFSET, slot_bytes: WISH_SLOT_BYTES };
        let wish = Slots::new(page.shared(), place).take_over();
        let report =
            Slots::new(page.shared(), Place { offset: REPORT_OFFSET, slot_bytes: REPORT_SLOT_BYTES });
        let place = Place { offset: RESET_WISH_OFFSET, slot_bytes: RESET_WISH_SLOT_BYTES };
        let reset_wish = Slots::new(page.shared(), place).take_over();
        let reset = Slots::new(page.shared(), Place { offset: RESET_OFFSET, slot_bytes: RESET_SLOT_BYTES });
        let rungs = Slots::new(page.shared(), Place { offset: RUNGS_OFFSET, slot_bytes: RUNGS_SLOT_BYTES });
        Self { page, own, fencer, wish, report, reset_wish, reset, rungs }
    }

    /// The page itself, to be offered to a restarted fencer.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// What an agent wrote here last: this process, or the one before it. `Bad` means that it may not be trusted: the
    /// incarnation in it is over.
    pub fn read_own(&mut self) -> HalfReading<AgentHalf> {
        read(&mut self.own)
    }

    /// Publishes the half. When this returns, a read of the fencer's half shows every latch that came before the fencer's
    /// first sight of this write. So: *write the token, then read the fencer's half, and permit the start only when that
    /// shows no latch and the lease's end has not come.*
    ///
    /// # Errors
    /// When a list is longer than the page has room for; the page is then as it was.
    pub fn write(&mut self, half: &AgentHalf) -> Result<(), EncodeError> {
        self.own.write(half).map(|_| ())
    }

    /// What the fencer says.
    pub fn read_fencer(&mut self) -> HalfReading<FencerHalf> {
        read(&mut self.fencer)
    }

    /// Says what the configuration wants of the watchdog. The fencer's report names the wish that it answers.
    pub fn write_watchdog_wish(&mut self, wish: &WatchdogWish) {
        let written = self.wish.write(wish);
        debug_assert!(written.is_ok(), "all of it is bounded");
    }

    /// What the fencer says of the watchdog; none when it has said nothing yet (or is of a release that has none).
    pub fn read_watchdog_report(&mut self) -> Option<WatchdogReport> {
        read(&mut self.report).good()
    }

    /// Says whether the configuration wants this host to reset itself. The fencer's report names the wish that it answers.
    pub fn write_reset_wish(&mut self, wish: &ResetWish) {
        let written = self.reset_wish.write(wish);
        debug_assert!(written.is_ok(), "all of it is bounded");
    }

    /// What the fencer says of the reset; none when it has said nothing yet (or is of a release that has none).
    pub fn read_reset_report(&mut self) -> Option<ResetReport> {
        read(&mut self.reset).good()
    }

    /// What the fencer did at the last end of a lease; none before the first.
    pub fn read_rungs(&mut self) -> Option<Rungs> {
        read(&mut self.rungs).good()
    }
}

fn read<H: crate::codec::Half>(slots: &mut Slots<H>) -> HalfReading<H> {
    let mut half = H::default();
    match slots.read(&mut half) {
        HalfReading::Good(_) => HalfReading::Good(half),
        HalfReading::Empty => HalfReading::Empty,
        HalfReading::Bad => HalfReading::Bad,
    }
}
