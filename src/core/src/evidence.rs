//! The ways in which an incarnation is provably gone (ARCHITECTURE 4), and what else can be said of a host.

use std::time::Duration;

use crate::ids::{Incarnation, Slot};
use crate::time::Now;

/// Why an incarnation is *gone*: none of its domains runs, and none of their writes can still land. Nothing else is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Evidence {
    /// It did not renew for `verdict_after`, seen by this host itself over a live read path.
    Expired,
    /// Its own receipt: zero domains, zero start tokens, quiesced.
    Fenced,
    /// Its slot shows a higher generation of the same host key, or a `freed_generation` at or above.
    Superseded,
    /// It stopped cleanly with zero domains.
    Released,
    /// An operator's or fence agent's word, written as a conviction.
    Confirmed,
}

impl Evidence {
    /// The word for it in output, logs and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Fenced => "fenced",
            Self::Superseded => "superseded",
            Self::Released => "released",
            Self::Confirmed => "confirmed",
        }
    }
}

/// What an observer says of one host.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The incarnation is provably gone: its domains may be started.
    Gone {
        /// Why.
        evidence: Evidence,
        /// When this observer could first say so.
        since: Now,
    },
    /// Joining: no lease yet.
    Joining {
        /// False when its record has not changed for a while: it never held, and an operator must confirm it.
        advances: bool,
    },
    /// Its record advances.
    Alive,
    /// It has begun to fence itself; the receipt, or the cap, will prove it.
    Fencing {
        /// Time until the cap gives the verdict.
        left: Duration,
    },
    /// Its record does not advance.
    Stalled {
        /// Time until the verdict, if nothing changes and expiry is allowed for this host; else none.
        left: Option<Duration>,
        /// Why expiry can prove nothing here, where it cannot.
        why_not: Option<String>,
    },
    /// In maintenance: it never expires.
    Disarmed,
    /// Nothing can be said, and why.
    Unknown(String),
}

impl Verdict {
    /// The word for it, as in `leasefence status`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "gone",
            Self::Joining { .. } => "joining",
            Self::Alive => "alive",
            Self::Fencing { .. } => "fencing",
            Self::Stalled { .. } => "stalled",
            Self::Disarmed => "disarmed",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// A host as an observer sees it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostView {
    /// Its slot.
    pub slot: Slot,
    /// The incarnation in its record.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: String,
    /// What is said of it.
    pub verdict: Verdict,
}
