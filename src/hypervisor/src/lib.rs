//! Libvirt behind a small trait: which domains run here, their live disk chains and definitions, starting and ending
//! them, and what changes.
//!
//! It owns the connection (keepalive, a deadline on every call, reconnection), the store of definitions beside the
//! lease file, the start barrier, and the question on which kind of storage a disk lies and whether that can be shown quiet. It never decides whether a
//! domain may start, and it never touches the lease file.

mod barrier;
mod chain;
mod definition;
mod definitions;
mod domain;
mod domain_xml;
mod error;
mod event;
#[cfg(any(test, feature = "test-support"))]
mod fake;
mod guard;
mod host_stopping;
mod hypervisor;
mod libvirt;
mod medium;
mod no_proof;
mod storages;
mod stored;
mod ways;

pub use barrier::{BarrierError, barrier};
pub use chain::{ChainLink, Disk, DiskSource, chain_hash};
pub use definition::Definition;
pub use definitions::{Definitions, DefinitionsError, Loaded};
pub use domain::{Activity, Domain, StopDetail};
pub use domain_xml::XmlError;
pub use error::{HypervisorError, StartError};
pub use event::HypervisorEvent;
#[cfg(any(test, feature = "test-support"))]
pub use fake::FakeHypervisor;
pub use guard::GUARD_NAMESPACE;
pub use host_stopping::host_is_stopping;
pub use hypervisor::Hypervisor;
pub use libvirt::{Libvirt, LibvirtConfig};
pub use no_proof::NoProof;
pub use storages::{Storage, Storages};
pub use stored::StoredDefinition;
