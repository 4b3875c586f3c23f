//! Several virtualisation hosts on one machine, for the demo and for the integration tests.
//!
//! A [`Cluster`] is a few [`Host`]s and the storage they share. Each host is a set of namespaces with its own libvirtd,
//! fencer and agent; a real QEMU guest (see `guest/`) writes to a shared disk, which a [`checker`] judges.

pub mod binaries;
pub mod cgroups;
pub mod check_disk;
pub mod checker;
mod cluster;
pub mod command;
pub mod deps;
pub mod direct;
pub mod disk;
pub mod disk_watch;
pub mod domain;
mod follow;
pub mod guest;
mod host;
pub mod init;
pub mod layout;
pub mod lease_file;
mod libvirt;
pub mod process;
pub mod record;
pub mod rom;
pub mod run_dir;
pub mod scenario;
pub mod spec;
pub mod story;
pub mod svg;
pub mod verdict;
pub mod wait;
pub mod witness;

pub use binaries::Binaries;
pub use cluster::{Cluster, ClusterError, configure, default_config, lease_path};
pub use host::{AGENT, FENCER, Host, HostError, LIBVIRTD};
pub use run_dir::RunDir;
