//! One start of a user: who asked for it, and how far it is.

use crate::fencing::StartToken;
use crate::ids::{Incarnation, Term};
use crate::lease::GoneProof;
use crate::member::hook::LAST_RUN_NOT_ENDED;
use crate::member::{DomainReport, RequestId};
use crate::recovery::StartBarrier;
use crate::time::Instant;

/// One start.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct UserStart {
    pub(super) stage: Stage,
    pub(super) asked: Asked,
}

/// Who asked for a start, and for what.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::member) struct Asked {
    /// The hook that waits for the answer; none once it was answered, or has gone.
    pub(in crate::member) asker: Option<RequestId>,
    /// When it asked.
    pub(in crate::member) since: Instant,
    /// True once the hook was told to try again: what was acquired for it waits for that.
    pub(in crate::member) kept: bool,
    /// How far it is, if it is a migration to this host.
    pub(super) arrival: Option<ArrivalStep>,
    /// The domain, as its definition describes it.
    pub(in crate::member) report: Box<DomainReport>,
}

impl Asked {
    /// By this hook, now.
    pub(super) fn by(asker: RequestId, report: Box<DomainReport>, since: Instant) -> Self {
        Self { asker: Some(asker), since, kept: false, arrival: None, report }
    }

    /// True for a migration to this host.
    pub(in crate::member) fn arrives(&self) -> bool {
        self.arrival.is_some()
    }
}

/// How far a start is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Stage {
    /// Its lease is being acquired.
    Acquiring,
    /// It is owned here; what the gone host that it was taken from may have left under way is waited for (R6).
    Barrier { term: Term, pred: Option<Incarnation>, barrier: StartBarrier },
    /// It is owned here: its run, or its start, before this one has not ended yet (R6).
    Leaving,
    /// Permitted: the token stands in the page, and QEMU may be run at any moment.
    Permitted {
        token: StartToken,
        /// True once libvirt was about to run QEMU.
        begun: bool,
        /// When libvirt was last asked what became of it.
        asked: Instant,
    },
    /// Libvirt has given it up; the token stays until the fencer has shown no process since.
    GivingUp { token: StartToken, begun: bool, proof: GoneProof },
}

impl Stage {
    /// Its token, while that is open.
    pub(super) fn token(&self) -> Option<StartToken> {
        match self {
            Self::Permitted { token, .. } | Self::GivingUp { token, .. } => Some(*token),
            Self::Acquiring | Self::Barrier { .. } | Self::Leaving => None,
        }
    }

    /// True once libvirt was about to run QEMU under its token.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self, Self::Permitted { begun: true, .. } | Self::GivingUp { begun: true, .. })
    }

    /// Why it is not permitted yet, for the user who started it.
    pub(super) fn why_it_waits(&self) -> &'static str {
        match self {
            Self::Acquiring => "its lease is not acquired yet, the storage is slow: start it again",
            Self::Barrier { .. } => {
                "it ran on a host that is gone, and its storages may still apply what that had sent: start it again in some seconds"
            }
            Self::Leaving => LAST_RUN_NOT_ENDED,
            Self::Permitted { .. } | Self::GivingUp { .. } => "it is permitted",
        }
    }
}

/// How far a migration to this host is, in libvirt's order: each step is permitted once, so that no cold start goes for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ArrivalStep {
    /// `migrate begin`.
    Begun,
    /// `prepare begin`.
    Prepared,
    /// `start begin`: QEMU is about to be run.
    Run,
}
