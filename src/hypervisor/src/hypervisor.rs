//! The trait behind which libvirt lies.

use leasefence_core::ids::DomainId;
use leasefence_core::member::Protection;

use crate::{Activity, Domain, HypervisorError, StartError};

/// A hypervisor's domains. Every call blocks, up to its deadline, and none longer: call from a thread of one's own.
/// A hypervisor that does not answer gives [`HypervisorError::Away`] and never hangs the caller.
///
/// Changes come through the channel of [`crate::HypervisorEvent`] that is made together with the implementation.
pub trait Hypervisor: Send + Sync {
    /// All domains that the hypervisor knows on this host, running or not.
    ///
    /// # Errors
    /// [`HypervisorError::Away`], or [`HypervisorError::Refused`]. A domain that vanishes meanwhile is left out; one
    /// whose description cannot be read is listed with what is known of it and a warning.
    fn domains(&self) -> Result<Vec<Domain>, HypervisorError>;

    /// One domain.
    ///
    /// # Errors
    /// As [`Hypervisor::domains`], and [`HypervisorError::NoSuchDomain`].
    fn domain(&self, domain: DomainId) -> Result<Domain, HypervisorError>;

    /// The domain's XML as it runs now, secrets included, as libvirt writes it.
    ///
    /// # Errors
    /// As [`Hypervisor::domain`].
    fn live_xml(&self, domain: DomainId) -> Result<String, HypervisorError>;

    /// The domain's XML as its next start would take it, secrets included.
    ///
    /// # Errors
    /// As [`Hypervisor::domain`].
    fn inactive_xml(&self, domain: DomainId) -> Result<String, HypervisorError>;

    /// The definition to store for a start elsewhere: the live XML with its live disk chains, without what is this
    /// host's own (see [`crate::Definition`]).
    ///
    /// # Errors
    /// As [`Hypervisor::domain`], and [`HypervisorError::Malformed`].
    fn definition(&self, domain: DomainId) -> Result<crate::Definition, HypervisorError>;

    /// Defines the domain by `xml`, whose uuid must be `domain`, and starts it; returns once it was seen running.
    /// A configuration of the same name and uuid that is there already is replaced.
    ///
    /// # Errors
    /// [`StartError::Failed`] only when libvirt said "shut off, no job" after the failure, else
    /// [`StartError::Unknown`].
    fn start(&self, domain: DomainId, xml: &str) -> Result<(), StartError>;

    /// Starts a domain that is shut off and starts by itself (libvirt's autostart), as libvirt does it at boot. False when it
    /// runs, does not start by itself, or is not known any more.
    ///
    /// # Errors
    /// As [`Hypervisor::domains`]. A refused start is told as one; one of unknown outcome as [`HypervisorError::Away`].
    fn autostart(&self, domain: DomainId) -> Result<bool, HypervisorError>;

    /// Ends the domain at once, like a power cut. A domain that is off already is no error.
    ///
    /// # Errors
    /// As [`Hypervisor::domain`]. Libvirt may take 40 s over a stuck QEMU.
    fn destroy(&self, domain: DomainId) -> Result<(), HypervisorError>;

    /// Whether the domain runs; of one that is shut off, whether a job (a start) is under way, which may take libvirt
    /// half a minute to answer.
    ///
    /// # Errors
    /// As [`Hypervisor::domain`]: an unknown domain has neither a process nor a job.
    fn activity(&self, domain: DomainId) -> Result<Activity, HypervisorError>;

    /// Whether a migration of the domain to another host is under way, from before its destination is asked to take it. Another job,
    /// such as a backup, is none; one of which libvirt does not say what it is counts as one.
    ///
    /// # Errors
    /// As [`Hypervisor::domain`].
    fn migrates_away(&self, domain: DomainId) -> Result<bool, HypervisorError>;

    /// Writes how the domain is guarded into its metadata, of its run and of its configuration.
    ///
    /// # Errors
    /// As [`Hypervisor::domain`].
    fn set_protection(&self, domain: DomainId, protection: Protection) -> Result<(), HypervisorError>;

    /// Memory that new domains can have, in MiB.
    ///
    /// # Errors
    /// As [`Hypervisor::domains`].
    fn free_memory_mib(&self) -> Result<u32, HypervisorError>;
}
