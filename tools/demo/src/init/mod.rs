//! PID 1 of a host: makes the machine's file system look like that of a machine of its own, starts the host's services,
//! reaps what dies. Its end, by whatever signal, is a power cut: the kernel kills all that is left in the namespace.
//!
//! [`enter`] runs outside, in the last process before the namespaces; [`run`] is what it becomes inside them.

mod devices;
mod mounts;
mod supervisor;

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub use mounts::MountError;
use supervisor::Supervisor;

use crate::cgroups;
use crate::spec::HostSpec;

/// Why a host could not boot.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The file that describes the host.
    #[error("cannot read the host's description {0}: {1}")]
    Spec(String, #[source] io::Error),
    /// Control groups.
    #[error("cannot make the control group {0} (it needs root, and a writable /sys/fs/cgroup): {1}")]
    Cgroup(String, #[source] io::Error),
    /// The namespaces.
    #[error("cannot run unshare(1) of util-linux 2.36 or later: {0}")]
    Unshare(#[source] io::Error),
    /// The file system.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The services.
    #[error("cannot look after the host's services: {0}")]
    Supervise(#[source] io::Error),
}

/// Joins the host's control groups and becomes `unshare`, whose child is the host's PID 1: [`run`].
///
/// # Errors
/// Always, since success does not return.
pub fn enter(spec_path: &Path) -> Result<(), InitError> {
    let spec = read_spec(spec_path)?;
    cgroups::enter(&spec.cgroup).map_err(|error| InitError::Cgroup(spec.cgroup.clone(), error))?;
    let myself = std::env::current_exe().map_err(InitError::Unshare)?;
    let error = Command::new("unshare")
        .args(["--mount", "--pid", "--net", "--uts", "--cgroup", "--time", "--fork", "--kill-child"])
        .arg(format!("--monotonic={}", spec.monotonic_offset_s))
        .arg(format!("--boottime={}", spec.boottime_offset_s))
        .arg(myself)
        .arg("host-init")
        .arg(spec_path)
        .exec();
    Err(InitError::Unshare(error))
}

/// Boots the host and looks after it until its power cord is pulled: until standard input ends.
///
/// # Errors
/// When the host cannot boot.
pub fn run(spec_path: &Path) -> Result<(), InitError> {
    let spec = read_spec(spec_path)?;
    mounts::set_up(&spec)?;
    let supervisor = Supervisor::new(&spec).map_err(InitError::Supervise)?;
    spec.say_booted().map_err(InitError::Supervise)?;
    supervisor.run().map_err(InitError::Supervise)
}

fn read_spec(path: &Path) -> Result<HostSpec, InitError> {
    let read = || serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other);
    read().map_err(|error| InitError::Spec(path.display().to_string(), error))
}
