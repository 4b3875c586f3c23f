//! What a seed stands for: the cluster, its hosts and domains, and the faults in order. All of it is drawn before the
//! world begins, so that a fault or a host can be taken out of a plan without changing the others.

mod class;
mod directed;
mod draw;
mod fault;
mod faults;
mod maintenance;
mod moves;
mod scenes;
mod trusted;

use std::fmt::Write;

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::{Policy, WatchdogClass};
use leasefence_core::terms::Terms;

pub use class::Class;
pub use draw::Options;
pub use fault::{Damage, Direction, DomainIndex, Fault, FaultKind, HostIndex, Operator, Sector};
pub use moves::{Move, MoveEnd};
pub(crate) use trusted::{LETS_GO_WITHIN, MAD};

use crate::time::S;

/// The lease file and its storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterPlan {
    /// Slots in the file.
    pub max_hosts: u16,
    /// Lease pages.
    pub pages: u8,
    /// Bytes of a unit: 512 on a block device, or 4096.
    pub unit: u32,
    /// What counts as proof.
    pub policy: Policy,
    /// The longest that the lease storage holds a write before applying it.
    pub hold: u64,
    /// Of each guests' storage the kind, and the longest that it holds a write.
    pub storages: Vec<(StorageKind, u64)>,
    /// An observer without a slot watches too.
    pub observer: bool,
    /// How much longer each further survivor waits before it recovers a domain.
    pub rank_delay: u64,
}

/// Whether a host resets itself where it cannot show itself fenced (`fence.reset`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// It is not to.
    Off,
    /// It is to, its record says so, and the trigger works.
    On,
    /// It is to, and the trigger cannot be opened: then no record says so.
    Refused,
}

/// A host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPlan {
    /// Which machine: hosts with the same number share an identity (a clone).
    pub machine: u8,
    /// False where the machine has no DMI uuid: then only its record tells it from a clone.
    pub has_machine_uuid: bool,
    /// True for a machine that is off until a fault switches it on.
    pub spare: bool,
    /// Where its clocks begin, in nanoseconds.
    pub boot_offset: u64,
    /// The drift of its oscillator in parts per million, within the bound.
    pub drift_ppm: i32,
    /// Its configuration.
    pub terms: Terms,
    /// What resets it.
    pub watchdog: WatchdogClass,
    /// Whether it resets itself.
    pub reset: Reset,
    /// From the moment that the watchdog's time is over, or the trigger is pulled, to the reset: at most the reset latency.
    pub reset_takes: u64,
    /// The largest latency of each way to the lease storage while all is well.
    pub latency: u64,
    /// Between two beats of its fencer while nothing happens.
    pub beat: u64,
    /// When it is switched on.
    pub boots_at: u64,
    /// From power on until agent and fencer run.
    pub boot_takes: u64,
    /// How long calls to a guests' storage take to end that its kernel is told to cut off.
    pub calls_end: u64,
    /// Killed guests that wait for a storage to which the way is cut stay until it is cut off.
    pub guests_stick: bool,
    /// Free memory in MiB.
    pub memory_mib: u32,
}

/// A domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainPlan {
    /// Where it runs first.
    pub host: HostIndex,
    /// Restarted elsewhere.
    pub ha: bool,
    /// Which storages carry its disks: one, or two.
    pub storages: [Option<usize>; 2],
    /// When a user starts it there.
    pub starts_at: u64,
}

/// All that a seed stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The classes that its faults were drawn from.
    pub classes: Vec<Class>,
    /// The cluster.
    pub cluster: ClusterPlan,
    /// Its hosts.
    pub hosts: Vec<HostPlan>,
    /// Its domains.
    pub domains: Vec<DomainPlan>,
    /// In the order of time.
    pub faults: Vec<Fault>,
    /// The numbers of those that do not strike.
    pub left_out: Vec<usize>,
    /// Hosts that stay off.
    pub off: Vec<HostIndex>,
    /// Domains that nobody starts.
    pub unstarted: Vec<DomainIndex>,
    /// Libvirt asks its hook about what users start; else they look first whether they may.
    pub hook: bool,
    /// When everything is mended.
    pub mended_at: u64,
    /// How long after that all must be well.
    pub heals_within: u64,
}

impl Plan {
    /// True when a violation is what this plan is to show: its faults break a stated assumption.
    #[must_use]
    pub fn breaks_assumptions(&self) -> bool {
        self.classes.iter().any(|class| class.breaks_assumptions())
    }

    /// True where something resets the host when it cannot show itself fenced: a watchdog, or its fencer, where that does not
    /// die meanwhile.
    #[must_use]
    pub fn is_reset_at_last(&self, host: HostIndex) -> bool {
        let this = &self.hosts[host];
        let fencer_lives = !self.classes.contains(&Class::Crashes);
        this.watchdog != WatchdogClass::None || this.reset == Reset::On && fencer_lives
    }

    /// True for a scene: it is over before all could be well again.
    #[must_use]
    pub fn is_scene(&self) -> bool {
        self.classes.iter().any(|class| class.is_scene())
    }

    /// When the world ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.mended_at + self.heals_within
    }

    /// The plan in words: the hosts, then the faults, each with its number for the replay.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!(
            "seed {}: {} hosts, {} domains, {} faults of {:?}, mended at {} s\n",
            self.seed,
            self.hosts.len(),
            self.domains.len(),
            self.kept().count(),
            self.classes,
            self.mended_at / S
        );
        for (index, host) in self.hosts.iter().enumerate() {
            let ttl = host.terms.lease_ttl.as_secs_f64();
            let (class, drift) = (host.watchdog, host.drift_ppm);
            let reset =
                if host.reset == Reset::Off { String::new() } else { format!(", reset {:?}", host.reset) };
            let off = if self.off.contains(&index) { ", stays off" } else { "" };
            let spare = if host.spare { ", spare" } else { off };
            let line = writeln!(
                text,
                "  host-{index}: ttl {ttl} s, watchdog {class:?}{reset}, drift {drift} ppm{spare}"
            );
            debug_assert!(line.is_ok());
        }
        for (number, fault) in self.kept() {
            let line = writeln!(text, "  #{number} {fault}");
            debug_assert!(line.is_ok());
        }
        text
    }

    /// True for a host that is off until a fault switches it on, or for ever.
    #[must_use]
    pub fn begins_off(&self, host: HostIndex) -> bool {
        self.hosts[host].spare || self.off.contains(&host)
    }

    /// The faults that strike, with their numbers.
    pub fn kept(&self) -> impl Iterator<Item = (usize, &Fault)> {
        self.faults.iter().enumerate().filter(|(number, _)| !self.left_out.contains(number))
    }

    /// The plan with these faults alone, by their numbers, which stay the same.
    #[must_use]
    pub fn with_faults(&self, numbers: &[usize]) -> Self {
        let left_out = (0..self.faults.len()).filter(|number| !numbers.contains(number)).collect();
        Self { left_out, ..self.clone() }
    }

    /// The plan with these hosts off from beginning to end.
    #[must_use]
    pub fn without_hosts(&self, hosts: &[HostIndex]) -> Self {
        Self { off: hosts.to_vec(), ..self.clone() }
    }

    /// The plan with these domains never started by a user.
    #[must_use]
    pub fn without_domains(&self, domains: &[DomainIndex]) -> Self {
        Self { unstarted: domains.to_vec(), ..self.clone() }
    }
}
