//! The recovery of one domain: where it stands and why.

use super::candidates::Candidate;
use super::start_barrier::StartBarrier;
use crate::fencing::FencerHalf;
use crate::format::LeaseEntry;
use crate::ids::{DomainId, Incarnation, Term};
use crate::lease::{GoneProof, shows};
use crate::member::RecoveryStatus;
use crate::time::{Instant, Now};

/// Where a recovery stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Until its rank's delay, a back-off, or the next round.
    Waiting {
        /// The end of that.
        until: Instant,
    },
    /// On hold: nobody recovers it until `ha resume` or a user's start.
    Held,
    /// A live host stands against it.
    LeftToPeer,
    /// S1 to S4 are queued or under way.
    Acquiring,
    /// The own entry is acknowledged; what the gone host may have left under way is waited for.
    Barrier(StartBarrier),
    /// The start token is open and the start was asked for.
    Starting,
    /// QEMU's image lock still belongs to the dead host: once more, after its token is closed.
    LockWait {
        /// The proof that this try left no process; none once it was shown and the token closed.
        proof: Option<GoneProof>,
        /// When to try again.
        at: Instant,
    },
    /// The start failed or was given up; its token is open until the fencer has shown no process.
    GivingUp {
        /// That proof.
        proof: GoneProof,
    },
    /// The entry is being given back.
    Returning,
    /// Seen running. The token is open until the fencer shows its process, or its death is proven.
    Running {
        /// True while it is open.
        token_open: bool,
        /// It stopped again: the proof of its death.
        death: Option<GoneProof>,
    },
}

impl Stage {
    /// The word for it in `status`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Held => "held",
            Self::LeftToPeer => "left_to_peer",
            Self::Acquiring => "acquiring",
            Self::Barrier(_) => "barrier",
            Self::Starting | Self::LockWait { .. } => "starting",
            Self::GivingUp { .. } | Self::Returning => "failed",
            Self::Running { .. } => "running",
        }
    }

    /// True while a start that was permitted may still produce a process that the fencer does not show yet.
    #[must_use]
    pub fn token_open(&self) -> bool {
        match self {
            Self::Starting | Self::GivingUp { .. } => true,
            Self::LockWait { proof, .. } => proof.is_some(),
            Self::Running { token_open, .. } => *token_open,
            _ => false,
        }
    }

    /// True between the decision to acquire and running, when it takes one of the places of the limiter.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Held | Self::LeftToPeer | Self::Running { .. })
    }

    /// True while nothing was begun: a newer picture of the page decides.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Held | Self::LeftToPeer)
    }
}

/// What the fencer's scan proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proven {
    /// The start that was given up left no process.
    NeverRan,
    /// The domain that ran has no process any more.
    Died,
}

/// The recovery of one domain by this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// Which domain.
    pub domain: DomainId,
    /// Whose entry the top was when it was last looked at.
    pub from: Incarnation,
    /// That entry; once acquired, the own one.
    pub entry: LeaseEntry,
    /// Where it stands.
    pub stage: Stage,
    /// Why it stands there.
    pub reason: String,
    /// A user resumed it while the top had this term.
    pub resumed: Option<Term>,
    /// When its token was opened.
    pub opened: Instant,
    /// Under that token libvirt was about to run QEMU.
    pub begun: bool,
    /// Since when the image lock refuses.
    pub locked_since: Option<Instant>,
    /// When it came to this stage, in wall time.
    pub since_wall_ns: u64,
}

impl Recovery {
    pub(super) fn new(candidate: &Candidate, stage: Stage, reason: String, now: &Now) -> Self {
        Self {
            domain: candidate.domain,
            from: candidate.from,
            entry: candidate.top,
            stage,
            reason,
            resumed: None,
            opened: Instant::default(),
            begun: false,
            locked_since: None,
            since_wall_ns: now.wall_ns,
        }
    }

    pub(super) fn go(&mut self, stage: Stage, reason: impl Into<String>, now: &Now) {
        self.stage = stage;
        self.reason = reason.into();
        self.since_wall_ns = now.wall_ns;
    }

    /// Takes the fencer's half: what it proves for this recovery. Tokens close by it.
    pub(super) fn fencer(&mut self, half: &FencerHalf) -> Option<Proven> {
        let (domain, running) = (self.domain, shows(half, self.domain));
        let proof = match &mut self.stage {
            Stage::LockWait { proof, .. } => proof.as_mut(),
            Stage::GivingUp { proof } => Some(proof),
            Stage::Running { token_open, death } => {
                *token_open &= !running;
                death.as_mut()
            }
            _ => None,
        };
        if !proof?.shown(half, domain) {
            return None;
        }
        match &mut self.stage {
            Stage::LockWait { proof, .. } => {
                *proof = None;
                None
            }
            Stage::GivingUp { .. } => Some(Proven::NeverRan),
            _ => Some(Proven::Died),
        }
    }

    /// True while the picture shows the same top as when it was decided on.
    pub(super) fn is_about(&self, candidate: &Candidate) -> bool {
        self.from == candidate.from && self.entry.term == candidate.top.term
    }

    /// For `status`.
    #[must_use]
    pub fn status(&self) -> RecoveryStatus {
        RecoveryStatus {
            domain: self.domain,
            from: self.from,
            stage: self.stage.as_str(),
            reason: self.reason.clone(),
            since_wall_ns: self.since_wall_ns,
        }
    }
}
