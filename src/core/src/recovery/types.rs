//! What recovery is told, and what it asks for. Plain values: no rule lives here.

use std::time::Duration;

use crate::ids::{DomainId, HostKey, Incarnation, Term};
use crate::member::Note;
use crate::time::Instant;

/// A host that can take part: its own lease is valid, as far as this observer can see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Survivor {
    /// Which.
    pub incarnation: Incarnation,
    /// Its identity: what the preference is computed from.
    pub host_key: HostKey,
}

/// A host that is provably gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GoneHost {
    /// Which.
    pub incarnation: Incarnation,
    /// The word for the evidence, for people.
    pub evidence: &'static str,
    /// When its record was last seen to change, if this process saw that.
    pub stall_start: Option<Instant>,
}

/// What a member's last good scan says, for recovery. Given anew after each scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// All live hosts in state held, this one included while its lease is valid.
    pub survivors: Vec<Survivor>,
    /// All incarnations that are gone and whose evidence counts already (published, where it must be).
    pub gone: Vec<GoneHost>,
    /// The page versions in each host's record, in slot order: a page whose versions changed is read again.
    pub page_versions: Vec<(Incarnation, [u16; 16])>,
    /// The largest `write_drain` of all hosts' terms, the gone ones' included.
    pub write_drain: Duration,
    /// Free memory here in MiB; none while libvirt cannot start anything.
    pub free_memory_mib: Option<u32>,
}

/// What recovery asks of the member, in the order in which it is polled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecoveryAction {
    /// The start tokens changed: publish the page with [`Recoveries::tokens`](super::Recoveries::tokens) before executing
    /// anything that follows.
    Publish,
    /// `Command::Barrier`.
    Barrier {
        /// For which domain.
        domain: DomainId,
        /// Its mark.
        asked: Instant,
    },
    /// `Command::Start`: its token is in the page since the `Publish` before it.
    Start {
        /// Which domain.
        domain: DomainId,
        /// Under which term.
        term: Term,
        /// Hash of the disk chain in the entry.
        definition_hash: u64,
    },
    /// Tell people; also into `status` as a decision.
    Note(Note),
}

/// The numbers of recovery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecoveryPolicy {
    /// The delay of each further rank in a domain's preference. It never decides safety.
    pub rank_delay: Duration,
    /// Between two rounds for a domain that could not be recovered in one.
    pub round: Duration,
    /// Between two tries of a start that QEMU's image lock refuses.
    pub lock_retry: Duration,
    /// How long a lock that the dead host still holds is no failure: 2 x the server's lease time + 30 s.
    pub lock_patience: Duration,
    /// How long a barrier may take.
    pub barrier_patience: Duration,
    /// How many recoveries of this host are between acquire and running at the same time.
    pub at_once: usize,
    /// Between two full readings of all pages, whatever the versions say.
    pub full_read: Duration,
    /// Longest back-off after failures: 2^failures s below it.
    pub longest_back_off: Duration,
}

impl Default for RecoveryPolicy {
    fn default() -> Self {
        Self {
            rank_delay: Duration::from_secs(2),
            round: Duration::from_secs(5),
            lock_retry: Duration::from_secs(1),
            // The Linux NFS server's lease time is 90 s.
            lock_patience: Duration::from_secs(2 * 90 + 30),
            barrier_patience: Duration::from_secs(30),
            at_once: 4,
            full_read: Duration::from_secs(60),
            longest_back_off: Duration::from_secs(300),
        }
    }
}
