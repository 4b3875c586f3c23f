//! Processes that serve disks past every domain: what they have open for writing. Found by their program's name, and told by the
//! device number that it lies on. Everything is read in /proc and /sys; a storage that does not answer holds nobody up.

use std::fs;
use std::path::Path;

use leasefence_core::fencing::ANY_DEVICE;
use leasefence_transport::{has_ended, open_for_writing};
use rustix::fs::{major, makedev, minor};

/// The name of a writer: a program's, cut by the kernel.
pub(crate) type Name = [u8; 16];

/// The beginnings of their programs' names, which the kernel cuts to 15 bytes.
const SERVERS: [&[u8]; 9] = [
    b"qemu-nbd",
    b"qemu-storage-d",
    b"vhost-user-",
    b"nbd-server",
    b"nbdkit",
    b"tgtd",
    b"tcmu-runner",
    b"spdk_",
    // SPDK's threads, and the first of them names the process.
    b"reactor_",
];

/// By its name alone.
pub(super) fn serves_disks(comm: &[u8]) -> bool {
    SERVERS.iter().any(|name| comm.starts_with(name))
}

pub(super) fn named(comm: &[u8]) -> Name {
    let comm = comm.trim_ascii();
    let mut name = Name::default();
    let len = comm.len().min(name.len());
    name[..len].copy_from_slice(&comm[..len]);
    name
}

/// The devices that what it has open for writing lies on, each once. One that the kernel does not show in full may write anywhere.
pub(super) fn devices_of(pid: u32) -> Vec<u64> {
    let mut devices = Vec::new();
    let files = match open_for_writing(pid) {
        Ok(files) => files,
        Err(error) if has_ended(&error) => return devices,
        Err(_) => return vec![ANY_DEVICE],
    };
    for device in files.into_iter().filter_map(|file| file.device) {
        for device in with_relatives(Path::new("/sys/dev/block"), device) {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
    }
    devices
}

/// With the disk that it is a part of, and the parts of it that there are: a write to one is one to the other.
pub(super) fn with_relatives(block: &Path, device: u64) -> Vec<u64> {
    let place = block.join(format!("{}:{}", major(device), minor(device)));
    let number = |place: &Path| number_in(&fs::read_to_string(place.join("dev")).ok()?);
    let is_part = |place: &Path| place.join("partition").exists();
    let mut devices = vec![device];
    if is_part(&place) {
        devices.extend(fs::canonicalize(&place).ok().and_then(|place| number(place.parent()?)));
    } else {
        let parts = fs::read_dir(&place).into_iter().flatten().flatten().map(|entry| entry.path());
        devices.extend(parts.filter(|part| is_part(part)).filter_map(|part| number(&part)));
    }
    devices
}

/// `8:16` as sysfs writes it.
pub(super) fn number_in(text: &str) -> Option<u64> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn servers_of_disks_are_known_by_name() {
        for server in ["qemu-nbd\n", "qemu-storage-da\n", "vhost-user-blk\n", "reactor_0\n"] {
            assert!(serves_disks(server.as_bytes()), "{server}");
        }
        for other in ["qemu-img\n", "virtiofsd\n", "vhost-1234\n", "sh\n", "qemu-pr-helper\n"] {
            assert!(!serves_disks(other.as_bytes()), "{other}");
        }
        assert_eq!(named(b"qemu-nbd\n"), *b"qemu-nbd\0\0\0\0\0\0\0\0");
    }

    /// This process, of which the kernel says where its open file lies.
    #[test]
    fn what_a_process_has_open_for_writing_is_told_by_its_file_system() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mounts = leasefence_transport::read_list(Path::new("/proc/self/mountinfo")).unwrap();
        let device = leasefence_transport::mount_of(&mounts, file.path()).unwrap().device;
        let own = devices_of(std::process::id());
        assert!(own.contains(&device), "{own:?}");
    }

    #[test]
    fn a_disk_and_its_parts_are_one() {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("devices/sdb");
        let block = root.path().join("block");
        fs::create_dir_all(disk.join("sdb1")).unwrap();
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::create_dir(&block).unwrap();
        fs::write(disk.join("dev"), "8:16\n").unwrap();
        fs::write(disk.join("sdb1/dev"), "8:17\n").unwrap();
        fs::write(disk.join("sdb1/partition"), "1\n").unwrap();
        symlink(&disk, block.join("8:16")).unwrap();
        symlink(disk.join("sdb1"), block.join("8:17")).unwrap();
        let (whole, part) = (makedev(8, 16), makedev(8, 17));
        assert_eq!(with_relatives(&block, whole), [whole, part]);
        assert_eq!(with_relatives(&block, part), [part, whole]);
        assert_eq!(with_relatives(&block, makedev(0, 50)), [makedev(0, 50)]);
    }
}
