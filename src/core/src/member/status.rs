//! What a member can say of itself and of the others: plain values, made anew at each call. It decides nothing.

use std::time::Duration;

use crate::evidence::Verdict;
use crate::ids::{DomainId, Generation, Incarnation, Slot, Term};
use crate::terms::Terms;

/// All that a member knows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MemberStatus {
    /// What it is doing, in one line.
    pub summary: String,
    /// The lease file's header, once it was read.
    pub cluster: Option<ClusterStatus>,
    /// Age of the last good scan of all hosts' records.
    pub last_scan_age: Option<Duration>,
    /// The own lease.
    pub own: OwnStatus,
    /// All hosts by slot, this one included.
    pub hosts: Vec<HostStatus>,
    /// The domains that libvirt knows here, and those that only the fencer sees.
    pub domains: Vec<DomainStatus>,
    /// Recoveries under way here, and those that ended lately.
    pub recoveries: Vec<RecoveryStatus>,
    /// The line about maintenance, when there is anything to say.
    pub maintenance: Option<String>,
    /// What an operator should know or mend, each a whole sentence.
    pub warnings: Vec<String>,
}

/// The lease file, as its header says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Places for hosts.
    pub max_hosts: u16,
    /// Watchdog classes below hardware that it accepts: `soft`, `virtual`, `none`.
    pub accepts: Vec<&'static str>,
    /// True in a test cluster.
    pub test: bool,
}

/// The own lease.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnStatus {
    /// Slot and generation, once there is one.
    pub incarnation: Option<Incarnation>,
    /// `starting`, or the word in the own record: `joining`, `held`, `fencing`, `fenced`, `released`, `disarmed`.
    pub state: &'static str,
    /// Time until the lease's end by the faster clock; zero once passed, none without a lease.
    pub lease_left: Option<Duration>,
    /// Age of the last renewal that was acknowledged and read back, from before its write.
    pub last_renewal_age: Option<Duration>,
    /// How long the last renewal took, with its read-back.
    pub renewal_latency: Option<Duration>,
    /// Writes whose outcome is unknown.
    pub unknown_writes: usize,
    /// The watchdog's class: `none`, `soft`, `virtual`, `hardware`.
    pub watchdog: &'static str,
    /// The terms in force.
    pub terms: Terms,
    /// Damaged or overwritten copies of the own record that were written again.
    pub rewritten_copies: u64,
}

/// One host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostStatus {
    /// Its slot.
    pub slot: Slot,
    /// Generation in its record.
    pub generation: Generation,
    /// Its name.
    pub name: String,
    /// True for this host.
    pub own: bool,
    /// What is said of it.
    pub verdict: Verdict,
    /// A sentence that says why.
    pub reason: String,
    /// Lease left at the latest, by this host's clock; none where it means nothing.
    pub lease_left: Option<Duration>,
    /// Time until a verdict if nothing changes; none when none can come by waiting.
    pub verdict_left: Option<Duration>,
    /// How long ago its record was last seen to change.
    pub last_renewal_age: Option<Duration>,
    /// The watchdog's class: `none`, `soft`, `virtual`, `hardware`.
    pub watchdog: &'static str,
    /// Its terms, when its record can be read.
    pub terms: Option<Terms>,
    /// Domains with a lease of this host, as last seen; none before the lease pages were read.
    pub domains_protected: Option<u32>,
    /// Those of them that are restarted elsewhere after its death.
    pub domains_ha: Option<u32>,
}

/// A domain on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DomainStatus {
    /// Which.
    pub domain: DomainId,
    /// Its name; empty for one that libvirt has not described.
    pub name: String,
    /// True when libvirt or the fencer shows it running.
    pub running: bool,
    /// True when it is killed at the lease's end.
    pub protected: bool,
    /// True when it is restarted elsewhere after this host's death.
    pub ha: bool,
    /// Among HA domains, higher goes first.
    pub priority: u8,
    /// `own`, `orphan`, `stopped`, `incoming`, `saved`, `acquiring`, or `none`.
    pub lease: String,
    /// The lease's term.
    pub term: Option<Term>,
    /// True when recovery leaves it alone until `leasefence ha resume`.
    pub hold: bool,
}

/// A recovery of one domain by this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryStatus {
    /// Which domain.
    pub domain: DomainId,
    /// Whose it was.
    pub from: Incarnation,
    /// `waiting`, `acquiring`, `barrier`, `starting`, `running`, `left_to_peer`, `failed`, `held`.
    pub stage: &'static str,
    /// A sentence that says why it is there.
    pub reason: String,
    /// When it came to this stage: wall time in nanoseconds since 1970.
    pub since_wall_ns: u64,
}
