//! The transport under the lease file and the disks: NFS connections and iSCSI sessions.
//!
//! A link that is cut for some seconds stalls the storage for longer, since TCP sends again at growing intervals: a cut of
//! 26 s stalled an NFS mount for 34 to 37 s, and iSCSI's default settings made 26 s out of 5. That costs leases which the
//! timing would have let live. So an NFS connection that is stuck is made anew ([`Keeper`]); of an iSCSI session the settings
//! are judged ([`Transport::advice`]), which do the same there.
//!
//! No lease hangs on this: it ends by its own clock, whatever becomes of a connection. What leads to the storages of the
//! domains ([`NfsWay`], [`IscsiWay`]) is what the fencer shows them quiet by.

mod block;
mod iscsi;
mod keeper;
mod mounts;
mod nfs;
mod open_files;
mod owners;
mod path;
mod place;
mod reach;
mod rule;
mod sockets;
mod transport;
mod way;

pub use block::{Beneath, BlockDevice, place_in_sysfs};
pub use iscsi::IscsiSession;
pub use keeper::{Activity, Keeper};
pub use mounts::{HOST_MOUNTS, Mount, host_mounts, mount_of, mount_with_id, mounts, read_list, unescaped};
pub use nfs::NfsMount;
pub use open_files::{OpenFile, has_ended, open_for_writing};
pub use reach::Reach;
pub use sockets::{Sockets, TcpSocket, destroy, sockets_to};
pub use transport::Transport;
pub use way::{
    IscsiPath, IscsiWay, Locks, MappedDevice, Mapping, NfsWay, Obstacle, Sharer, nfs_is_known, scsi_device_of,
};
