//! What the kernel says of the storage behind one path. May block for as long as a dead mount does.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use leasefence_transport::mount_of;
use rustix::fs::{major, minor, statfs};

/// More layers of mapped devices than this are not followed.
const DEEPEST_STACK: u8 = 8;

/// The kinds of storage that are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Medium {
    /// An NFS mount.
    Nfs,
    /// A device of an iSCSI session, or a file system on one.
    Iscsi,
    /// A file system, or a loop device, of this kernel alone.
    Local,
    /// Anything else, and what cannot be found.
    Other,
}

/// File systems by their magic numbers (statfs(2), linux/magic.h).
const NFS: u64 = 0x6969;
const LOCAL: [u64; 6] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0x794C_7630, // overlayfs
    0xF2F5_2010, // f2fs
];

/// What lies behind a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) medium: Medium,
    /// The device number of the mount or device.
    pub(crate) device: u64,
    /// The path without links.
    pub(crate) path: PathBuf,
}

impl Found {
    /// Nothing is known.
    pub(crate) fn nothing() -> Self {
        Self { medium: Medium::Other, device: 0, path: PathBuf::new() }
    }

    /// Whether the kernel's table of mounts still has it so, which takes no call to any file system: something else may be
    /// mounted there by now.
    pub(crate) fn stands(&self, mountinfo: &str) -> bool {
        self.medium != Medium::Nfs
            || mount_of(mountinfo, &self.path).is_some_and(|mount| mount.device == self.device)
    }
}

/// What lies behind a path.
pub(crate) fn medium_of(path: &Path) -> Found {
    let found = fs::canonicalize(path).and_then(|path| Ok((fs::metadata(&path)?, path)));
    let Ok((metadata, path)) = found else { return Found::nothing() };
    let (medium, device) = match metadata.file_type().is_block_device() {
        true => (device_medium(metadata.rdev(), DEEPEST_STACK), metadata.rdev()),
        false => (file_system_medium(&path, metadata.dev()), metadata.dev()),
    };
    Found { medium, device, path }
}

fn file_system_medium(path: &Path, device: u64) -> Medium {
    let Ok(found) = statfs(path) else { return Medium::Other };
    match u64::try_from(found.f_type) {
        Ok(NFS) => Medium::Nfs,
        // A device with major 0 is none: tmpfs, overlayfs, btrfs.
        Ok(magic) if LOCAL.contains(&magic) && major(device) == 0 => Medium::Local,
        Ok(magic) if LOCAL.contains(&magic) => device_medium(device, DEEPEST_STACK),
        _ => Medium::Other,
    }
}

/// A device is iSCSI when its place in sysfs lies under a session. A mapped device (multipath, LVM, crypt) is what all
/// the devices under it are, if they agree.
fn device_medium(device: u64, depth: u8) -> Medium {
    let link = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    let Ok(place) = fs::canonicalize(&link) else { return Medium::Other };
    if is_under_session(&place) {
        return Medium::Iscsi;
    }
    match slaves(&place) {
        below if below.is_empty() => Medium::Local,
        below => common(below.into_iter().map(|device| match depth.checked_sub(1) {
            Some(depth) => device_medium(device, depth),
            None => Medium::Other,
        })),
    }
}

fn is_under_session(place: &Path) -> bool {
    let number = |name: &str| name.strip_prefix("session").is_some_and(|rest| rest.parse::<u32>().is_ok());
    place.components().any(|part| part.as_os_str().to_str().is_some_and(number))
}

fn slaves(place: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(place.join("slaves")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| device_number(&entry.path())).collect()
}

fn device_number(place: &Path) -> Option<u64> {
    let text = fs::read_to_string(place.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

fn common(mut media: impl Iterator<Item = Medium>) -> Medium {
    let Some(first) = media.next() else { return Medium::Other };
    if media.all(|medium| medium == first) { first } else { Medium::Other }
}
