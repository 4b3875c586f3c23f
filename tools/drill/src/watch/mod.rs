//! What is seen while a drill runs: threads that look at the lease file, the agent and the canary, and one log of all that they see.
//! None of them decides anything, and no one of them can hold up the drill.

mod agent;
mod canary;
mod lease;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant as Monotonic};

use leasefence_core::format::{HostState, LeaseState};

use crate::canary::Beat;

pub use agent::{ask, status};
pub use canary::{Pause, Witness};
pub(crate) use lease::owns;
pub use lease::read_once;

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(100);

/// Something that was seen, and when by this host's `CLOCK_MONOTONIC_RAW`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Nanoseconds.
    pub at_ns: u64,
    /// What.
    pub sight: Sight,
}

/// What can be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sight {
    /// A host's record has changed.
    Record(RecordSeen),
    /// A host's entry about the canary has changed.
    Entry(EntrySeen),
    /// What the agent says of itself.
    Agent(AgentSeen),
    /// The agent does not answer.
    Silent,
    /// The canary's counter has changed.
    Beat(Beat),
    /// The canary's process on this host is gone.
    Gone,
    /// Something cannot be looked at, for people.
    Trouble(String),
}

/// A host's record in the lease file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordSeen {
    /// The host's name.
    pub host: String,
    /// Slot and generation.
    pub incarnation: (u16, u32),
    /// The number of the write.
    pub sequence: u64,
    /// What it says of itself.
    pub state: HostState,
    /// When the write was issued, by that host's own `CLOCK_MONOTONIC_RAW`: comparable for this host's records alone (R2).
    pub issued_ns: u64,
    /// Whom it holds for gone.
    pub convicts: Vec<(u16, u32)>,
}

/// A host's entry about the canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntrySeen {
    /// The host's name.
    pub host: String,
    /// Slot and generation.
    pub incarnation: (u16, u32),
    /// What it says.
    pub state: LeaseState,
    /// Its term.
    pub term: u32,
    /// Whether a definition is stored that a peer could start it from.
    pub defined: bool,
}

/// What the agent says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentSeen {
    /// `held` and so on.
    pub state: String,
    /// Its generation.
    pub generation: u32,
    /// When it was started: another time is another process.
    pub started_unix_ms: u64,
    /// The end that the fencer has latched.
    pub latched_ns: Option<u64>,
    /// When the fencer had proven that all is quiet.
    pub clean_ns: Option<u64>,
    /// Whether libvirt answers it.
    pub libvirt: bool,
}

/// The log, and the way of the threads into it.
#[derive(Debug)]
pub struct Watch {
    /// All that was seen, in the order in which it came.
    pub log: Vec<Seen>,
    sender: Sender<Seen>,
    inbox: Receiver<Seen>,
    /// As long as it is there, somebody listens: the threads hold senders of their own, so that none would notice.
    listens: Arc<()>,
}

impl Default for Watch {
    fn default() -> Self {
        let (sender, inbox) = channel();
        Self { log: Vec::new(), sender, inbox, listens: Arc::new(()) }
    }
}

impl Watch {
    /// For a thread that looks at something.
    #[must_use]
    pub fn sender(&self) -> Eye {
        Eye(self.sender.clone(), Arc::downgrade(&self.listens))
    }

    /// Takes what comes until `enough` says so (true) or the time is over.
    pub fn until(&mut self, patience: Duration, mut enough: impl FnMut(&[Seen]) -> bool) -> bool {
        let begun = Monotonic::now();
        loop {
            if enough(&self.log) {
                return true;
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            match self.inbox.recv_timeout(left.min(LOOK)) {
                Ok(seen) => {
                    self.log.push(seen);
                    self.log.extend(self.inbox.try_iter());
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

/// A thread's way into the log.
#[derive(Clone, Debug)]
pub struct Eye(Sender<Seen>, Weak<()>);

impl Eye {
    /// Enters what is seen now; false when nobody listens any more.
    #[must_use]
    pub fn sees(&self, sight: Sight) -> bool {
        self.0.send(Seen { at_ns: now_ns(), sight }).is_ok()
    }

    /// Whether nobody listens any more.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.1.strong_count() == 0
    }
}

/// This host's `CLOCK_MONOTONIC_RAW`, in nanoseconds.
#[must_use]
pub fn now_ns() -> u64 {
    leasefence_clock::instant().raw_ns
}
