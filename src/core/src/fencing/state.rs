//! Where the fencer stands: never armed, armed, ended, or disarmed.

use std::time::Duration;

use crate::fencing::{AgentHalf, Clean, EndCause, Unproven};
use crate::ids::{DomainId, FileId, Incarnation};
use crate::time::{HolderDeadline, Instant};

/// The four states. There is no way from `Ended` back to `Armed` for the same incarnation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum State {
    /// Never armed since boot: kills nothing.
    NeverArmed,
    /// Guards a lease.
    Armed(Guard),
    /// The lease has ended: kills, proves, and keeps killing what starts without a lease.
    Ended(End),
    /// In maintenance: kills nothing.
    Disarmed {
        /// The arming that was ended.
        arm_count: u32,
        /// What was guarded; zero when unknown.
        lease: LeaseName,
    },
}

/// Which lease: an incarnation in a lease file. Zero parts are unknown (a lost page) and match anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct LeaseName {
    pub(super) file_id: FileId,
    pub(super) incarnation: Incarnation,
}

impl LeaseName {
    pub(super) fn of(half: &AgentHalf) -> Self {
        Self { file_id: half.file_id, incarnation: half.incarnation }
    }

    fn knows_incarnation(self) -> bool {
        self.incarnation.generation.0 != 0
    }

    /// True when `half` speaks of this lease, as far as this lease is known.
    pub(super) fn fits(self, half: &AgentHalf) -> bool {
        half.incarnation.generation.0 != 0
            && (!self.knows_incarnation() || self.incarnation == half.incarnation)
            && (self.file_id.is_zero() || self.file_id == half.file_id)
    }

    /// True when `half` speaks of a life after this one. Another slot or another file is another host's history.
    pub(super) fn precedes(self, half: &AgentHalf) -> bool {
        let same_slot = self.incarnation.slot == half.incarnation.slot
            && (self.file_id.is_zero() || self.file_id == half.file_id);
        !self.fits(half) && (!same_slot || half.incarnation.generation > self.incarnation.generation)
    }
}

/// A lease that is guarded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Guard {
    pub(super) lease: LeaseName,
    pub(super) arm_count: u32,
    /// The end that was accepted last; none only while a restarted fencer waits for the agent's copy of the page.
    pub(super) end: Option<HolderDeadline>,
    /// `BOOTTIME - MONOTONIC` in ns when it was armed.
    pub(super) suspended_ns: u64,
    /// Since when the agent's half cannot be read.
    pub(super) bad_since: Option<Instant>,
}

/// A lease that has ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct End {
    pub(super) lease: LeaseName,
    pub(super) arm_count: u32,
    pub(super) latched: HolderDeadline,
    /// When the latch fell.
    pub(super) at: Instant,
    pub(super) cause: EndCause,
    /// True once the latch stands in the fencer's half of the page.
    pub(super) published: bool,
    /// When the agent's half of this lease was last read, after the latch was published. Its tokens are final: an agent
    /// permits a start only if it sees no latch after it wrote the token.
    pub(super) tokens_read: Option<Instant>,
    /// True when domain processes, tokens or own leases were there at the latch or after it.
    pub(super) ran: bool,
    /// The domains of the protected processes that were there at the latch or after it, in order and each once; zero for an
    /// unknown one.
    pub(super) seen: Vec<DomainId>,
    /// When something was last there that may write without being seen: a domain process, an open token, a writer that is no
    /// domain's, or a look that missed some. A storage shown quiet counts if that was begun after it (R6).
    pub(super) unquiet: Instant,
    /// Whether the last scan showed something of that kind.
    pub(super) stirred: bool,
    /// True once a storage was made quiet by force: its server may still hold writes that the connection cut off has sent.
    pub(super) forced: bool,
    /// What stands between the last scan and the proof.
    pub(super) obstacle: Unproven,
    /// The obstacle that was said last.
    pub(super) said: Option<Unproven>,
    pub(super) clean: Option<Clean>,
}

impl End {
    /// True from the end of the fence budget on.
    pub(super) fn budget_over(&self, now: Instant, budget: Duration) -> bool {
        HolderDeadline(self.latched.0.plus(budget)).reached(now)
    }
}
