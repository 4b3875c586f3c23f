//! Who can get at a storage. Told by the type of its file system and by sysfs alone, so that no storage is asked: one that does
//! not answer holds nobody up. What is of no kind known here is said to be unknown; nothing is guessed.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, makedev};

use crate::block::Beneath;
use crate::mounts::{Mount, host_list, mount_of};
use crate::way::host_driver;

/// Who can get at a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// This host alone.
    Here,
    /// Other hosts as well: `nfs4, s:/disks`.
    Shared(String),
    /// It cannot be told: a reason without a subject.
    Unknown(String),
}

/// File systems that a network or a cluster serves; of those in user space what follows `fuse.`.
const SERVED: [&str; 20] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "glusterfs",
    "gfs2",
    "ocfs2",
    "lustre",
    "gpfs",
    "beegfs",
    "orangefs",
    "pvfs2",
    "afs",
    "9p",
    "virtiofs",
    "sshfs",
    "moosefs",
    "mfs",
    "ceph-fuse",
];
/// Those that lie in this host's memory.
const IN_MEMORY: [&str; 4] = ["tmpfs", "ramfs", "hugetlbfs", "devtmpfs"];
/// Those that lie on one block device, or, as btrfs, name one.
const ON_A_DEVICE: [&str; 8] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "jfs"];
/// Block devices, by the beginning of the kernel's name, that other hosts reach as well.
const NETWORK_DEVICES: [&str; 3] = ["rbd", "nbd", "drbd"];
/// Those that are this machine's own, as far as it can see: what a virtual machine is given may be anything.
const OWN_DEVICES: [&str; 7] = ["hd", "vd", "xvd", "mmcblk", "pmem", "ram", "zram"];
/// A loop device may lie on a file on a loop device.
const DEEPEST: u8 = 4;

impl Reach {
    /// Of a mounted file system.
    #[must_use]
    pub fn of_mount(mount: &Mount) -> Self {
        Self::of_file_system(Path::new("/"), mount, DEEPEST)
    }

    /// Of the block device with this number, by what lies beneath it.
    #[must_use]
    pub fn of_device(device: u64) -> Self {
        Self::of_block(Path::new("/"), device, DEEPEST)
    }

    /// The reach of what consists of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (shared @ Self::Shared(_), _) | (_, shared @ Self::Shared(_)) => shared,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Here, Self::Here) => Self::Here,
        }
    }

    fn of_file_system(root: &Path, mount: &Mount, depth: u8) -> Self {
        let fs_type = mount.fs_type.as_str();
        if SERVED.contains(&fs_type.strip_prefix("fuse.").unwrap_or(fs_type)) {
            return Self::Shared(format!("{fs_type}, {}", mount.source.display()));
        }
        if IN_MEMORY.contains(&fs_type) {
            return Self::Here;
        }
        let device = match (ON_A_DEVICE.contains(&fs_type), major(mount.device)) {
            (true, 0) => device_named(root, Path::new(&mount.source)),
            (true, _) => Some(mount.device),
            (false, _) => None,
        };
        let unknown =
            || Self::Unknown(format!("who reaches a file system of type {fs_type} is not known here"));
        device.map_or_else(unknown, |device| Self::of_block(root, device, depth))
    }

    fn of_block(root: &Path, device: u64, depth: u8) -> Self {
        let unseen = || Self::Unknown("the kernel does not say what its device lies on".to_owned());
        let (Some(beneath), Some(depth)) = (Beneath::below(root, device), depth.checked_sub(1)) else {
            return unseen();
        };
        if !beneath.sessions.is_empty() {
            return Self::Shared("a disk of an iSCSI session".to_owned());
        }
        let lowest = beneath.unknown.iter().map(|name| Self::of_lowest(root, name, depth));
        lowest.reduce(Self::and).unwrap_or_else(unseen)
    }

    /// A device with nothing beneath it.
    fn of_lowest(root: &Path, name: &str, depth: u8) -> Self {
        let unknown = || Self::Unknown(format!("who reaches the device {name} is not known here"));
        let begins = |names: &[&str]| names.iter().any(|known| name.starts_with(known));
        let Ok(place) = fs::canonicalize(root.join("sys/class/block").join(name)) else { return unknown() };
        if begins(&NETWORK_DEVICES) {
            return Self::Shared(format!("the network device {name}"));
        }
        if place.iter().any(|part| part.to_string_lossy().starts_with("rport-")) {
            return Self::Shared(format!("the Fibre Channel disk {name}"));
        }
        if name.starts_with("loop") {
            return Self::of_loop(root, &place, depth).unwrap_or_else(unknown);
        }
        if name.starts_with("nvme") {
            let transports = nvme_transports(&place);
            return match transports.iter().find(|transport| *transport != "pcie") {
                Some(transport) => Self::Shared(format!("the NVMe disk {name} over {transport}")),
                None if transports.is_empty() => unknown(),
                None => Self::Here,
            };
        }
        if name.starts_with("sd") {
            return match host_driver(root, &place).as_deref() {
                Some("ib_srp") => Self::Shared(format!("the SRP disk {name}")),
                // Its other end is what this host's own target serves, which may lie anywhere.
                None | Some("tcm_loopback") => unknown(),
                Some(_) => Self::Here,
            };
        }
        if begins(&OWN_DEVICES) { Self::Here } else { unknown() }
    }

    /// What a loop device lies on: a file, or a block device by its node.
    fn of_loop(root: &Path, place: &Path, depth: u8) -> Option<Self> {
        let backing = fs::read_to_string(place.join("loop/backing_file")).ok()?;
        let backing = backing.trim();
        if let Some(device) = device_named(root, Path::new(backing)) {
            return Some(Self::of_block(root, device, depth));
        }
        let mounts = host_list(root).ok()?;
        let mount = mount_of(&mounts, Path::new(backing)).filter(|_| !backing.is_empty())?;
        // A node whose device nobody finds says nothing of where its bytes lie.
        (mount.fs_type != "devtmpfs").then(|| Self::of_file_system(root, &mount, depth))
    }
}

/// The number of the device that a file system names as its own: `/dev/sda2`, `/dev/mapper/vg-root`.
pub(crate) fn device_named(root: &Path, source: &Path) -> Option<u64> {
    let below_dev = source.strip_prefix("/dev").ok()?;
    let node = fs::canonicalize(root.join("dev").join(below_dev)).ok()?;
    let text = fs::read_to_string(root.join("sys/class/block").join(node.file_name()?).join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// How the controllers are reached that a disk hangs on: it lies below its one controller, or below a subsystem that links all.
fn nvme_transports(place: &Path) -> Vec<String> {
    let Some(above) = place.parent() else { return Vec::new() };
    let below = fs::read_dir(above).into_iter().flatten().flatten().map(|entry| entry.path());
    let controllers: Vec<PathBuf> = std::iter::once(above.to_owned()).chain(below).collect();
    let transport = |place: PathBuf| fs::read_to_string(place.join("transport")).ok();
    controllers.into_iter().filter_map(transport).map(|text| text.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::mounts::mounts;

    /// A machine with these devices: name, number, place below /sys/devices.
    fn machine(devices: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        let (block, class) = (root.path().join("sys/dev/block"), root.path().join("sys/class/block"));
        fs::create_dir_all(&block).expect("made");
        fs::create_dir_all(&class).expect("made");
        fs::create_dir_all(root.path().join("dev")).expect("made");
        for (name, number, place) in devices {
            let place = root.path().join("sys/devices").join(place).join(name);
            fs::create_dir_all(&place).expect("made");
            fs::write(place.join("dev"), format!("{number}\n")).expect("written");
            symlink(&place, block.join(number)).expect("linked");
            symlink(&place, class.join(name)).expect("linked");
            fs::write(root.path().join("dev").join(name), "").expect("written");
        }
        root
    }

    fn mount(line: &str) -> Mount {
        mounts(&format!("40 22 {line}")).next().expect("a mount")
    }

    /// Catches: a storage that other hosts reach taken for this one's own, and one that nobody knows taken for either.
    #[test]
    fn what_a_network_serves_is_shared_what_lies_on_own_disks_is_not_and_the_rest_is_unknown() {
        let root = machine(&[
            ("sda", "8:0", "pci/ata1/host0/target0:0:0/0:0:0:0/block"),
            ("sdb", "8:16", "platform/host2/session3/target2:0:0/2:0:0:0/block"),
            ("sdc", "8:32", "pci/host4/rport-4:0-0/target4:0:0/4:0:0:0/block"),
            ("rbd0", "252:0", "virtual/block"),
            ("nvme0n1", "259:0", "pci/nvme/nvme0"),
            ("nvme1n1", "259:1", "virtual/nvme-subsystem/nvme-subsys1"),
            ("zd0", "230:0", "virtual/block"),
            ("loop0", "7:0", "virtual/block"),
            ("loop1", "7:1", "virtual/block"),
            ("loop2", "7:2", "virtual/block"),
            ("sdd", "8:48", "pci/infiniband_srp/host5/target5:0:0/5:0:0:0/block"),
            ("sde", "8:64", "tcm_loop_0/host6/target6:0:1/6:0:1:0/block"),
            ("sdf", "8:80", "pci/host7/target7:0:0/7:0:0:0/block"),
        ]);
        let devices = root.path().join("sys/devices");
        for (host, driver) in [
            ("pci/ata1/host0", "ahci"),
            ("pci/infiniband_srp/host5", "ib_srp"),
            ("tcm_loop_0/host6", "tcm_loopback"),
        ] {
            let name = Path::new(host).file_name().expect("a name");
            let described = root.path().join("sys/class/scsi_host").join(name);
            fs::create_dir_all(&described).expect("made");
            fs::write(described.join("proc_name"), format!("{driver}\n")).expect("written");
        }
        fs::write(devices.join("pci/nvme/nvme0/transport"), "pcie\n").expect("written");
        let controller = devices.join("virtual/nvme-subsystem/nvme-subsys1/nvme1");
        fs::create_dir_all(&controller).expect("made");
        fs::write(controller.join("transport"), "tcp\n").expect("written");
        for (name, backing) in [("loop0", "/mnt/disks/a.img"), ("loop1", "/dev/sdb"), ("loop2", "/dev/gone")]
        {
            let place = devices.join("virtual/block").join(name).join("loop");
            fs::create_dir_all(&place).expect("made");
            fs::write(place.join("backing_file"), format!("{backing}\n")).expect("written");
        }
        fs::create_dir_all(root.path().join("proc/1")).expect("made");
        let mountinfo =
            "25 22 0:5 / /dev rw - devtmpfs devtmpfs rw\n40 22 0:50 / /mnt/disks rw - nfs4 s:/disks rw\n";
        fs::write(root.path().join("proc/1/mountinfo"), mountinfo).expect("written");
        let word = |reach| match reach {
            Reach::Here => "here",
            Reach::Shared(_) => "shared",
            Reach::Unknown(_) => "unknown",
        };
        for (line, expected) in [
            ("0:50 / /m rw - nfs4 s:/disks rw", "shared"),
            ("0:51 / /m rw - fuse.glusterfs s:/v rw", "shared"),
            ("0:51 / /m rw - fuse.mfs mfsmaster:9421 rw", "shared"),
            ("0:51 / /m rw - fuse.ceph-fuse ceph-fuse rw", "shared"),
            ("0:52 / /m rw - fuse.own x rw", "unknown"),
            ("0:53 / /m rw - tmpfs tmpfs rw", "here"),
            ("0:54 / /m rw - zfs tank/a rw", "unknown"),
            ("8:0 / /m rw - ext4 /dev/sda rw", "here"),
            ("8:16 / /m rw - xfs /dev/sdb rw", "shared"),
            ("8:16 / /m rw - gfs2 /dev/sdb rw", "shared"),
            ("0:55 / /m rw - btrfs /dev/sda rw", "here"),
            ("0:56 / /m rw - btrfs /dev/sdb rw", "shared"),
            ("0:57 / /m rw - btrfs /dev/gone rw", "unknown"),
        ] {
            assert_eq!(word(Reach::of_file_system(root.path(), &mount(line), DEEPEST)), expected, "{line}");
        }
        for (number, expected) in [
            ((8, 0), "here"),
            ((8, 16), "shared"),
            ((8, 32), "shared"),
            ((252, 0), "shared"),
            ((259, 0), "here"),
            ((259, 1), "shared"),
            ((230, 0), "unknown"),
            ((7, 0), "shared"),
            ((7, 1), "shared"),
            ((7, 2), "unknown"),
            ((8, 48), "shared"),
            ((8, 64), "unknown"),
            ((8, 80), "unknown"),
            ((9, 9), "unknown"),
        ] {
            let device = makedev(number.0, number.1);
            assert_eq!(word(Reach::of_block(root.path(), device, DEEPEST)), expected, "{number:?}");
        }
    }

    #[test]
    fn of_several_the_worst_counts() {
        let (shared, unknown) = (Reach::Shared("s".to_owned()), Reach::Unknown("u".to_owned()));
        assert_eq!(Reach::Here.and(Reach::Here), Reach::Here);
        assert_eq!(unknown.clone().and(Reach::Here), unknown);
        assert_eq!(unknown.and(shared.clone()), shared);
    }
}
