//! A domain as libvirt describes it.

use leasefence_core::fencing::QuiesceTarget;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{DomainReport, Protection, StopReason};

use crate::Disk;
use crate::chain::chain_hash;
use crate::domain_xml::{DomainXml, XmlError};

/// Why a domain does not run any more, in libvirt's terms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StopDetail {
    /// The guest shut itself down, or was asked to.
    Shutdown,
    /// A user ended it (`virsh destroy`).
    Destroyed,
    /// QEMU or the guest crashed.
    Crashed,
    /// Migrated to another host, where it may run.
    Migrated,
    /// Saved to a file.
    Saved,
    /// It failed to start, or QEMU's monitor broke.
    Failed,
    /// Reverted to a snapshot that was taken while it was off.
    FromSnapshot,
    /// Libvirt ended it while taking up its domains again after a restart of the daemon.
    Daemon,
    /// Libvirt does not say.
    Unknown,
}

impl StopDetail {
    /// The protocol's word. Neither a migrated domain nor a saved one is ever started from its definition because of this end: it
    /// may run elsewhere, or its image holds newer memory than its disk.
    #[must_use]
    pub fn reason(self) -> StopReason {
        match self {
            Self::Shutdown => StopReason::Shutdown,
            Self::Migrated => StopReason::Migrated,
            Self::Saved => StopReason::Saved,
            Self::Destroyed | Self::FromSnapshot => StopReason::Destroyed,
            Self::Crashed | Self::Failed | Self::Daemon | Self::Unknown => StopReason::Crashed,
        }
    }

    /// The protocol's word on a host that may be stopping ([`crate::host_is_stopping`]): there a domain that was shut
    /// down or destroyed was ended by libvirt-guests, which looks like a user's stop and is none. One that was
    /// migrated or saved keeps its own word.
    #[must_use]
    pub fn reason_on(self, host_is_stopping: bool) -> StopReason {
        match self {
            Self::Shutdown | Self::Destroyed if host_is_stopping => StopReason::HostShutdown,
            other => other.reason(),
        }
    }

    /// The word for it in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Destroyed => "destroyed",
            Self::Crashed => "crashed",
            Self::Migrated => "migrated",
            Self::Saved => "saved",
            Self::Failed => "failed",
            Self::FromSnapshot => "reverted to a snapshot",
            Self::Daemon => "ended by libvirt",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a domain runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Activity {
    /// Its CPUs run, or are paused, or it is shutting down or crashed with its process still there: it counts as running.
    Running {
        /// True while its CPUs do not run.
        paused: bool,
    },
    /// Libvirt says "shut off". Without a look at its jobs a start may still be under way.
    Off {
        /// Why its last run ended, as far as libvirt knows.
        last: StopDetail,
    },
    /// Shut off, and libvirt granted a job on it, so that no other job (a start) is under way.
    OffNoJob {
        /// Why its last run ended, as far as libvirt knows.
        last: StopDetail,
    },
}

impl Activity {
    /// True when the domain counts as running.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Why the last run ended, for a domain that is off.
    #[must_use]
    pub fn last_stop(self) -> Option<StopDetail> {
        match self {
            Self::Running { .. } => None,
            Self::Off { last } | Self::OffNoJob { last } => Some(last),
        }
    }
}

/// A domain that libvirt knows on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    /// Its uuid.
    pub id: DomainId,
    /// Its name.
    pub name: String,
    /// Whether it runs; never [`Activity::OffNoJob`] in a listing.
    pub activity: Activity,
    /// True when its configuration outlives its run.
    pub persistent: bool,
    /// How it is guarded, from its metadata.
    pub protection: Protection,
    /// Virtual processors.
    pub vcpus: u16,
    /// Memory in MiB, rounded up.
    pub memory_mib: u32,
    /// Its disks with their live chains; of a domain that is off, the chains in its configuration.
    pub disks: Vec<Disk>,
    /// What is odd about it, for people.
    pub warnings: Vec<String>,
}

impl Domain {
    /// The domain that a definition describes, as libvirt gives it to its hook before a start: not running.
    ///
    /// # Errors
    /// [`XmlError`] when it is not a domain's XML.
    pub fn from_definition(xml: &str) -> Result<Self, XmlError> {
        let off = Activity::Off { last: StopDetail::Unknown };
        Ok(DomainXml::parse(xml)?.into_domain(off, false))
    }

    /// H64 of its disk chains, see [`crate::chain_hash`].
    #[must_use]
    pub fn chain_hash(&self) -> u64 {
        chain_hash(&self.disks)
    }

    /// What the member is told. `definition_version` is the version of the stored definition (0 for none), `storages`
    /// what [`crate::Storages`] says of the disks.
    #[must_use]
    pub fn report(&self, definition_version: u32, storages: Vec<QuiesceTarget>) -> DomainReport {
        DomainReport {
            domain: self.id,
            name: self.name.clone(),
            running: self.activity.is_running(),
            protection: self.protection,
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            definition_hash: self.chain_hash(),
            definition_version,
            storages,
            unanswered: false,
            doubtful: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the agent's decision rests on: "crashed" is restarted, "shutdown" never.
    #[test]
    fn only_an_end_that_nobody_asked_for_leads_to_a_restart() {
        let table = [
            (StopDetail::Shutdown, StopReason::Shutdown, StopReason::HostShutdown),
            (StopDetail::Destroyed, StopReason::Destroyed, StopReason::HostShutdown),
            (StopDetail::Crashed, StopReason::Crashed, StopReason::Crashed),
            // It may run on the other host.
            (StopDetail::Migrated, StopReason::Migrated, StopReason::Migrated),
            // Its image holds newer memory than its disk.
            (StopDetail::Saved, StopReason::Saved, StopReason::Saved),
            (StopDetail::Failed, StopReason::Crashed, StopReason::Crashed),
            (StopDetail::FromSnapshot, StopReason::Destroyed, StopReason::Destroyed),
            (StopDetail::Daemon, StopReason::Crashed, StopReason::Crashed),
            (StopDetail::Unknown, StopReason::Crashed, StopReason::Crashed),
        ];
        for (detail, reason, while_the_host_stops) in table {
            assert_eq!(detail.reason(), reason, "{detail:?}");
            assert_eq!(detail.reason_on(false), reason, "{detail:?}");
            assert_eq!(detail.reason_on(true), while_the_host_stops, "{detail:?}");
        }
    }
}
