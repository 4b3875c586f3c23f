//! What leads from this host to a storage, found by its device number ahead of need: what must be known to show it quiet once
//! its writers are gone (ARCHITECTURE 6), or why that is not possible. The fencer goes by it, and `status` says it.
//!
//! It reads /proc and /sys and nothing else, so that a dead server holds nobody up.

mod iscsi;
mod mapped;
mod nfs;
mod obstacle;
mod own;
mod volumes;

use std::path::Path;

use crate::mounts::read_list;

pub(crate) use iscsi::host_driver;
pub use iscsi::{IscsiPath, IscsiWay, scsi_device_of};
pub use mapped::{MappedDevice, Mapping};
pub use nfs::{Locks, NfsWay, Sharer};
pub use obstacle::Obstacle;
pub use volumes::nfs_is_known;

/// One of the kernel's lists, by the files below `root`.
fn list(root: &Path, path: &str) -> Result<String, Obstacle> {
    let below = root.join(path.trim_start_matches('/'));
    read_list(&below).map_err(|error| Obstacle::unreadable(Path::new(path), &error))
}
