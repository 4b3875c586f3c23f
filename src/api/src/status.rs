//! `leasefence status`: all that an agent knows, for people and for monitoring.

use serde::{Deserialize, Serialize};

use crate::verdict::HostState;

/// All that an agent knows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// [`crate::API_VERSION`].
    pub api_version: u32,
    /// The process that answers.
    pub agent: AgentInfo,
    /// The cluster and its lease file.
    pub cluster: ClusterInfo,
    /// This host's own lease.
    pub own: OwnLease,
    /// The hosts of the cluster by slot, this one included.
    pub hosts: Vec<Host>,
    /// The domains that libvirt knows on this host.
    pub domains: Vec<Domain>,
    /// Recoveries that are under way here, and those that ended lately.
    pub recoveries: Vec<Recovery>,
    /// Who is in maintenance.
    pub maintenance: Maintenance,
    /// Libvirt, as this agent sees it.
    pub hypervisor: HypervisorInfo,
    /// Libvirt's hook, which asks this agent before a domain starts.
    #[serde(default)]
    pub hook: HookInfo,
    /// What an operator should know or mend, each a whole sentence; empty when all is well.
    pub warnings: Vec<String>,
    /// The last decisions with their reasons, oldest first (at most 200).
    pub decisions: Vec<Decision>,
}

/// The agent's process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The host's name as it writes it in its record.
    pub host_name: String,
    /// When it started: wall time, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What it is doing in one line.
    pub summary: String,
    /// True when its configuration allows drills that end the lease.
    #[serde(default)]
    pub drill_allowed: bool,
}

/// The cluster and its lease file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// The cluster's name, as configured (and as the header says, once it was read).
    pub name: String,
    /// The path of the lease file or block device.
    pub lease_path: String,
    /// Places for hosts; absent until the header was read.
    pub max_hosts: Option<u16>,
    /// Watchdog classes below hardware that the cluster accepts: `soft`, `virtual`, `none`.
    pub accepts: Vec<String>,
    /// True in a test cluster, where verdicts rest on the operator's word that it is one.
    pub test: bool,
    /// True when the storage thread has the lease file open.
    pub open: bool,
    /// Why it has not, in words.
    pub error: Option<String>,
    /// Age of the last good scan of all hosts' records.
    pub last_scan_age_ms: Option<u64>,
}

/// Durations that a host promises to keep (see ARCHITECTURE.md, timing).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Terms {
    /// From before the last good renewal to the lease's end.
    pub lease_ttl_ms: u64,
    /// From the lease's end until killed and quiesced, or reset.
    pub fence_budget_ms: u64,
    /// The longest that storage holds a write it has received.
    pub write_drain_ms: u64,
    /// Between renewals.
    pub renewal_interval_ms: u64,
    /// Between scans.
    pub scan_interval_ms: u64,
    /// Bound on each oscillator's drift, in parts per million.
    pub clock_drift_ppm: u16,
    /// What the watchdog's driver returned, plus the step in which it counts; 0 without one.
    #[serde(default)]
    pub watchdog_actual_ms: u64,
    /// From the last change of the record to the verdict, by the observer's clock.
    pub verdict_after_ms: u64,
}

/// The lease of the host that answers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OwnLease {
    /// Its slot; absent before it has one.
    pub slot: Option<u16>,
    /// Its generation; absent before it has one.
    pub generation: Option<u32>,
    /// What its record says: `starting`, `joining`, `held`, `fencing`, `fenced`, `released`, `disarmed`.
    pub state: String,
    /// Time until the lease's end by the faster clock; zero once it has passed, absent without a lease.
    pub lease_left_ms: Option<u64>,
    /// Age of the last renewal that was acknowledged and read back, counted from before its write.
    pub last_renewal_age_ms: Option<u64>,
    /// How long the last renewal took, with its read-back.
    pub renewal_latency_ms: Option<u64>,
    /// Writes whose outcome is unknown.
    pub unknown_writes: u32,
    /// The class of this host's watchdog: `none`, `soft`, `virtual`, `hardware`.
    pub watchdog: String,
    /// The terms in force.
    pub terms: Terms,
    /// The fencer beside this agent.
    pub fencer: FencerInfo,
}

/// The fencer, as its half of the page shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FencerInfo {
    /// True when agent and fencer share a page.
    pub connected: bool,
    /// How long ago it last went round its loop.
    pub beat_age_ms: Option<u64>,
    /// True while it will kill at the lease's end.
    pub armed: bool,
    /// True when an end has passed (or was cut short) and is not taken back.
    pub latched: bool,
    /// True when it has proven, since that end, that no domain process is left and the storage is quiet.
    pub clean: bool,
    /// True when it cannot prove it.
    pub unproven: bool,
    /// How long ago that end was; absent unless latched.
    #[serde(default)]
    pub latched_end_age_ms: Option<u64>,
    /// How long ago it had proven it; absent unless clean.
    #[serde(default)]
    pub clean_age_ms: Option<u64>,
    /// Domain processes that its last look at this host showed.
    pub processes: u32,
    /// The watchdog that it pets.
    #[serde(default)]
    pub watchdog: WatchdogInfo,
    /// Whether this host resets itself.
    #[serde(default)]
    pub reset: ResetInfo,
    /// What it did at the last end of a lease since this host booted.
    #[serde(default)]
    pub last_fence: Option<FenceInfo>,
}

/// What a fencer did at the end of a lease, rung by rung. Times are milliseconds after the end; absent where that was not reached.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FenceInfo {
    /// The generation whose lease ended.
    pub generation: u32,
    /// Domain processes that were sent SIGKILL.
    pub signalled: u32,
    /// Those that could not be, at the last try.
    pub not_signalled: u32,
    /// When the last of them was.
    pub signalled_ms: Option<u32>,
    /// Cgroups that were killed whole beside that.
    pub cgroups: u32,
    /// Cgroups that were left alone, since somebody else is in them or they could not be killed.
    pub cgroups_left: u32,
    /// Exits that were seen.
    pub exits: u32,
    /// Processes whose exit was not seen.
    pub left: u32,
    /// When the last exit was seen.
    pub exits_ms: Option<u32>,
    /// Storages on NFS and iSCSI.
    pub storages: u16,
    /// Those that were shown quiet.
    pub quiet: u16,
    /// When the host tried to reset itself.
    pub reset_ms: Option<u32>,
}

/// The reset of a host by itself, where it cannot show itself fenced.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ResetInfo {
    /// True when the configuration asks for it.
    pub wanted: bool,
    /// True while the fencer holds its trigger open, and will pull it.
    pub on: bool,
    /// What people should know of it: why there is none, or what kept it from working.
    pub note: Option<String>,
}

/// The device that resets the host when its fencer cannot end its domains.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WatchdogInfo {
    /// What it proves to peers: `none`, `soft`, `virtual`, `hardware`.
    pub class: String,
    /// Its path; absent when none is open.
    pub device: Option<String>,
    /// Its driver's name for itself.
    pub identity: Option<String>,
    /// What its driver says that it is set to.
    pub timeout_ms: Option<u64>,
    /// True when it cannot be stopped once it was opened.
    pub nowayout: bool,
    /// How long ago it was last petted.
    pub last_pet_age_ms: Option<u64>,
    /// What people should know of it: why there is none, or why it counts for less.
    pub note: Option<String>,
}

/// A host, as this one sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Its name, as in its record.
    pub name: String,
    /// Its slot.
    pub slot: u16,
    /// The generation in its record.
    pub generation: u32,
    /// True for the host that answers.
    pub own: bool,
    /// What is said of it.
    pub state: HostState,
    /// Why it is gone, with state `gone`.
    pub evidence: Option<String>,
    /// When it could first be said: wall time, milliseconds since 1970; with state `gone`.
    pub since_unix_ms: Option<u64>,
    /// A sentence that says why.
    pub reason: String,
    /// Lease left at the latest, by this host's clock; absent where it means nothing.
    pub lease_left_ms: Option<u64>,
    /// Time until a verdict if nothing changes; absent when none can come by waiting.
    pub verdict_left_ms: Option<u64>,
    /// How long ago its record was last seen to change.
    pub last_renewal_age_ms: Option<u64>,
    /// The class of its watchdog: `none`, `soft`, `virtual`, `hardware`.
    pub watchdog: String,
    /// Its terms; absent when its record cannot be read.
    pub terms: Option<Terms>,
    /// Domains with a lease of this host, as last seen; absent before the lease pages were read.
    pub domains_protected: Option<u32>,
    /// Those of them that are restarted elsewhere after its death.
    pub domains_ha: Option<u32>,
}

/// A domain that libvirt knows on this host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Domain {
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// True when libvirt says that it runs.
    pub running: bool,
    /// True when it is guarded: killed at the lease's end.
    pub protected: bool,
    /// True when it is restarted elsewhere after this host's death.
    pub ha: bool,
    /// Among HA domains, higher goes first.
    pub priority: u8,
    /// The state of its lease here: `own`, `orphan`, `stopped`, `incoming`, `saved`, `acquiring`, `none`, …
    pub lease: String,
    /// The term of it.
    pub term: Option<u32>,
    /// True when recovery leaves it alone until `leasefence ha resume`.
    pub hold: bool,
    /// The storages that carry what it writes, as they were when libvirt last listed it.
    #[serde(default)]
    pub storages: Vec<Storage>,
    /// Where it was declared exempt and that does not count, or nobody can tell whether it does: a sentence without its subject.
    #[serde(default)]
    pub exemption: Option<String>,
}

impl Domain {
    /// Its storages that a fence now would leave unproven: none of a domain that does not run, or is not protected.
    pub fn unproven_storages(&self) -> impl Iterator<Item = &Storage> {
        let counts = self.running && self.protected;
        self.storages.iter().filter(move |storage| counts && !storage.provable)
    }
}

/// A storage of a domain, and whether it can be shown quiet at a fence (see ARCHITECTURE.md, quiescence).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Storage {
    /// `nfs`, `iscsi`, `one-kernel`, `unprovable`.
    pub kind: String,
    /// Where it is: `server:/export`, a target and its portals, a device, or what libvirt calls it.
    pub place: String,
    /// True when it can. Then the fence of this host can end in a receipt.
    pub provable: bool,
    /// Why it cannot: a reason without a subject, `its mount names no TCP server address`.
    pub reason: Option<String>,
    /// What would make it so: a whole sentence.
    pub remedy: Option<String>,
}

/// A recovery of one domain by this host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// The domain's uuid.
    pub uuid: String,
    /// Its name, where this host knows it.
    pub name: Option<String>,
    /// Whose domain it was, as `slot.generation`.
    pub from: String,
    /// `waiting`, `acquiring`, `barrier`, `starting`, `running`, `left_to_peer`, `failed`, `held`.
    pub stage: String,
    /// A sentence that says why it is there.
    pub reason: String,
    /// When it came to this stage: wall time, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// Who is in maintenance.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Maintenance {
    /// True when the host that answers is disarmed: its domains are neither fenced nor restarted.
    pub disarmed: bool,
    /// Names of all hosts of the cluster that are disarmed.
    pub disarmed_hosts: Vec<String>,
    /// The line to show, when there is anything to show.
    pub text: Option<String>,
}

/// Libvirt, as this agent sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HypervisorInfo {
    /// Where it is asked.
    pub uri: String,
    /// True when it answered the last question in time.
    pub connected: bool,
    /// Why not, in words.
    pub error: Option<String>,
}

/// Libvirt's hook, as this agent sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HookInfo {
    /// True when it stands among libvirt's hooks.
    pub placed: bool,
    /// The question that was answered last; absent when none was since this agent began.
    pub last: Option<HookAnswer>,
    /// A domain that libvirt has started without asking it since: then libvirt does not know of the hook.
    pub unasked: Option<String>,
}

/// What libvirt's hook was answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HookAnswer {
    /// Wall time, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The domain's name.
    pub domain: String,
    /// True when it was allowed.
    pub allowed: bool,
}

/// A decision and its reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Wall time, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// A stable word for the kind of event (`lease-end`, `verdict`, `recovery`, …).
    pub event: String,
    /// The sentence.
    pub text: String,
}
