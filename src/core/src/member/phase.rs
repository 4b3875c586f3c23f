//! Where a member stands in the life of an incarnation. Each phase's steps are in the file of its name.

use super::RequestId;
use crate::format::HostState;
use crate::time::{Instant, Now};
use crate::watch::HeaderRead;

/// The phases.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Phase {
    /// The lease path is not open yet.
    Opening,
    /// The header is being read.
    Header(HeaderRead),
    /// The fencer's half is waited for, where a page from before this process may go on.
    Choosing,
    /// A slot is being claimed, or rejoined with a new generation.
    Entering(Box<super::startup::Entry>),
    /// A restarted agent looks at the own record before it writes the first one.
    Resuming,
    /// A lease is renewed as a sign of life, and entries for all running domains are acquired; nobody is armed.
    Adopting {
        /// What the record says meanwhile: `joining`, or `disarmed`.
        resting: HostState,
    },
    /// The page carries a new arm count and a provisional end; the fencer's echo is waited for.
    Arming {
        /// What the record says meanwhile.
        resting: HostState,
        /// When the provisional end was published.
        published: Instant,
    },
    /// The lease is held.
    Held,
    /// A promise is being weakened: disarming, or a release (R12).
    Weakening(Weakening),
    /// In maintenance.
    Disarmed,
    /// The incarnation is over: latch, `fencing`, CLEAN, receipt.
    Ending(Ending),
    /// Released, or fatal: nothing more is done.
    Over,
}

impl Phase {
    /// True once the fencer was asked to let go.
    pub(super) fn lets_go(&self) -> bool {
        matches!(self, Self::Weakening(Weakening { step: WeakenStep::LettingGo, .. }))
    }
}

/// A promise that is being weakened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Weakening {
    /// What the record says before: `held`, or what it says while nobody is armed.
    pub(super) from: HostState,
    /// What the record is to say.
    pub(super) to: HostState,
    /// Who asked here; none where another host did.
    pub(super) request: Option<RequestId>,
    pub(super) step: WeakenStep,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WeakenStep {
    /// Starts are denied; lease work ends, and no write may be unknown before the first record says so.
    Draining,
    /// Both copies are written; when both were first read back so.
    Writing {
        /// End of the first read that showed both.
        first_shown: Option<Instant>,
    },
    /// Both copies were read back twice: the fencer is asked to let go.
    LettingGo,
}

/// An incarnation that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ending {
    /// Why it ended.
    pub(super) reason: String,
    /// When.
    pub(super) since: Now,
    /// When the domains were last killed by the agent itself.
    pub(super) killed: Option<Instant>,
    /// True once the fencer's latch was told.
    pub(super) latch_told: bool,
    /// True once CLEAN was told.
    pub(super) clean_told: bool,
    /// Copies that carry the receipt, acknowledged.
    pub(super) receipts: [bool; 2],
    /// When the first of them was read back.
    pub(super) receipted: Option<Instant>,
}
