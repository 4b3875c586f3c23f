//! The page, as the main loop uses it: the agent's half is written here before anything that depends on it is done, and
//! the fencer's half is read. All of it is memory: nothing here waits. What follows from a read the core says (`Sight`).

use std::io;

use leasefence_core::fencing::{AgentHalf, DomainProcess, FencerHalf};
use leasefence_core::ids::DomainId;
use leasefence_core::member::Sight;
use leasefence_core::time::Instant;
use leasefence_page::{
    AgentPage, EncodeError, Page, ResetReport, ResetWish, Rungs, WatchdogReport, WatchdogWish,
};

use crate::kill::{go_on, halt, kill};

/// The page and what was seen of it.
#[derive(Debug)]
pub(crate) struct Fencer {
    page: AgentPage,
    sight: Sight,
}

impl Fencer {
    /// Takes the page over. `sight` is what this process saw of another page that is lost: what it wrote there is written
    /// again.
    pub(crate) fn new(page: Page, sight: Sight) -> Result<Self, EncodeError> {
        let mut this = Self { page: AgentPage::new(page), sight };
        if let Some(half) = this.sight.page_replaced() {
            this.write(half)?;
        }
        this.read();
        Ok(this)
    }

    /// What the process before this one left; none when it left nothing, or nothing that can be trusted.
    pub(crate) fn predecessor(&mut self) -> Option<AgentHalf> {
        self.page.read_own().good()
    }

    /// Publishes the half.
    pub(crate) fn write(&mut self, half: AgentHalf) -> Result<(), EncodeError> {
        self.page.write(&half)?;
        self.sight.wrote(half);
        Ok(())
    }

    /// Reads the fencer's half anew; none when there is nothing to be trusted.
    pub(crate) fn read(&mut self) -> Option<&FencerHalf> {
        self.sight.looked(self.page.read_fencer())
    }

    /// Says what the configuration wants of the watchdog.
    pub(crate) fn ask_watchdog(&mut self, wish: &WatchdogWish) {
        self.page.write_watchdog_wish(wish);
    }

    /// What the fencer says of the watchdog; none when it has said nothing yet.
    pub(crate) fn watchdog(&mut self) -> Option<WatchdogReport> {
        self.page.read_watchdog_report()
    }

    /// Says whether the configuration wants this host to reset itself.
    pub(crate) fn ask_reset(&mut self, wish: &ResetWish) {
        self.page.write_reset_wish(wish);
    }

    /// What the fencer says of that; none when it has said nothing yet.
    pub(crate) fn reset(&mut self) -> Option<ResetReport> {
        self.page.read_reset_report()
    }

    /// What the fencer did at the last end of a lease; none before the first.
    pub(crate) fn rungs(&mut self) -> Option<Rungs> {
        self.page.read_rungs()
    }

    /// What this process has seen of the page.
    pub(crate) fn sight(&self) -> &Sight {
        &self.sight
    }

    /// The same, when the page is given up for another.
    pub(crate) fn into_sight(self) -> Sight {
        self.sight
    }

    /// Whether a start that has its token in the page may go on, by a read after that write.
    pub(crate) fn permits_start(&mut self, now: Instant) -> bool {
        self.sight.permits_start(now, self.page.read_fencer())
    }

    /// Sends SIGKILL to the processes of one domain, or of all. Returns how many, and what could not be done.
    pub(crate) fn kill(&mut self, domain: Option<DomainId>) -> (usize, Vec<String>) {
        self.each("killing", domain, |process| kill(process).map(|()| true))
    }

    /// Stops those processes of one domain that are not stopped yet, as [`kill`](Self::kill).
    pub(crate) fn halt(&mut self, domain: DomainId) -> (usize, Vec<String>) {
        self.each("stopping", Some(domain), halt)
    }

    /// Lets those of them go on that are stopped.
    pub(crate) fn go_on(&mut self, domain: DomainId) -> (usize, Vec<String>) {
        self.each("continuing", Some(domain), go_on)
    }

    fn each(
        &mut self,
        doing: &str,
        domain: Option<DomainId>,
        signal: fn(&DomainProcess) -> io::Result<bool>,
    ) -> (usize, Vec<String>) {
        let mut reached = 0;
        let mut errors = Vec::new();
        for process in self.sight.to_kill(domain, self.page.read_fencer()) {
            match signal(process) {
                Ok(sent) => reached += usize::from(sent),
                Err(error) => errors.push(format!("{doing} pid {}: {error}", process.pid)),
            }
        }
        (reached, errors)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leasefence_core::time::HolderDeadline;
    use leasefence_page::FencerPage;

    use super::*;

    #[test]
    fn a_restarted_agent_finds_what_the_process_before_it_left() {
        let page = Page::create().expect("a page");
        let end = HolderDeadline(Instant::default().plus(Duration::from_secs(10)));
        let mut fencer = Fencer::new(page.try_clone().expect("a copy"), Sight::default()).expect("no write");
        assert_eq!(fencer.predecessor(), None);
        fencer.write(AgentHalf { lease_end: end, ..AgentHalf::default() }).expect("it has room");
        drop(fencer);
        let before = Fencer::new(page, Sight::default()).expect("nothing to write").predecessor();
        assert_eq!(before.map(|half| half.lease_end), Some(end));
    }

    #[test]
    fn what_was_written_into_a_lost_page_is_written_into_the_next() {
        let first = Page::create().expect("a page");
        let mut fencer = Fencer::new(first, Sight::default()).expect("nothing to write");
        let half = AgentHalf { arm_count: 3, ..AgentHalf::default() };
        fencer.write(half.clone()).expect("it has room");
        let next = Page::create().expect("a page");
        let mut theirs = FencerPage::new(next.try_clone().expect("a copy"));
        Fencer::new(next, fencer.into_sight()).expect("it has room");
        assert_eq!(theirs.read_agent().good(), Some(&half));
    }
}
