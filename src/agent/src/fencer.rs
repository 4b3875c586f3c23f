//! The page, as the main loop uses it: the agent's half is written here before anything that depends on it is done, and
//! the fencer's half is read every 50 ms. All of it is memory: nothing here waits.

use leasefence_core::fencing::{AgentHalf, FencerHalf};
use leasefence_core::ids::DomainId;
use leasefence_core::time::Instant;
use leasefence_page::{AgentPage, EncodeError, Page, Reading};

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
            Reading::Good(half) => Some(half),
            Reading::Empty | Reading::Bad => None,
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
            Reading::Good(half) => self.seen = Some(half),
            Reading::Empty => {}
            Reading::Bad => {
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
    /// and the lease's end has not come.
    pub(crate) fn start_permitted(&mut self, now: Instant) -> bool {
        let ended = self.own.as_ref().is_none_or(|half| half.lease_end.reached(now));
        !ended && self.read().is_some_and(|half| half.armed && half.latched.is_none())
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
