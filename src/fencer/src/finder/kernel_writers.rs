//! What the kernel itself serves or maps: targets (LIO, nvmet) and loop devices, and the devices that what stands behind them lies
//! on. They are no process, and no kill ends them.

use std::fs;
use std::path::{Path, PathBuf};

use leasefence_transport::{HOST_MOUNTS, mount_of, read_list};

use super::writers::{Name, named, number_in, with_relatives};

/// All of them: a name and a device number.
pub(super) fn all() -> Vec<(Name, u64)> {
    below(Path::new("/"))
}

/// By the files below `root`.
fn below(root: &Path) -> Vec<(Name, u64)> {
    let mut mounts = None;
    let mut all = Vec::new();
    for (name, backing) in lio(root).chain(nvmet(root)).chain(loops(root)) {
        let mounts = mounts.get_or_insert_with(|| {
            read_list(&root.join(HOST_MOUNTS.trim_start_matches('/'))).unwrap_or_default()
        });
        let Some(device) = device_of(root, mounts, &name, &backing) else { continue };
        let block = root.join("sys/dev/block");
        all.extend(with_relatives(&block, device).into_iter().map(|device| (named(name.as_bytes()), device)));
    }
    all
}

/// `target/core/iblock_0/NAME/udev_path`, of those that are in use.
fn lio(root: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let stores = entries(&root.join("sys/kernel/config/target/core")).flat_map(|adapter| entries(&adapter));
    let used = stores.filter(|store| text(&store.join("enable")).is_some_and(|on| on == "1"));
    used.filter_map(|store| Some(("LIO".to_owned(), text(&store.join("udev_path"))?.into())))
}

/// `nvmet/subsystems/NQN/namespaces/N/device_path`, of those that are in use.
fn nvmet(root: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let subsystems = entries(&root.join("sys/kernel/config/nvmet/subsystems"));
    let spaces = subsystems.flat_map(|subsystem| entries(&subsystem.join("namespaces")));
    let used = spaces.filter(|space| text(&space.join("enable")).is_some_and(|on| on == "1"));
    used.filter_map(|space| Some(("nvmet".to_owned(), text(&space.join("device_path"))?.into())))
}

/// `block/loopN/loop/backing_file`, of those that can be written.
fn loops(root: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let devices = entries(&root.join("sys/block"));
    let writable = devices.filter(|device| text(&device.join("ro")).is_none_or(|ro| ro != "1"));
    writable.filter_map(|device| {
        let name = device.file_name()?.to_str().filter(|name| name.starts_with("loop"))?.to_owned();
        Some((name, text(&device.join("loop/backing_file"))?.into()))
    })
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Of a device its number, of a file that of its file system, by the host's mounts. Only links below /dev are followed: anything
/// else may lie on a storage that does not answer. A loop device counts over NFS alone, whose mount it keeps busy: a disk that
/// is deleted takes it along, and on a local file system any image that is mounted is one.
fn device_of(root: &Path, mounts: &str, name: &str, backing: &Path) -> Option<u64> {
    let is_loop = name.starts_with("loop");
    let Ok(below_dev) = backing.strip_prefix("/dev") else {
        let mount = mount_of(mounts, backing)?;
        return (!is_loop || mount.fs_type.starts_with("nfs")).then_some(mount.device);
    };
    let node = fs::canonicalize(root.join("dev").join(below_dev)).ok()?;
    number_in(&text(&root.join("sys/class/block").join(node.file_name()?).join("dev"))?).filter(|_| !is_loop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use rustix::fs::makedev;
    use std::os::unix::fs::symlink;

    #[test]
    fn targets_and_loop_devices_are_told_by_what_stands_behind_them() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(below(root.path()).is_empty(), "a kernel without any of it");
        write(
            "proc/1/mountinfo",
            "40 22 0:50 / /mnt/disks rw - nfs4 s:/disks rw\n22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
        );
        write("dev/sdb", "");
        fs::create_dir_all(root.path().join("dev/disk/by-id")).unwrap();
        symlink("../../sdb", root.path().join("dev/disk/by-id/scsi-1")).unwrap();
        write("sys/class/block/sdb/dev", "8:16\n");
        let core = "sys/kernel/config/target/core";
        write(&format!("{core}/iblock_0/one/udev_path"), "/dev/disk/by-id/scsi-1\n");
        write(&format!("{core}/iblock_0/one/enable"), "1\n");
        write(&format!("{core}/fileio_1/two/udev_path"), "/mnt/disks/guest.img\n");
        write(&format!("{core}/fileio_1/two/enable"), "0\n");
        write("sys/kernel/config/nvmet/subsystems/nqn/namespaces/1/device_path", "/mnt/disks/a.img\n");
        write("sys/kernel/config/nvmet/subsystems/nqn/namespaces/1/enable", "1\n");
        write("sys/block/loop0/loop/backing_file", "/mnt/disks/b.img\n");
        write("sys/block/loop0/ro", "0\n");
        write("sys/block/loop1/loop/backing_file", "/mnt/disks/c.img\n");
        write("sys/block/loop1/ro", "1\n");
        write("sys/block/loop2/ro", "0\n");
        write("sys/block/loop3/loop/backing_file", "/var/lib/image\n");
        write("sys/block/loop3/ro", "0\n");
        let expected = [
            (named(b"LIO"), makedev(8, 16)),
            (named(b"nvmet"), makedev(0, 50)),
            (named(b"loop0"), makedev(0, 50)),
        ];
        assert_eq!(below(root.path()), expected);
    }
}
