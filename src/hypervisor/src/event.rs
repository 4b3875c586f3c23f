//! What the hypervisor tells unasked.

use leasefence_core::ids::DomainId;

use crate::StopDetail;

/// A change, as told by libvirt. Events are hints: after each of them, and every few seconds, the caller lists the
/// domains anew. Events that happen while libvirt is away are lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HypervisorEvent {
    /// A connection stands, and calls are answered. Sent first at the first connection, then after each
    /// [`HypervisorEvent::Away`]: list the domains, since events in between were lost.
    Back,
    /// Libvirt is absent, hung, or closed the connection: why. Sent once until the next [`HypervisorEvent::Back`],
    /// also when there is no libvirt at the start.
    Away(String),
    /// A domain began to run (started, restored, migrated in, resumed from a snapshot).
    Started(DomainId),
    /// A domain was paused: it counts as running all the same.
    Paused(DomainId),
    /// A domain's CPUs were stopped in order to migrate it away.
    SuspendedToMigrate(DomainId),
    /// A domain's CPUs run again, or have begun to run after a migration to this host.
    Resumed(DomainId),
    /// A domain does not run any more.
    Stopped {
        /// Which.
        domain: DomainId,
        /// Why, in libvirt's terms; [`StopDetail::reason`] makes the protocol's word of it.
        detail: StopDetail,
    },
    /// A domain's configuration was made or changed.
    Defined(DomainId),
    /// A domain's configuration was removed.
    Undefined(DomainId),
    /// Disks or other devices came or went, a block job changed state, or a removable medium was changed: the disk
    /// chain and so the stored definition may be another now.
    DefinitionChanged(DomainId),
    /// The domain's metadata changed, so maybe its protection.
    MetadataChanged(DomainId),
}

impl HypervisorEvent {
    /// The domain that the event is about, if it is about one.
    #[must_use]
    pub fn domain(&self) -> Option<DomainId> {
        match self {
            Self::Back | Self::Away(_) => None,
            Self::Started(domain)
            | Self::Paused(domain)
            | Self::SuspendedToMigrate(domain)
            | Self::Resumed(domain)
            | Self::Stopped { domain, .. }
            | Self::Defined(domain)
            | Self::Undefined(domain)
            | Self::DefinitionChanged(domain)
            | Self::MetadataChanged(domain) => Some(*domain),
        }
    }
}
