//! What the machine must have. The one table of packages is `packaging/needs`; this runs it, and adds what no package
//! brings: root, and a kernel with time namespaces.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;

/// Why hosts cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum MissingError {
    /// Namespaces, control groups and mounts are for root.
    #[error("this makes namespaces, control groups and mounts of its own: run it as root")]
    Root,
    /// An old kernel.
    #[error("this kernel has no time namespaces: it needs Linux 5.6 or later with CONFIG_TIME_NS")]
    TimeNamespaces,
    /// Programs. `packaging/needs` has printed which, and how to get them.
    #[error("programs are missing; install them as printed above, or set LEASEFENCE_INSTALL=yes")]
    Programs,
}

/// Checks for everything.
///
/// # Errors
/// With the first thing that is missing.
pub fn check() -> Result<(), MissingError> {
    if !Uid::effective().is_root() {
        return Err(MissingError::Root);
    }
    if !Path::new("/proc/self/ns/time").exists() {
        return Err(MissingError::TimeNamespaces);
    }
    let needs: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../packaging/needs"].iter().collect();
    match Command::new(needs).arg("test").status() {
        Ok(status) if !status.success() => Err(MissingError::Programs),
        // A binary that was moved away from the sources finds out by the first command that fails.
        Ok(_) | Err(_) => Ok(()),
    }
}
