//! Several virtualisation hosts on one machine, for the demo and for the integration tests.
//!
//! A [`Cluster`] is a few [`Host`]s and the storage they share. Each host is a set of namespaces with its own libvirtd,
//! fencer and agent; a real QEMU guest (see `guest/`) writes to a shared disk, whose log a [`checker`] judges.

pub mod binaries;
pub mod cgroups;
pub mod checker;
pub mod command;
pub mod guest;
mod host;
pub mod init;
mod libvirt;
pub mod process;
pub mod record;
pub mod run_dir;
pub mod spec;
pub mod wait;

pub use binaries::Binaries;
pub use host::{AGENT, FENCER, Host, HostError, LIBVIRTD};
pub use run_dir::RunDir;
