//! What the driver (agent or simulator) tells a member.

use std::time::Duration;

use super::{ClusterAsk, MigrationNews, StartActivity};
use crate::fencing::{AgentHalf, FencerHalf, QuiesceTarget};
use crate::ids::{BootId, DomainId, HostKey, Nonce};
use crate::recovery::RecoveryPolicy;
use crate::storage::IoDone;
use crate::terms::Terms;
use crate::time::Instant;

/// What does not change while the process lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberConfig {
    /// This machine's identity.
    pub host_key: HostKey,
    /// This boot.
    pub boot_id: BootId,
    /// This process.
    pub process_nonce: Nonce,
    /// The host's name, as shown to people (cut to 48 bytes in the record).
    pub host_name: String,
    /// The cluster name that the header must carry.
    pub cluster_name: String,
    /// The terms of this host's configuration.
    pub terms: Terms,
    /// The class of its watchdog, by its code in the record (0 none, 1 soft, 2 virtual, 3 hardware).
    pub watchdog_class: u8,
    /// True when the host may reset itself.
    pub reset_on: bool,
    /// True when this host lets its peers call it expired without a hardware watchdog (ARCHITECTURE 4).
    pub expire_without_hardware: bool,
    /// How long a write stays unknown after its call returned (R11).
    pub unknown_hold: Duration,
    /// True when the machine has a DMI uuid: else a rejoin watches for a clone longer (PROTOCOL 2).
    pub has_machine_uuid: bool,
    /// Time since this boot when the process started: a rejoin waits until it is at least `write_drain`.
    pub uptime: Duration,
    /// Seed of nonces, back-offs and candidate orders: the core draws no random number of its own.
    pub seed: u64,
    /// What lies in the page from before this process, as read; what is of another boot or file counts for nothing.
    pub page: Option<AgentHalf>,
    /// The delays and bounds of recovery; none of them decides safety.
    pub recovery: RecoveryPolicy,
}

/// What lies behind the lease path: the storage thread learns it when it opens it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseMedium {
    /// Size in bytes.
    pub size: u64,
    /// True for a block device.
    pub block_device: bool,
    /// Logical sector size in bytes.
    pub sector_size: u32,
}

/// Whether and how a domain is guarded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Protection {
    /// Restarted elsewhere after its host's death.
    pub ha: bool,
    /// Among HA domains, higher goes first.
    pub priority: u8,
    /// The operator exempted it: it takes no lease and is not killed.
    pub exempt: bool,
}

/// A domain that libvirt knows on this host.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DomainReport {
    /// Its uuid.
    pub domain: DomainId,
    /// Its name.
    pub name: String,
    /// True when libvirt says that it runs (paused counts).
    pub running: bool,
    /// How it is guarded.
    pub protection: Protection,
    /// Virtual processors.
    pub vcpus: u16,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// H64 of its live disk chain (PROTOCOL 4).
    pub definition_hash: u64,
    /// Version of the stored definition.
    pub definition_version: u32,
    /// The storages of its disks.
    pub storages: Vec<QuiesceTarget>,
    /// True while some disk's storage is not known yet, and not among them: its path has not answered.
    pub unanswered: bool,
    /// True while it cannot be told whether its exemption counts: until it can, it keeps a lease that it has.
    pub doubtful: bool,
}

/// Why a domain that ran is not running any more, as libvirt says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StopReason {
    /// A user or the guest ended it, and QEMU exited by itself: it has drained its own requests before.
    Shutdown,
    /// A user ended it by ending QEMU, which may have left writes behind in this host's kernel (R6).
    Destroyed,
    /// A user saved it: its memory lies in an image on this host, newer than what its disks say.
    Saved,
    /// It was migrated to another host.
    Migrated,
    /// Crashed, failed, or unknown.
    Crashed,
    /// The host is shutting down.
    HostShutdown,
}

/// Why a start did not happen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum StartFailure {
    /// QEMU's image lock still belongs to the dead host: retried, no failure (ARCHITECTURE 7).
    ImageLocked,
    /// There is no definition, or not the one whose hash the entry carries.
    Definition(String),
    /// Anything else, in libvirt's words.
    Failed(String),
}

/// Names a local request, so that its reply finds its way back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What an operator or orchestrator asks of this host's agent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// Ask the host of this name to fence itself.
    Fence {
        /// Its name, as in its record.
        host: String,
    },
    /// An operator's word that the host is off (ARCHITECTURE 4).
    Confirm {
        /// Its name, as in its record.
        host: String,
        /// Who says so and why.
        reason: String,
    },
    /// Enter maintenance (PROTOCOL 6).
    Disarm,
    /// Leave maintenance.
    Arm,
    /// The same of every host of the cluster, this one included (PROTOCOL 6).
    Cluster(ClusterAsk),
    /// Free a slot of a machine that is off (PROTOCOL 2).
    SlotFree {
        /// Which slot.
        slot: u16,
        /// The machine named in the claim, as the operator typed it.
        machine: String,
    },
    /// Lift a domain's hold, so that it is recovered again.
    Resume {
        /// Which domain.
        domain: DomainId,
    },
    /// Stop cleanly: fails while protected domains run.
    Release,
    /// End the own lease now, for a drill: as if a peer had asked for it.
    EndOwn {
        /// Why, for the log.
        reason: String,
    },
}

/// What libvirt's hook asks of a domain (ARCHITECTURE 5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookQuestion {
    /// Which domain.
    pub domain: DomainId,
    /// True when its operator exempted it, by the configuration or in its metadata.
    pub exempt: bool,
    /// What libvirt is about to do, or has done.
    pub operation: HookOperation,
}

/// What libvirt tells its hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HookOperation {
    /// `prepare begin`: it is about to be started. What its definition says of it; not running, with the storages of its disks.
    Prepare(Box<DomainReport>),
    /// `start begin`: QEMU is about to be run.
    Start,
    /// `started begin`: its CPUs run. Libvirt ends it if that is denied.
    Started,
    /// `migrate begin`: it is about to come in from another host. As for `Prepare`.
    Migrate(Box<DomainReport>),
    /// `restore begin`: the start that follows is from a saved image.
    Restore,
    /// `release end`: its run, or a start that came to nothing, is over.
    Release,
}

/// All that can happen to a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The lease path was opened. Sent once, before anything else but page and ticks.
    Opened(LeaseMedium),
    /// A storage request ended.
    Io(IoDone),
    /// The fencer's half of the page, as last read.
    Fencer(FencerHalf),
    /// Time has passed.
    Tick,
    /// All domains that libvirt knows here, running or not; sent after each change and at least every few seconds.
    Domains(Vec<DomainReport>),
    /// Libvirt does not answer: what it said before may be old.
    LibvirtAway(String),
    /// A domain stopped running.
    Stopped {
        /// Which.
        domain: DomainId,
        /// Why.
        reason: StopReason,
    },
    /// The answer to `Command::Barrier`: how long the slowest acknowledgement took, or why there is none.
    Barrier {
        /// For which domain.
        domain: DomainId,
        /// The command's own mark: it tells the answers of one domain's barriers apart.
        asked: Instant,
        /// Outcome.
        result: Result<Duration, String>,
    },
    /// The answer to `Command::Start`.
    StartEnded {
        /// Which domain.
        domain: DomainId,
        /// Under which term.
        term: crate::ids::Term,
        /// Seen running, or why not. On a failure libvirt has answered "shut off, no job".
        result: Result<(), StartFailure>,
    },
    /// Something is asked for.
    Request(RequestId, Request),
    /// Libvirt's hook asks; answered by [`Command::PermitStart`](super::Command::PermitStart) or
    /// [`Command::Reply`](super::Command::Reply).
    Hook(RequestId, HookQuestion),
    /// A start was not permitted by `Command::PermitStart`, whose token was new.
    StartRefused {
        /// Which domain.
        domain: DomainId,
        /// The command's own mark.
        opened: Instant,
    },
    /// The answer to `Command::AskActivity`.
    Activity {
        /// Which domain.
        domain: DomainId,
        /// The command's own mark.
        opened: Instant,
        /// What libvirt said.
        activity: StartActivity,
    },
    /// Domains whose CPUs run here, as libvirt says with each list: not those that are paused, as one is that waits for a
    /// migration.
    CpusRun(Vec<DomainId>),
    /// Libvirt's event that it has just let the CPUs of a domain run: one that has come in, or was paused.
    Resumed(DomainId),
    /// Something happened to a domain that migrates, or the answer to `Command::Migration`.
    Migration {
        /// Which domain.
        domain: DomainId,
        /// What.
        news: MigrationNews,
    },
    /// Whether libvirt can start domains here, and how much room is left.
    Capacity {
        /// Free memory in MiB.
        memory_mib: u32,
    },
}
