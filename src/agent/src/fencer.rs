//! The page, as the main loop uses it: the agent's half is written here before anything that depends on it is done, and
//! the fencer's half is read every 50 ms. All of it is memory: nothing here waits.

use leasefence_core::fencing::{AgentHalf, FencerHalf};
use leasefence_core::ids::DomainId;
use leasefence_core::time::Instant;
use leasefence_page::{AgentPage, EncodeError, HalfReading, Page};

use crate::kill::kill;

/// The page and the last that was seen of both halves.
#[derive(Debug)]
pub(crate) struct Fencer {
    page: AgentPage,
    own: Option<AgentHalf>,
    seen: Option<FencerHalf>,
    bad_reads: u64,
}

impl Fencer {
    /// Takes the page over. `before` is what this process wrote into another page that is lost: it is written again, and
    /// the fencer, which latches an end that it never accepted, says the rest.
    pub(crate) fn new(page: Page, before: Option<AgentHalf>) -> Result<Self, EncodeError> {
        let mut this = Self { page: AgentPage::new(page), own: None, seen: None, bad_reads: 0 };
        if let Some(half) = before {
            this.write(half)?;
        }
        this.read();
        Ok(this)
    }

    /// What the process before this one left; none when it left nothing, or nothing that can be trusted.
    pub(crate) fn predecessor(&mut self) -> Option<AgentHalf> {
        match self.page.read_own() {
            HalfReading::Good(half) => Some(half),
            HalfReading::Empty | HalfReading::Bad => None,
        }
    }

    /// Publishes the half.
    pub(crate) fn write(&mut self, half: AgentHalf) -> Result<(), EncodeError> {
        self.page.write(&half)?;
        self.own = Some(half);
        Ok(())
    }

    /// What this process wrote last.
    pub(crate) fn own(&self) -> Option<&AgentHalf> {
        self.own.as_ref()
    }

    /// Reads the fencer's half anew; none when there is nothing to be trusted (its beat then grows old by itself).
    pub(crate) fn read(&mut self) -> Option<&FencerHalf> {
        match self.page.read_fencer() {
            HalfReading::Good(half) => self.seen = Some(half),
            HalfReading::Empty => {}
            HalfReading::Bad => {
                self.bad_reads = self.bad_reads.saturating_add(1);
                return None;
            }
        }
        self.seen.as_ref()
    }

    /// The fencer's half as last read.
    pub(crate) fn seen(&self) -> Option<&FencerHalf> {
        self.seen.as_ref()
    }

    /// How often the fencer's half was unreadable.
    pub(crate) fn bad_reads(&self) -> u64 {
        self.bad_reads
    }

    /// Whether a start that has its token in the page may go on: read after that write, the fencer's half shows no latch,
    /// and the lease's end has not come. A fencer that does not beat would not end what is started.
    pub(crate) fn start_permitted(&mut self, now: Instant) -> bool {
        let Some(own) = self.own.as_ref().filter(|half| !half.lease_end.reached(now)) else { return false };
        let patience = own.terms.longest_gap();
        let beats = |half: &FencerHalf| now.since_by_faster(half.beat) <= patience;
        self.read().is_some_and(|half| half.armed && half.latched.is_none() && beats(half))
    }

    /// Sends SIGKILL to the processes that the fencer has found of one domain; of all that are not exempt when none is
    /// named. Returns how many, and what could not be done.
    pub(crate) fn kill(&mut self, domain: Option<DomainId>) -> (usize, Vec<String>) {
        self.read();
        let exempt = self.own.as_ref().map(|half| half.exempt.as_slice()).unwrap_or_default();
        let meant = |id: DomainId| domain.map_or(!exempt.contains(&id), |domain| domain == id);
        let processes =
            self.seen.iter().flat_map(|half| &half.processes).filter(|process| meant(process.domain));
        let mut killed = 0;
        let mut errors = Vec::new();
        for process in processes {
            match kill(process) {
                Ok(()) => killed += 1,
                Err(error) => errors.push(format!("killing pid {}: {error}", process.pid)),
            }
        }
        (killed, errors)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leasefence_core::terms::Terms;
    use leasefence_core::time::HolderDeadline;
    use leasefence_page::FencerPage;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant { boot_ns: 0, raw_ns: 0 }.plus(Duration::from_secs(seconds))
    }

    /// Both ends of a page, the lease running until 10 s, and a fencer that is armed.
    fn armed() -> (Fencer, FencerPage, FencerHalf) {
        let page = Page::create().expect("a page");
        let mut theirs = FencerPage::new(page.try_clone().expect("a copy"));
        let end = HolderDeadline(at(10));
        let half = FencerHalf { armed: true, lease_end: end, beat: at(9), ..FencerHalf::default() };
        theirs.write(&half).expect("it has room");
        let terms = Terms { lease_ttl: Duration::from_secs(8), ..Terms::default() };
        let own = AgentHalf { lease_end: end, terms, ..AgentHalf::default() };
        (Fencer::new(page, Some(own)).expect("it has room"), theirs, half)
    }

    #[test]
    fn a_start_goes_on_only_before_the_leases_end() {
        let (mut fencer, ..) = armed();
        assert!(fencer.start_permitted(at(9)));
        assert!(!fencer.start_permitted(at(10)), "its process would outlive the kill");
    }

    #[test]
    fn nothing_is_started_under_a_fencer_that_does_not_beat() {
        let (mut fencer, mut theirs, half) = armed();
        // A quarter of the ttl is 2 s.
        theirs.write(&FencerHalf { beat: at(6), ..half }).expect("it has room");
        assert!(fencer.start_permitted(at(8)));
        assert!(!fencer.start_permitted(at(9)), "nobody would end it at the lease's end");
    }

    #[test]
    fn a_latch_that_came_just_before_the_token_denies_the_start() {
        let (mut fencer, mut theirs, half) = armed();
        let latched = FencerHalf { latched: Some(HolderDeadline(at(5))), ..half };
        theirs.write(&latched).expect("it has room");
        assert!(!fencer.start_permitted(at(6)), "the fencer may not have seen the token");
    }

    #[test]
    fn a_restarted_agent_finds_what_the_process_before_it_left() {
        let (fencer, theirs, _) = armed();
        let page = fencer.page.page().try_clone().expect("a copy");
        drop((fencer, theirs));
        let before = Fencer::new(page, None).expect("nothing to write").predecessor();
        assert_eq!(before.map(|half| half.lease_end), Some(HolderDeadline(at(10))));
    }
}
