//! What this host cannot do without: its own system, and what it swaps to. A fence leaves alone what these lie on, through however
//! many layers of whatever kind. What cannot be told lies there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::major;

use super::{IscsiPath, Obstacle};
use crate::block::{Beneath, is_put_together, place_in_sysfs};
use crate::mounts::{Mount, mount_of, mounts, read_list, unescaped};
use crate::reach::device_named;

const SWAPS: &str = "/proc/swaps";
/// A loop device may lie on a file on a loop device.
const DEEPEST: u8 = 4;

/// Whether nothing of the kind lies on one of these disks, whose deletion would take it away. `list` has the host's mounts.
///
/// # Errors
/// [`Obstacle::OwnSystem`], [`Obstacle::OwnSwap`], or that it cannot be read.
pub(super) fn spares_disks(root: &Path, list: &str, disks: &[IscsiPath]) -> Result<(), Obstacle> {
    let walk = Walk { root, list, disks };
    let system = mounts(list).find(|mount| mount.is_of_the_system() && walk.mount_meets(mount, DEEPEST));
    if let Some(mount) = system {
        return Err(Obstacle::OwnSystem(mount.point));
    }
    match swaps(root)?.into_iter().find(|swap| walk.swap_meets(swap)) {
        Some(swap) => Err(Obstacle::OwnSwap(swap.path)),
        None => Ok(()),
    }
}

/// Whether this host swaps to no file on the file system with this device number. `list` has the host's mounts.
///
/// # Errors
/// [`Obstacle::OwnSwap`], or that it cannot be read.
pub(super) fn spares_mount(root: &Path, list: &str, device: u64) -> Result<(), Obstacle> {
    let is_there = |swap: &Swap| {
        !swap.is_device && mount_of(list, &swap.path).is_some_and(|mount| mount.device == device)
    };
    match swaps(root)?.into_iter().find(is_there) {
        Some(swap) => Err(Obstacle::OwnSwap(swap.path)),
        None => Ok(()),
    }
}

/// Something that the host swaps to now.
struct Swap {
    path: PathBuf,
    is_device: bool,
}

/// All of it. A kernel that cannot swap has no such list.
fn swaps(root: &Path) -> Result<Vec<Swap>, Obstacle> {
    let list = match read_list(&root.join(SWAPS.trim_start_matches('/'))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| Obstacle::unreadable(Path::new(SWAPS), &error))?,
    };
    let swap = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let path = PathBuf::from(unescaped(words.next()?));
        Some(Swap { path, is_device: words.next()? == "partition" })
    };
    Ok(list.lines().skip(1).filter_map(swap).collect())
}

/// From whatever lies on it down to the disks: whether one of these is met.
struct Walk<'a> {
    root: &'a Path,
    list: &'a str,
    disks: &'a [IscsiPath],
}

impl Walk<'_> {
    fn swap_meets(&self, swap: &Swap) -> bool {
        match swap.is_device {
            true => {
                device_named(self.root, &swap.path).is_none_or(|device| self.device_meets(device, DEEPEST))
            }
            false => self.path_meets(&swap.path, DEEPEST),
        }
    }

    fn mount_meets(&self, mount: &Mount, depth: u8) -> bool {
        match (major(mount.device), mount.fs_type.as_str()) {
            (0, "btrfs") => {
                let places = btrfs_places(self.root, Path::new(&mount.source));
                places.is_none_or(|places| places.iter().any(|place| self.place_meets(place, depth)))
            }
            // It lies in memory or behind a network, or nobody knows by which devices: zfs, an overlay.
            (0, _) => false,
            _ => self.device_meets(mount.device, depth),
        }
    }

    fn device_meets(&self, device: u64, depth: u8) -> bool {
        place_in_sysfs(self.root, device).is_none_or(|place| self.place_meets(&place, depth))
    }

    fn place_meets(&self, place: &Path, depth: u8) -> bool {
        let (Some(beneath), Some(depth)) = (Beneath::at(place), depth.checked_sub(1)) else { return true };
        let is_met = |disk: &PathBuf| self.disks.iter().any(|path| path.place == *disk);
        beneath.disks.iter().any(is_met) || beneath.unknown.iter().any(|name| self.lowest_meets(name, depth))
    }

    /// A device with nothing beneath it, which is another disk, unless it lies on a file, or on disks that it does not name.
    fn lowest_meets(&self, name: &str, depth: u8) -> bool {
        if name.starts_with("loop") {
            let backing = self.root.join("sys/class/block").join(name).join("loop/backing_file");
            let Ok(path) = fs::read(backing) else { return true };
            return self.path_meets(Path::new(OsStr::from_bytes(path.trim_ascii_end())), depth);
        }
        is_put_together(name)
    }

    fn path_meets(&self, path: &Path, depth: u8) -> bool {
        if let Some(device) = device_named(self.root, path) {
            return self.device_meets(device, depth);
        }
        // A node whose device nobody finds says nothing of where its bytes lie.
        let is_on_them = |mount: Mount| mount.fs_type == "devtmpfs" || self.mount_meets(&mount, depth);
        mount_of(self.list, path).is_none_or(is_on_them)
    }
}

/// Where sysfs describes the devices of a btrfs, whose mount has no device's number, and names one of them. None where that one is not
/// found.
fn btrfs_places(root: &Path, source: &Path) -> Option<Vec<PathBuf>> {
    let named = place_in_sysfs(root, device_named(root, source)?)?;
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let places = |file_system: PathBuf| -> Vec<PathBuf> {
        entries(file_system.join("devices")).filter_map(|device| fs::canonicalize(device).ok()).collect()
    };
    let mut all = entries(root.join("sys/fs/btrfs")).map(places);
    Some(all.find(|places| places.contains(&named)).unwrap_or_else(|| vec![named]))
}
