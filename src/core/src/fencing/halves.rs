//! The two halves of the page: each is written by one process only, and read by the other.

use crate::ids::{BootId, DomainId, FileId, Generation, Incarnation, Sequence, Term};
use crate::terms::Terms;
use crate::time::{HolderDeadline, Instant};

/// What the agent wants of the fencer. A promise is weakened in the page first (R12).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Wish {
    /// Never armed: no lease yet, or adopting. The fencer kills nothing unless it was armed before.
    #[default]
    Joining,
    /// Armed: at the lease's end every domain process is killed.
    Armed,
    /// Armed still, but nothing may start: the first step of disarming and of a release.
    DenyStarts,
    /// Let go: both record copies say `disarmed` or `released`, and were read back twice.
    Disarm,
}

/// How a storage of a domain is proven quiet after its processes are gone (ARCHITECTURE 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum StorageKind {
    /// A local file system shared by "hosts" on one kernel (header's `test` bit): process exits are the proof.
    OneKernel,
    /// An NFS file system: unmounted, forgotten by the kernel, and no connection left over which it has sent.
    Nfs,
    /// A device of an iSCSI session, or a file system on one: deleted, and no connection left over which it has sent.
    Iscsi,
    /// Anything for which there is no proof.
    #[default]
    Unprovable,
}

/// One storage that the fencer must show quiet: a mount or a device, found ahead of need.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct QuiesceTarget {
    /// How.
    pub kind: StorageKind,
    /// Device number (`st_dev`) of the mount or device.
    pub device: u64,
}

/// A start that was permitted and may still produce a process: it counts as a running domain until the fencer's
/// half shows its process, or it is closed (ARCHITECTURE 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct StartToken {
    /// Which domain.
    pub domain: DomainId,
    /// Under which term it was permitted.
    pub term: Term,
    /// When.
    pub opened: Instant,
}

impl StartToken {
    /// One clock tick of `/proc/PID/stat`: 10 ms on every Linux (`USER_HZ` is 100).
    const TICK_NS: u64 = 10_000_000;

    /// True for a process of its domain that was started after the token was opened: then it needs no token any more. One of
    /// before is of an earlier run.
    #[must_use]
    pub fn came_up_as(&self, process: &DomainProcess) -> bool {
        let started_before_ns = process.start_time.saturating_add(1).saturating_mul(Self::TICK_NS);
        process.domain == self.domain && started_before_ns > self.opened.boot_ns
    }
}

/// A write whose outcome is unknown (R11).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct UnknownWrite {
    /// Byte offset of the sector that was written.
    pub offset: u64,
    /// When the write was issued.
    pub issued: Instant,
}

/// A domain lease of this incarnation, so that a restarted agent knows what it owned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OwnLease {
    /// Which domain.
    pub domain: DomainId,
    /// The term it is owned under.
    pub term: Term,
    /// True once it was seen running under this term.
    pub ran: bool,
    /// True while it is being migrated away.
    pub outgoing: bool,
}

/// The agent's half of the page.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct AgentHalf {
    /// The lease file.
    pub file_id: FileId,
    /// The boot in which this was written: a page of another boot means nothing.
    pub boot_id: BootId,
    /// Whose lease; generation 0 before there is one.
    pub incarnation: Incarnation,
    /// Counts armings since boot.
    pub arm_count: u32,
    /// What the fencer is asked to do.
    pub wish: Wish,
    /// End of the lease; meaningless before the first arming.
    pub lease_end: HolderDeadline,
    /// The terms in force.
    pub terms: Terms,
    /// The highest sequence issued of the own host record: noted before the write is issued (R11).
    pub issued: Sequence,
    /// Writes of which the outcome is unknown, in flight ones included.
    pub unknown: Vec<UnknownWrite>,
    /// Starts that may still produce a process.
    pub tokens: Vec<StartToken>,
    /// Domains that the operator exempted from protection.
    pub exempt: Vec<DomainId>,
    /// What must be shown quiet after the kill.
    pub quiesce: Vec<QuiesceTarget>,
    /// Domains all of whose storages stand in `quiesce`.
    pub covered: Vec<DomainId>,
    /// Domain leases of this incarnation.
    pub own: Vec<OwnLease>,
}

/// A process of a domain, found by the fencer without libvirt. A pid alone may be reused: the start time tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DomainProcess {
    /// Which domain; zero when the uuid could not be found: such a process is protected (ARCHITECTURE 5).
    pub domain: DomainId,
    /// Its pid in the fencer's pid namespace.
    pub pid: u32,
    /// Its start time in clock ticks (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// The scan that last showed it.
    pub scan: u64,
}

/// The fencer's proof: every domain process is gone, no token is open, and the storage is quiet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Clean {
    /// Whose end it proves.
    pub generation: Generation,
    /// When it was proven.
    pub at: Instant,
    /// True when quiescence was by force: a receipt must wait `write_drain`, which the server may still hold.
    pub forced: bool,
}

/// Why the fencer cannot give its proof (yet). Such a host is to be reset; until it can reset, it gives no receipt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unproven {
    /// A domain process is still there.
    ProcessLeft,
    /// A start token is still open: its process may yet appear.
    TokenOpen,
    /// The agent's half was lost or is unreadable, so that nobody knows which starts were permitted.
    TokensUnknown,
    /// A storage is of a kind for which there is no proof of quiescence.
    StorageUnprovable,
    /// A storage of a kind for which there is a proof is not shown quiet.
    StorageNotQuiet,
    /// A domain ran of which the agent's half does not say which storages are its own.
    StorageUnknown,
    /// The host's processes could not be listed, or nobody has searched since for what libvirt's files do not show.
    ScanFailed,
}

impl Unproven {
    /// True where waiting does not help.
    pub(super) fn is_hopeless(self) -> bool {
        matches!(self, Self::StorageUnprovable | Self::StorageUnknown)
    }
}

/// The fencer's half of the page.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FencerHalf {
    /// The last time it went round its loop.
    pub beat: Instant,
    /// The terms it has taken over from the agent's half.
    pub terms: Terms,
    /// The arm count it has taken over.
    pub arm_count: u32,
    /// True while it will kill at the lease's end.
    pub armed: bool,
    /// True once it was armed since this boot.
    pub armed_since_boot: bool,
    /// The incarnation that it guards; zero before.
    pub incarnation: Incarnation,
    /// The lease end that it has accepted and will act on; meaningless while it is not armed. It stands here so that a
    /// restarted fencer knows whether the end that it guarded has passed.
    pub lease_end: HolderDeadline,
    /// The lease end that passed, or that was cut short. It is never taken back for this incarnation.
    pub latched: Option<HolderDeadline>,
    /// The proof, after the latch.
    pub clean: Option<Clean>,
    /// Why there is no proof, where the storage's kind has none or the kill did not finish in time.
    pub unproven: bool,
    /// The reason, where `unproven` is set.
    pub unproven_reason: Option<Unproven>,
    /// How many scans of the host's processes have ended.
    pub scans: u64,
    /// The domain processes that the last scan showed.
    pub processes: Vec<DomainProcess>,
}
