//! What the kernel says of the storage behind one path. May block for as long as a dead mount does.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use leasefence_transport::{Beneath, Mount, Reach, mount_of, mounts, read_list};
use rustix::fs::{major, statfs};

use crate::no_proof::NoProof;

/// The mounts that this process sees.
pub(crate) const MOUNTS: &str = "/proc/self/mountinfo";

/// The kinds of storage that are told apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Medium {
    /// An NFS mount.
    Nfs,
    /// A device of an iSCSI session, or a file system on one.
    Iscsi,
    /// A file system, or a loop device, of this kernel alone.
    Local,
    /// Anything else, and what cannot be found.
    Other(NoProof),
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

/// File systems of the kernel's that store nothing.
const NOTHING: [&str; 17] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "mqueue",
    "debugfs",
    "tracefs",
    "securityfs",
    "bpf",
    "pstore",
    "configfs",
    "fusectl",
    "nsfs",
    "binfmt_misc",
    "efivarfs",
    "rpc_pipefs",
];

/// What lies behind a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) medium: Medium,
    /// The device number of the mount or device.
    pub(crate) device: u64,
    /// The path without links.
    pub(crate) path: PathBuf,
    /// True when the path is a block device's own.
    pub(crate) block: bool,
}

impl Found {
    /// Nothing is known, and why.
    pub(crate) fn nothing(why: NoProof) -> Self {
        Self { medium: Medium::Other(why), device: 0, path: PathBuf::new(), block: false }
    }

    /// Whether the kernel's table of mounts still has it so, which takes no call to any file system: something else may be
    /// mounted there by now. A device is asked for anew each time, since its name and its number may be another's after a scan.
    pub(crate) fn stands(&self, mountinfo: &str) -> bool {
        match self.medium {
            Medium::Nfs | Medium::Iscsi if !self.block => {
                mount_of(mountinfo, &self.path).is_some_and(|mount| mount.device == self.device)
            }
            Medium::Nfs | Medium::Iscsi | Medium::Other(NoProof::NotFound(_) | NoProof::Hollow) => false,
            Medium::Local | Medium::Other(_) => true,
        }
    }

    /// False where the kernel has led past what the list of mounts has last or deepest there: that one is hidden. A subvolume of btrfs
    /// has a number of its own.
    fn lies_on(&self, mount: &Mount) -> bool {
        let subvolume = self.medium == Medium::Local && major(self.device) == 0 && mount.fs_type == "btrfs";
        mount.device == self.device || subvolume
    }

    /// What the kernel calls it: what is mounted, or the device's path. None where nothing was found.
    pub(crate) fn place(&self, mountinfo: &str) -> Option<String> {
        let mounted = mount_of(mountinfo, &self.path).filter(|mount| mount.device == self.device);
        let place = mounted.map_or_else(|| self.path.clone().into(), |mount| mount.source);
        (!place.is_empty()).then(|| place.to_string_lossy().into_owned())
    }

    /// Whether what is memory to a guest and lies here has to be shown quiet, as its disks have. On the file system of this host's own
    /// system it has not, whatever that lies on: no two hosts have one together. The variables of its firmware have where others are
    /// known to reach them, and where nothing answers; its data (`persistent`) wherever it is not known to be this host's alone.
    pub(crate) fn has_memory_of_others(&self, persistent: bool, mountinfo: &str) -> bool {
        let mount = mount_of(mountinfo, &self.path).filter(|_| !self.block);
        let is_own = mount.is_some_and(|mount| mount.is_of_the_system());
        let counts = || match self.reach(mountinfo) {
            Reach::Here => false,
            Reach::Shared(_) => true,
            Reach::Unknown(_) => persistent || self.medium == Medium::Other(NoProof::NoAnswer),
        };
        !is_own && counts()
    }

    /// Who can get at it, by the kernel's table of mounts and sysfs as they are now.
    pub(crate) fn reach(&self, mountinfo: &str) -> Reach {
        match &self.medium {
            Medium::Iscsi | Medium::Local | Medium::Other(NoProof::Hollow) if self.block => {
                Reach::of_device(self.device)
            }
            Medium::Other(NoProof::FileSystem(_) | NoProof::Hollow)
            | Medium::Nfs
            | Medium::Iscsi
            | Medium::Local => {
                let unknown = |why: &str| Reach::Unknown(why.to_owned());
                match mount_of(mountinfo, &self.path) {
                    None => unknown("its file system is not mounted any more"),
                    Some(mount) if !self.lies_on(&mount) => {
                        unknown("the list of mounts shows another file system there")
                    }
                    Some(mount) => Reach::of_mount(&mount),
                }
            }
            Medium::Other(NoProof::Mixed) => Reach::Shared(NoProof::Mixed.to_string()),
            Medium::Other(why) => Reach::Unknown(why.to_string()),
        }
    }
}

/// What is mounted below a directory, and can be written by whom the directory is given to, but for what is this host's alone.
pub(crate) fn mounted_below(mountinfo: &str, directory: &Path) -> Vec<(Mount, Reach)> {
    // Of a directory that was not found nothing is known, and its own storage says so.
    let is_below = |mount: &Mount| {
        directory.is_absolute() && mount.point != directory && mount.point.starts_with(directory)
    };
    let below = mounts(mountinfo).filter(is_below);
    let reached = below
        .filter(|mount| !mount.is_read_only() && !NOTHING.contains(&mount.fs_type.as_str()))
        .map(|mount| (Reach::of_mount(&mount), mount));
    reached.filter(|(reach, _)| *reach != Reach::Here).map(|(reach, mount)| (mount, reach)).collect()
}

/// What lies behind a path.
pub(crate) fn medium_of(path: &Path) -> Found {
    let found = fs::canonicalize(path).and_then(|path| Ok((fs::metadata(&path)?, path)));
    let (metadata, path) = match found {
        Ok(found) => found,
        Err(error) => return Found::nothing(NoProof::NotFound(error.to_string())),
    };
    let block = metadata.file_type().is_block_device();
    let (medium, device) = match block {
        true => (device_medium(metadata.rdev()), metadata.rdev()),
        false => (file_system_medium(&path, metadata.dev()), metadata.dev()),
    };
    Found { medium, device, path, block }
}

fn file_system_medium(path: &Path, device: u64) -> Medium {
    let magic = match statfs(path) {
        Ok(found) => u64::try_from(found.f_type).unwrap_or_default(),
        Err(error) => return Medium::Other(NoProof::NotFound(error.to_string())),
    };
    match magic {
        NFS => Medium::Nfs,
        // A device with major 0 is none: tmpfs, overlayfs, btrfs.
        _ if LOCAL.contains(&magic) && major(device) == 0 => Medium::Local,
        _ if LOCAL.contains(&magic) => device_medium(device),
        _ => Medium::Other(NoProof::FileSystem(type_of(path, magic))),
    }
}

fn type_of(path: &Path, magic: u64) -> String {
    let mount = mount_of(&read_list(Path::new(MOUNTS)).unwrap_or_default(), path);
    mount.map_or_else(|| format!("{magic:#x}"), |mount| mount.fs_type)
}

/// A mapped device (multipath, LVM, crypt) is what all the devices under it are, if they agree. While a fence takes one away its disks
/// go first: it is none that could not be shown quiet, but one of which nothing can be told.
fn device_medium(device: u64) -> Medium {
    let Some(beneath) = Beneath::device(device) else {
        return Medium::Other(NoProof::NotFound(
            "the kernel does not say what its device lies on".to_owned(),
        ));
    };
    match (beneath.sessions.is_empty(), beneath.unknown.is_empty()) {
        _ if beneath.is_hollow() => Medium::Other(NoProof::Hollow),
        (false, true) => Medium::Iscsi,
        (true, _) => Medium::Local,
        (false, false) => Medium::Other(NoProof::Mixed),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::makedev;

    use super::*;

    /// Catches: a fence that takes the storage away which the host has booted from, and one that owes a proof for each UEFI guest of a
    /// host on zfs: libvirt puts the variables of a guest's firmware below `/var/lib/libvirt` by itself. And one that owes none for
    /// persistent memory on a cluster's file system that we do not know, or on a mount that does not answer: its dirty pages land when
    /// the path is healed.
    #[test]
    fn memory_on_the_hosts_own_system_is_no_storage_of_its_guest() {
        let mountinfo = "22 1 0:49 / / rw - nfs4 s:/root rw,addr=10.0.0.1\n40 22 0:50 / /mnt/vars rw - nfs4 s:/v rw,addr=10.0.0.1\n\
                         41 22 0:51 / /srv rw - zfs tank rw\n";
        let found = |medium, device, path: &str| Found { medium, device, path: path.into(), block: false };
        let vars = |found: Found| found.has_memory_of_others(false, mountinfo);
        assert!(!vars(found(Medium::Nfs, makedev(0, 49), "/var/lib/libvirt/qemu/nvram/a_VARS.fd")));
        assert!(vars(found(Medium::Nfs, makedev(0, 50), "/mnt/vars/a_VARS.fd")));
        let zfs = Medium::Other(NoProof::FileSystem("zfs".into()));
        let on_zfs = found(zfs, makedev(0, 51), "/srv/a_VARS.fd");
        assert!(!vars(on_zfs.clone()), "it is not known to be anybody else's");
        assert!(on_zfs.has_memory_of_others(true, mountinfo), "nor to be this host's alone");
        assert!(vars(Found::nothing(NoProof::NoAnswer)));
        assert!(!found(Medium::Nfs, makedev(0, 49), "/var/pmem").has_memory_of_others(true, mountinfo));
    }
}
