//! Why a storage of a domain cannot be shown quiet at a fence, and what would make it so.

use leasefence_transport::Obstacle;

/// What keeps a storage from being shown quiet (ARCHITECTURE 6). Its text is a reason: "it is …".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoProof {
    /// Something stands in the way that leads to it.
    #[error(transparent)]
    Way(#[from] Obstacle),
    /// Nothing leads to it any more.
    #[error("this host does not have it any more")]
    Gone,
    /// A lock that is asked of a server which does not answer is waited for: measured, docs/STORAGE.md.
    #[error("over a dead path a dying QEMU waits for its lock of NFS 3")]
    LocksOfNfs3,
    /// A device of no iSCSI session, or a file system on one.
    #[error("it is local to this host, or lies on a device of a kind that is not known (Fibre Channel, RBD)")]
    Local,
    /// A file system of this type.
    #[error("its file system, {0}, is none that can be shown quiet")]
    FileSystem(String),
    /// A device whose layers end in sessions and in something else.
    #[error("its device lies partly on iSCSI sessions and partly on something else")]
    Mixed,
    /// The question where a path leads is still open.
    #[error("it does not answer the question of what it is")]
    NoAnswer,
    /// What a path leads to cannot be found: what the kernel says.
    #[error("it cannot be found: {0}")]
    NotFound(String),
    /// A device that is put together of others, and has none.
    #[error("its mapped device has no disks")]
    Hollow,
    /// QEMU speaks this protocol itself.
    #[error("QEMU reaches it by itself over the network ({0}), past this host's kernel")]
    Network(String),
    /// A volume of a pool.
    #[error("libvirt names a volume of a pool, and not where it lies")]
    Volume,
    /// A device that was passed through, a domain whose XML cannot be read.
    #[error("it is of a kind for which there is no proof")]
    Other,
}

impl NoProof {
    /// What an operator can do about it: a whole sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Way(obstacle) => obstacle.remedy(),
            Self::Gone => "Mount it, or log in to its target, again.",
            Self::LocksOfNfs3 => "Mount it with vers=4.2, or with nolock.",
            Self::Local | Self::FileSystem(_) | Self::Mixed | Self::Other => {
                "Move what the domain writes to NFS 4.2 or to a disk of an iSCSI session."
            }
            Self::NoAnswer => "Mend the path to it; it is asked again.",
            Self::NotFound(_) => "Mend the path in the domain's definition, or mount what it leads to.",
            Self::Hollow => "Bring the disks of its mapped device back (log in to their targets).",
            Self::Network(_) => {
                "Let the host's kernel reach it (NFS 4.2, or a disk of an iSCSI session), and give the domain the path."
            }
            Self::Volume => "Give the domain the volume's path instead of pool and name.",
        }
    }
}
