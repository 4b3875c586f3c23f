//! The host's own `/dev`: the few nodes that libvirt and QEMU need. There is no `kvm` among them on purpose: libvirt then
//! does not probe it with a QEMU of its own at each start, which took ten times as long as the start.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::mounts::{MountError, Step, bind};

/// Name, major and minor number, as in the kernel's list of devices.
const CHARACTER_DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("fuse", 10, 229),
];

const LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "ptmx"),
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// Builds the tree at `aside`, then moves it over `/dev`.
pub(super) fn set_up(aside: &Path) -> Result<(), MountError> {
    fs::create_dir_all(aside).step("make a place for /dev")?;
    mount(Some("tmpfs"), aside, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755")).step("mount /dev")?;
    for (name, major, minor) in CHARACTER_DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&aside.join(name), SFlag::S_IFCHR, mode, makedev(major, minor))
            .step(format!("make /dev/{name}"))?;
    }
    loop_devices(aside)?;
    for (target, link) in LINKS {
        symlink(target, aside.join(link)).step(format!("make /dev/{link}"))?;
    }
    file_system(aside, "pts", "devpts", "newinstance,ptmxmode=0666,mode=620")?;
    file_system(aside, "shm", "tmpfs", "mode=1777")?;
    mount(Some(aside), "/dev", None::<&str>, MsFlags::MS_MOVE, None::<&str>).step("move /dev into its place")
}

fn file_system(dev: &Path, name: &str, kind: &str, options: &str) -> Result<(), MountError> {
    let target = dev.join(name);
    fs::create_dir_all(&target).step(format!("make /dev/{name}"))?;
    mount(Some(kind), &target, Some(kind), MsFlags::MS_NOSUID, Some(options))
        .step(format!("mount /dev/{name}"))
}

/// Loop devices are this machine's: a lease on a block device needs one.
fn loop_devices(dev: &Path) -> Result<(), MountError> {
    for entry in fs::read_dir("/dev").step("list /dev")?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with("loop") {
            continue;
        }
        let place = dev.join(entry.file_name());
        let number = entry.metadata().step("look at a loop device")?.rdev();
        fs::write(&place, "").step("make a loop device")?;
        if number != 0 {
            bind(&entry.path(), &place)?;
        }
    }
    Ok(())
}
