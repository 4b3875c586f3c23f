//! What can go wrong before there is a storage thread, each with what the operator can do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

/// Why the lease file or device cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing at the path: most often the storage is not mounted.
    #[error(
        "no lease file at {path}: is the storage mounted? Otherwise `leasefence init {path} --cluster NAME` makes one",
        path = .0.display())]
    NotFound(PathBuf),
    /// A directory.
    #[error("{path} is a directory: `lease` must name the lease file in it, or a block device",
        path = .0.display())]
    Directory(PathBuf),
    /// Neither a regular file nor a block device.
    #[error("{path} is a {one}: `lease` must name a regular file on shared storage, or a block device",
        path = .0.display(), one = .1)]
    Kind(PathBuf, &'static str),
    /// Not allowed.
    #[error("opening {path} was refused ({one}): the agent must run as root, and an NFS export needs no_root_squash \
             or a lease file that belongs to its anonymous user",
        path = .0.display(), one = .1)]
    Permission(PathBuf, String),
    /// On a read-only file system or device.
    #[error("{path} is read-only: mount its file system (or attach its device) for writing",
        path = .0.display())]
    ReadOnly(PathBuf),
    /// The file system has no `O_DIRECT`.
    #[error("{path} lies on a file system without direct I/O ({one}): reads there may come from this host's cache and \
             never show what another host wrote. Put it on NFS, or on a block device that the hosts share",
        path = .0.display(), one = .1)]
    NoDirectIo(PathBuf, String),
    /// No answer in time: the storage hangs. The thread that tried is left behind.
    #[error("opening {path} got no answer within {one:?}: the storage hangs; look at the mount or device",
        path = .0.display(), one = .1)]
    Stuck(PathBuf, Duration),
    /// Any other failure of a call.
    #[error("{one} of {path} failed: {two}",
        path = .0.display(), one = .1, two = .2)]
    Call(PathBuf, &'static str, String),
    /// The thread could not be made.
    #[error("starting the storage thread failed: {0}")]
    Thread(String),
}

impl OpenError {
    /// Names what an errno of `call` on `path` means.
    pub(crate) fn from_errno(path: &Path, call: &'static str, errno: Errno) -> Self {
        let path = path.to_path_buf();
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => Self::NotFound(path),
            Errno::EISDIR => Self::Directory(path),
            Errno::EACCES | Errno::EPERM => Self::Permission(path, errno.desc().to_owned()),
            Errno::EROFS => Self::ReadOnly(path),
            Errno::EINVAL => Self::NoDirectIo(path, "open with O_DIRECT says EINVAL".to_owned()),
            _ => Self::Call(path, call, errno.desc().to_owned()),
        }
    }
}

/// Why this machine's identity cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process holds the lock: a second agent.
    #[error("{path} is locked{one}: another leasefence-agent runs here with this identity. It goes on; this one ends. \
             Stop it first, or give this one its own state_dir",
        path = .0.display(), one = .1)]
    Locked(PathBuf, String),
    /// The machine is not the one that made the identity.
    #[error("cloned image: {} was made on a machine with another {what} ({stored} there, {found} here). Two machines \
             must never share an identity. If this machine is the copy, or its {what} was changed on purpose and no \
             other machine has the old one, remove the file: the agent then claims a slot of its own, and the old slot \
             is freed with `leasefence slot free`", .path.display())]
    Cloned {
        /// The identity file.
        path: PathBuf,
        /// `machine-id` or `DMI uuid`.
        what: &'static str,
        /// What the file says.
        stored: String,
        /// What the machine says.
        found: String,
    },
    /// The file does not read as an identity.
    #[error("reading {path}: {one}. Restore it from a backup; without it this machine needs a new slot (remove the file, \
             and free the old slot with `leasefence slot free`)",
        path = .0.display(), one = .1)]
    Damaged(PathBuf, String),
    /// The machine has no usable machine-id.
    #[error("reading {path}: {one}. `systemd-machine-id-setup` makes one",
        path = .0.display(), one = .1)]
    MachineId(PathBuf, String),
    /// Any other failure of a call.
    #[error("{one} {path} failed: {two}",
        path = .0.display(), one = .1, two = .2)]
    Call(PathBuf, &'static str, String),
}
