//! Why a storage cannot be shown quiet, and what would make it so.

use std::path::{Path, PathBuf};

/// What keeps a storage from being shown quiet. Its text is a reason without a subject: "its mount names no …".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Obstacle {
    /// A file of the kernel's cannot be read: its path, and what the kernel says.
    #[error("{0}")]
    Unreadable(String),
    /// The device number is not that of an NFS file system.
    #[error("something else has its device number now")]
    NumberReused,
    /// Mounted over UDP or RDMA, or without an address.
    #[error("its mount names no TCP server address")]
    NoTcpServer,
    /// Its connections are out of sight.
    #[error("it was mounted in another network namespace")]
    OtherNamespace,
    /// `max_connect`, `trunkdiscovery`: sessions over several addresses of a server, of which the mount names one.
    #[error("its calls may go to other addresses of its server as well (trunking)")]
    Trunked,
    /// Data servers of pNFS.
    #[error("its server lets writes go to other servers (pNFS), of which nothing is known")]
    ParallelNfs,
    /// A device of another kind, RAID among them, or a mapped one of which one lies beneath.
    #[error("it is not a device of an iSCSI session")]
    NotOfSession,
    /// A mapped device that is not known to pass each request on, and to keep none: the kernel's name.
    #[error("device mapper does more in {0} than pass requests on, or nobody says what")]
    OtherMapping(String),
    /// A file system on a mapped device: where.
    #[error("a file system on a mapped device is mounted at {}", .0.display())]
    MappedFileSystem(PathBuf),
    /// This host's own system lies on it: a fence would take it away from under everything that runs here.
    #[error("this host's own system lies on it ({})", .0.display())]
    OwnSystem(PathBuf),
    /// This host swaps to it: what runs here would lose its memory. The device or file.
    #[error("this host swaps to it ({})", .0.display())]
    OwnSwap(PathBuf),
    /// An adapter's session, or one over RDMA (iSER).
    #[error("its session is not the kernel's own over TCP")]
    ForeignDriver,
    /// The session's connection in sysfs has no address that can be read.
    #[error("{} names no portal", .0.display())]
    NoPortal(PathBuf),
}

impl Obstacle {
    /// What an operator can do about it: a whole sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "Let agent and fencer run as root and see the host's own /proc and /sys.",
            Self::NumberReused => "It passes within a minute; if not, start its domains again.",
            Self::NoTcpServer => "Mount it with proto=tcp.",
            Self::OtherNamespace => "Mount it in the host's own network namespace.",
            Self::Trunked => "Mount it without max_connect and trunkdiscovery; nconnect does no harm.",
            Self::ParallelNfs => "Turn pNFS off for this export at its server, and mount it anew.",
            Self::NotOfSession => "Give the domain a disk that lies on iSCSI sessions alone, without RAID.",
            Self::OtherMapping(_) => {
                "Use multipath, its partitions, and linear or striped volumes of LVM; no thin volumes, snapshots, caches or encryption on the host."
            }
            Self::MappedFileSystem(_) => {
                "Give the domains volumes of their own, or put the file system on a session's own disk."
            }
            Self::OwnSystem(_) => "Give the domains storage of their own: another export, another LUN.",
            Self::OwnSwap(_) => {
                "Let this host swap to another disk, or give the domains storage of their own."
            }
            Self::ForeignDriver => {
                "Log in through the kernel's own initiator over TCP: iface.transport_name = tcp."
            }
            Self::NoPortal(_) => "Discover the target by its IP address, and log in anew.",
        }
    }

    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::Unreadable(format!("{}: {error}", path.display()))
    }
}
