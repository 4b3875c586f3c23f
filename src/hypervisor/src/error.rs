//! Why a question to the hypervisor has no answer.

use leasefence_core::ids::DomainId;
use leasefence_core::member::StartFailure;

/// Why a call to the hypervisor did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HypervisorError {
    /// Libvirt is absent, hung, or did not answer within the call's deadline. Whether the call took effect is
    /// unknown; what was known before may be old.
    #[error("libvirt does not answer: {0}")]
    Away(String),
    /// Libvirt answered that it has no such domain.
    #[error("libvirt has no domain {0} on this host")]
    NoSuchDomain(DomainId),
    /// Libvirt answered, and refused.
    #[error("{doing}: libvirt says: {message}")]
    Refused {
        /// What was being done.
        doing: String,
        /// In libvirt's words.
        message: String,
    },
    /// Libvirt answered with something that cannot be understood.
    #[error("{doing}: cannot read libvirt's answer: {message}")]
    Malformed {
        /// What was being done.
        doing: String,
        /// What is wrong with the answer.
        message: String,
    },
}

/// Why a domain was not started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartError {
    /// The start failed, and libvirt answered afterwards that the domain is shut off with no job: nothing can come up
    /// of this attempt any more, so its start token may be closed once the fencer's scan shows no process.
    #[error("the domain did not start: {0:?}")]
    Failed(StartFailure),
    /// The start may have happened, or may still happen: libvirt went away, or did not say "shut off, no job".
    /// Ask [`crate::Hypervisor::activity`] until it answers; the start token stays open until then.
    #[error("whether the domain started is unknown: {0}")]
    Unknown(String),
}
