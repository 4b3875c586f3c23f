//! What can go wrong: the faults and their words. The table in README.md has one line for each.

use std::fmt;

use leasefence_core::member::ClusterAsk;

use super::Move;
use crate::time::MS;

/// A place in the list of hosts.
pub type HostIndex = usize;
/// A place in the list of domains.
pub type DomainIndex = usize;

/// Which way of a storage path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Requests do not arrive; what arrived is answered.
    Requests,
    /// Requests arrive and are done; answers are held.
    Answers,
    /// Neither.
    Both,
}

/// What is damaged on the lease storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sector {
    /// A copy of a host's record.
    Record,
    /// A copy of a host's sector of a lease page.
    LeasePage,
    /// A claim.
    Claim,
    /// The first header.
    Header,
}

/// How it is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Damage {
    /// Some bits are flipped.
    Corrupt,
    /// All bytes are zero.
    Zeroed,
    /// What belongs to another sector of the same area.
    Misdirected,
}

/// What an operator or orchestrator does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operator {
    /// Asks for a planned fence of the host `of`.
    Fence {
        /// Whose.
        of: HostIndex,
    },
    /// Confirms that a host is off that is off.
    Confirm {
        /// Which.
        of: HostIndex,
    },
    /// Maintenance on this host.
    Disarm,
    /// Out of maintenance.
    Arm,
    /// One of these of the whole cluster, asked for on this host.
    Cluster(ClusterAsk),
    /// A user shuts a domain down.
    Stop {
        /// Which.
        domain: DomainIndex,
    },
    /// A user starts a domain that a user stopped.
    Start {
        /// Which.
        domain: DomainIndex,
    },
    /// A user starts a domain that a user stopped on this host, wherever it was before.
    StartHere {
        /// Which.
        domain: DomainIndex,
    },
    /// A user, or an orchestrator, asks libvirt to migrate a domain to this host, from wherever it runs.
    Migrate {
        /// Which.
        domain: DomainIndex,
        /// How it goes.
        how: Move,
    },
    /// A disk chain changes (an external snapshot): the definition of before is old.
    Snapshot {
        /// Of which domain.
        domain: DomainIndex,
    },
    /// Confirms that a host is off, and does not look whether that is so.
    Mistake {
        /// Which.
        of: HostIndex,
    },
    /// Frees the slot of a machine that is off.
    SlotFree {
        /// Which machine.
        of: HostIndex,
    },
}

/// What happens. Durations are nanoseconds of the world's time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultKind {
    /// A host's path to the lease storage is cut.
    Cut {
        /// Which way.
        direction: Direction,
        /// For how long.
        lasts: u64,
        /// Its calls return an error after this long (a soft mount); none: they hang (a hard mount).
        times_out: Option<u64>,
    },
    /// The lease storage is lost for all hosts at once.
    CutAll {
        /// For how long.
        lasts: u64,
    },
    /// A path is slow.
    Slow {
        /// Up to this much for each way.
        latency: u64,
        /// For how long.
        lasts: u64,
    },
    /// The next writes return an error, and land later.
    LandsLate {
        /// How many.
        writes: u8,
        /// How much later.
        after: u64,
    },
    /// The next writes are done, and return an error.
    AckLost {
        /// How many.
        writes: u8,
    },
    /// The next reads return an error.
    ReadsFail {
        /// How many.
        reads: u8,
    },
    /// The next reads are served at once, and answered so much later.
    ReadsLate {
        /// How many.
        reads: u8,
        /// How much later.
        after: u64,
    },
    /// The next write is seen half done for a while.
    Torn {
        /// For how long.
        lasts: u64,
    },
    /// A sector of this host's is damaged.
    Damaged {
        /// Which.
        sector: Sector,
        /// How.
        how: Damage,
    },
    /// The path of a host leads to another file.
    Replaced {
        /// For how long.
        lasts: u64,
    },
    /// Beyond the assumptions: reads show what was there before.
    StaleReads {
        /// How old.
        age: u64,
        /// For how long.
        lasts: u64,
    },
    /// Beyond the assumptions: the next write is done once more later.
    DoneTwice {
        /// How much later.
        after: u64,
    },
    /// One clock of a host is slewed.
    Slewed {
        /// Parts per million, of `CLOCK_BOOTTIME`.
        ppm: i32,
        /// For how long.
        lasts: u64,
    },
    /// Wall time jumps.
    WallStep {
        /// By so many seconds.
        seconds: i32,
    },
    /// The agent is stopped, after so many more commands (0: between two).
    AgentPaused {
        /// For how long.
        lasts: u64,
        /// In the middle of its work: before the command with this number from now.
        before_command: u8,
    },
    /// The fencer is stopped.
    FencerPaused {
        /// For how long.
        lasts: u64,
    },
    /// Agent and fencer are stopped: the watchdog's hour.
    BothPaused {
        /// For how long.
        lasts: u64,
    },
    /// Agent and fencer stop right after the last pet that the rule allows, and the watchdog bites at the last moment.
    FrozenAtLastPet,
    /// The agent dies and is started again.
    AgentCrash {
        /// How much later.
        back_after: u64,
    },
    /// The fencer dies and is started again.
    FencerCrash {
        /// How much later.
        back_after: u64,
        /// True when it gets its page back.
        page_kept: bool,
    },
    /// Power is lost.
    PowerLoss {
        /// It boots again so much later.
        back_after: u64,
    },
    /// Power is lost everywhere; hosts return one after the other.
    MassPowerLoss {
        /// The first.
        back_after: u64,
        /// Each further one.
        stagger: u64,
    },
    /// Outside the promise: the host is suspended.
    Suspend {
        /// For how long.
        lasts: u64,
    },
    /// Outside the promise: the whole host, guests and watchdog included, is paused.
    HostPaused {
        /// For how long.
        lasts: u64,
    },
    /// Killed guests of this host stay: they wait for the kernel.
    Unkillable {
        /// For how long.
        lasts: u64,
    },
    /// A host's path to the guests' storage is cut: what guests wrote waits in the kernel.
    DataCut {
        /// For how long.
        lasts: u64,
    },
    /// No barrier of a domain can be written by a host: only QEMU reaches its disk, or nobody has the definition of its chain.
    BarriersRefused {
        /// Which domain.
        domain: DomainIndex,
        /// For how long.
        lasts: u64,
    },
    /// The back end of a guests' storage stalls: what was received is done later.
    DataStall {
        /// Which storage.
        storage: usize,
        /// For how long.
        lasts: u64,
    },
    /// Libvirt does not answer.
    LibvirtHung {
        /// For how long.
        lasts: u64,
    },
    /// QEMU's image lock outlives a dead host: starts are refused.
    ImageLocked {
        /// For how long.
        lasts: u64,
    },
    /// The next starts fail.
    StartsFail {
        /// How many.
        starts: u8,
    },
    /// A guest crashes.
    GuestCrash {
        /// Which.
        domain: DomainIndex,
    },
    /// The agent is started again with another ttl.
    NewTerms {
        /// The ttl.
        ttl: u64,
    },
    /// The agent dies in the middle of its next write of its half of the page, and is started again.
    DiesWritingPage {
        /// After so many words.
        words: u8,
        /// How much later.
        back_after: u64,
    },
    /// Words of both slots of the agent's half of the page are not what it wrote.
    PageStruck,
    /// The agent goes mad: the end in its page lies far away for a moment, and it dies.
    MadAgent,
    /// The agent goes mad: it asks for a further generation before the end of this one is proven.
    MadAgentGoesOn,
    /// A machine with the same identity (a cloned image) is switched on.
    Clone,
    /// Once the next renewal of this host has been read back, the copy that it lies in is damaged, and the host stops.
    StopsAfterDamage,
    /// A renewal of this host returns an error; it lands over its successor in the same copy, once the lease's end lies
    /// so far ahead, and the host stops.
    StopsAfterOldRecord {
        /// How far, at least.
        ahead: u64,
    },
    /// The host stops after a renewal that some other host has read so soon after it was issued.
    StopsWhenSeen {
        /// How soon.
        within: u64,
    },
    /// The agent stops as soon as its next want of a lease has landed in both copies.
    StopsAtWant {
        /// For how long.
        lasts: u64,
    },
    /// The agent stops as soon as its page has asked the fencer to let go, if it does so soon.
    StopsAtLettingGo {
        /// For how long.
        lasts: u64,
    },
    /// The next write of a lease page by which this host takes a lease: the call of one of its copies returns an error, and that
    /// copy lands so much later.
    FailsAtOwn {
        /// The second copy, or the first.
        second: bool,
        /// How much later.
        after: u64,
    },
    /// The next start that libvirt is asked for takes so long.
    StartHangs {
        /// How long.
        lasts: u64,
    },
    /// The host's path is cut as soon as its first `held` has landed.
    CutAtFirstHeld,
    /// Renewals of this host are acknowledged, and lost.
    RenewalsLost {
        /// For how long.
        lasts: u64,
    },
    /// The lease file was made anew under its path: this host writes the old one, which nobody else has, and finds out
    /// when it opens the path again.
    MadeAnew {
        /// For how long.
        lasts: u64,
    },
    /// The observer's path shows a copy of the file that nobody else writes.
    DeadPicture,
    /// A record of another machine, with a higher generation, lies in this host's slot.
    ForeignRecord,
    /// Both copies of a sector of this host's are damaged.
    BothDamaged {
        /// Which.
        sector: Sector,
    },
    /// The next write of this host to such a sector is on its way for long.
    SlowWrite {
        /// Which.
        sector: Sector,
        /// For how long.
        takes: u64,
        /// Its call returns an error at once.
        fails: bool,
    },
    /// What an operator does on this host.
    Operator(Operator),
}

/// A fault of a host at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fault {
    /// When, in nanoseconds of the world's time.
    pub at: u64,
    /// Where; meaningless for faults of everything.
    pub host: HostIndex,
    /// What.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.at / MS;
        write!(f, "{:>4}.{:03} host-{} {:?}", ms / 1000, ms % 1000, self.host, self.kind)
    }
}
