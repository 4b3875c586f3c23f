//! The way to a device of iSCSI sessions: a session's own disk or partition, or a mapped device over such.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::mapped::{self, MappedDevice};
use super::{Obstacle, list, own};
use crate::block::place_in_sysfs;
use crate::iscsi::target_of;
use crate::mounts::{HOST_MOUNTS, mounts};

/// The way to a device of iSCSI sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IscsiWay {
    /// The mapped devices that it leads through, the uppermost, which is the device itself, first. Empty for a session's own disk.
    pub mapped: Vec<MappedDevice>,
    /// The disks of the sessions beneath: one, or several where there is multipath, or a volume on several disks.
    pub paths: Vec<IscsiPath>,
    /// Where the file system on it is mounted, if there is one.
    pub mounted: Option<PathBuf>,
}

/// A disk of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IscsiPath {
    /// Its SCSI device in sysfs.
    pub place: PathBuf,
    /// The target's name; empty where the kernel does not say.
    pub target: String,
    /// Where it was told to log in, and where it is logged in, which the kernel does not know of a session that is cut off.
    pub portals: Vec<SocketAddr>,
}

impl IscsiWay {
    /// The way to the disk, partition or mapped device with this device number; none when there is none of this number now.
    ///
    /// # Errors
    /// An [`Obstacle`] to showing it quiet.
    pub fn to(device: u64) -> Result<Option<Self>, Obstacle> {
        Self::below(Path::new("/"), device)
    }

    pub(super) fn below(root: &Path, device: u64) -> Result<Option<Self>, Obstacle> {
        let Some(full) = place_in_sysfs(root, device) else { return Ok(None) };
        let stack = mapped::stack(&full)?;
        let paths =
            stack.disks.iter().map(|disk| IscsiPath::at(root, disk)).collect::<Result<Vec<_>, _>>()?;
        let mountinfo = list(root, HOST_MOUNTS)?;
        own::spares_disks(root, &mountinfo, &paths)?;
        let mounted = mounts(&mountinfo).find(|mount| mount.device == device).map(|mount| mount.point);
        match &mounted {
            // It would have to be unmounted, which waits for whatever else it is of.
            Some(point) if !stack.devices.is_empty() => Err(Obstacle::MappedFileSystem(point.clone())),
            _ => Ok(Some(Self { mapped: stack.devices, paths, mounted })),
        }
    }
}

impl IscsiPath {
    fn at(root: &Path, full: &Path) -> Result<Self, Obstacle> {
        let (place, session) = scsi_device_of(full).ok_or(Obstacle::NotOfSession)?;
        if host_driver(root, &place).as_deref() != Some("iscsi_tcp") {
            return Err(Obstacle::ForeignDriver);
        }
        let connection = Path::new("sys/class/iscsi_connection").join(format!("connection{session}:0"));
        let mut portals: Vec<SocketAddr> =
            ["persistent_", ""].iter().filter_map(|which| portal(&root.join(&connection), which)).collect();
        portals.dedup();
        if portals.is_empty() {
            return Err(Obstacle::NoPortal(Path::new("/").join(connection)));
        }
        Ok(Self { place, target: target_of(root, session), portals })
    }

    /// Host, channel, target and LUN, as the kernel names the SCSI device: `2:0:0:1`.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.place.file_name()?.to_str()
    }
}

/// `…/sessionN/targetH:C:I/H:C:I:L` within the place of a disk or partition in sysfs, and N; none where it is of no session.
#[must_use]
pub fn scsi_device_of(full: &Path) -> Option<(PathBuf, u32)> {
    let mut place = PathBuf::new();
    let mut session = None;
    for part in full.components() {
        place.push(part);
        let name = part.as_os_str().to_str()?;
        if session.is_some() && name.split(':').filter(|number| number.parse::<u32>().is_ok()).count() == 4 {
            return Some((place, session?));
        }
        session = session.or_else(|| name.strip_prefix("session")?.parse().ok());
    }
    None
}

/// The driver of the SCSI host that a device with this place in sysfs hangs on, as it calls itself: `iscsi_tcp`, or that of an adapter
/// or of iSER.
pub(crate) fn host_driver(root: &Path, place: &Path) -> Option<String> {
    let mut names = place.components().rev().filter_map(|part| part.as_os_str().to_str());
    let host = names.find(|name| name.strip_prefix("host").is_some_and(|n| n.parse::<u32>().is_ok()))?;
    let name = fs::read_to_string(root.join("sys/class/scsi_host").join(host).join("proc_name")).ok()?;
    Some(name.trim().to_owned())
}

fn portal(connection: &Path, which: &str) -> Option<SocketAddr> {
    let read = |name: &str| fs::read_to_string(connection.join(format!("{which}{name}"))).ok();
    let (address, port) = (read("address")?, read("port")?);
    Some(SocketAddr::new(address.trim().parse().ok()?, port.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::makedev;

    use super::*;

    #[test]
    fn the_scsi_device_and_its_session_are_found_below_a_partition() {
        let place = "/sys/devices/platform/host2/session7/target2:0:0/2:0:0:1";
        let found = scsi_device_of(&Path::new(place).join("block/sdb/sdb1"));
        assert_eq!(found, Some((PathBuf::from(place), 7)));
        assert_eq!(scsi_device_of(Path::new("/sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda")), None);
        assert_eq!(scsi_device_of(Path::new("/sys/devices/virtual/block/dm-0")), None);
    }

    /// A kernel with one session, and a mapped device of its own.
    struct Kernel(tempfile::TempDir);

    impl Kernel {
        fn new(driver: &str) -> io::Result<Self> {
            let this = Self(tempfile::tempdir()?);
            let disk = "sys/devices/platform/host2/session7/target2:0:0/2:0:0:1/block/sdb";
            for (number, place) in [("8:16", disk), ("253:0", "sys/devices/virtual/block/dm-0")] {
                fs::create_dir_all(this.root().join(place))?;
                fs::create_dir_all(this.root().join("sys/dev/block"))?;
                symlink(this.root().join(place), this.root().join("sys/dev/block").join(number))?;
            }
            this.write("sys/class/scsi_host/host2/proc_name", &format!("{driver}\n"))?;
            this.write("sys/class/iscsi_session/session7/targetname", "iqn.2026-01.t:x\n")?;
            this.write("proc/1/mountinfo", "")?;
            Ok(this)
        }

        fn root(&self) -> &Path {
            self.0.path()
        }

        fn write(&self, path: &str, text: &str) -> io::Result<()> {
            let path = self.root().join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, text)
        }

        /// A block device on others, by its number and their places below /sys/devices; of device mapper with what it says that it is.
        fn device(&self, number: &str, place: &str, beneath: &[&str], uuid: Option<&str>) -> io::Result<()> {
            let name = |place: &str| place.rsplit('/').next().unwrap_or_default().to_owned();
            let at = |place: &str| self.root().join("sys/devices").join(place);
            fs::create_dir_all(at(place).join("slaves"))?;
            for other in beneath {
                symlink(at(other), at(place).join("slaves").join(name(other)))?;
            }
            if let Some(uuid) = uuid {
                self.write(&format!("sys/devices/{place}/dm/uuid"), uuid)?;
                self.write(&format!("sys/devices/{place}/dm/name"), "a-name")?;
            }
            self.write(&format!("sys/devices/{place}/dev"), &format!("{number}\n"))?;
            self.write(&format!("dev/{}", name(place)), "")?;
            fs::create_dir_all(self.root().join("sys/class/block"))?;
            symlink(at(place), self.root().join("sys/class/block").join(name(place)))?;
            symlink(at(place), self.root().join("sys/dev/block").join(number))
        }

        /// One whose session's disk has partitions with encryption, a thin volume and RAID over them, and that has disks of its own.
        fn with_layers() -> io::Result<Self> {
            const DISK: &str = "platform/host2/session7/target2:0:0/2:0:0:1/block/sdb";
            let this = Self::new("iscsi_tcp")?;
            this.portal("persistent_", "10.0.0.1")?;
            for part in 1..=4 {
                this.device(&format!("8:{}", 16 + part), &format!("{DISK}/sdb{part}"), &[], None)?;
                this.write(&format!("sys/devices/{DISK}/sdb{part}/partition"), &format!("{part}\n"))?;
            }
            for (number, name) in [("254:0", "vda"), ("254:16", "vdb"), ("7:0", "loop0"), ("7:1", "loop1")] {
                this.device(number, &format!("virtual/block/{name}"), &[], None)?;
            }
            let at = |name: &str| format!("virtual/block/{name}");
            let part = |number: u8| format!("{DISK}/sdb{number}");
            let volume = format!("LVM-{}", "a".repeat(64));
            this.device("253:1", &at("dm-1"), &[&part(1)], Some("CRYPT-LUKS2-0-root"))?;
            this.device("253:2", &at("dm-2"), &[&part(2)], Some(&format!("{volume}-tpool")))?;
            this.device("253:3", &at("dm-3"), &[&at("dm-2")], Some(&volume))?;
            this.device("9:0", &at("md0"), &[&at("vda"), &part(3)], None)?;
            this.device("9:1", &at("md1"), &[], None)?;
            this.write("sys/devices/virtual/block/loop0/loop/backing_file", "/srv/image\n")?;
            this.write("sys/devices/virtual/block/loop1/loop/backing_file", "/home/image\n")?;
            let btrfs = this.root().join("sys/fs/btrfs/5f0c1b9a-0000-4000-8000-000000000000/devices");
            fs::create_dir_all(&btrfs)?;
            for (name, place) in [("vda", at("vda")), ("sdb4", part(4))] {
                symlink(this.root().join("sys/devices").join(place), btrfs.join(name))?;
            }
            Ok(this)
        }

        fn portal(&self, which: &str, address: &str) -> io::Result<()> {
            let connection = "sys/class/iscsi_connection/connection7:0";
            self.write(&format!("{connection}/{which}address"), &format!("{address}\n"))?;
            self.write(&format!("{connection}/{which}port"), "3260\n")
        }

        fn way(&self, major: u64, minor: u64) -> Result<Option<IscsiWay>, Obstacle> {
            IscsiWay::below(self.root(), makedev(major, minor))
        }
    }

    #[test]
    fn a_disk_of_a_session_is_found_with_what_is_mounted_of_it() -> io::Result<()> {
        let kernel = Kernel::new("iscsi_tcp")?;
        kernel.portal("persistent_", "10.0.0.1")?;
        kernel.portal("", "10.0.0.2")?;
        kernel.write("proc/1/mountinfo", "40 22 8:16 / /mnt/disks rw - ext4 /dev/sdb rw\n")?;
        let way = kernel.way(8, 16).expect("nothing in the way").expect("there");
        let [path] = &way.paths[..] else { panic!("{:?}", way.paths) };
        assert!(path.place.ends_with("session7/target2:0:0/2:0:0:1"), "{}", path.place.display());
        assert_eq!((path.address(), path.target.as_str()), (Some("2:0:0:1"), "iqn.2026-01.t:x"));
        assert_eq!((&way.mapped[..], &way.mounted), (&[][..], &Some(PathBuf::from("/mnt/disks"))));
        assert_eq!(
            path.portals,
            ["10.0.0.1:3260".parse().expect("one"), "10.0.0.2:3260".parse().expect("another")]
        );
        assert_eq!(kernel.way(8, 32), Ok(None), "no such device");
        Ok(())
    }

    /// Catches: a fence that deletes the disk which the host has booted from, since a domain has something on it too.
    #[test]
    fn a_disk_that_carries_the_hosts_own_system_is_left_alone() -> io::Result<()> {
        let kernel = Kernel::new("iscsi_tcp")?;
        kernel.portal("persistent_", "10.0.0.1")?;
        let partition = "sys/devices/platform/host2/session7/target2:0:0/2:0:0:1/block/sdb/sdb2";
        fs::create_dir_all(kernel.root().join(partition))?;
        symlink(kernel.root().join(partition), kernel.root().join("sys/dev/block/8:18"))?;
        kernel.write("proc/1/mountinfo", "22 1 8:18 / / rw - ext4 /dev/sdb2 rw\n")?;
        assert_eq!(kernel.way(8, 16), Err(Obstacle::OwnSystem(PathBuf::from("/"))));
        kernel.write("proc/1/mountinfo", "22 1 8:18 / /srv rw - ext4 /dev/sdb2 rw\n")?;
        assert!(kernel.way(8, 16).is_ok());
        Ok(())
    }

    /// Catches: a fence that deletes the disk under the running host, whose root lies there by encryption, a thin volume, RAID, a file on
    /// it, or a btrfs, whose mount has no device's number; or by what nobody can tell.
    #[test]
    fn a_disk_beneath_the_hosts_own_system_is_left_alone_whatever_lies_between() -> io::Result<()> {
        let kernel = Kernel::with_layers()?;
        let more = "40 22 8:17 / /srv rw - ext4 /dev/sdb1 rw\n41 22 254:16 / /home rw - ext4 /dev/vdb rw\n";
        for (root, is_on_it) in [
            ("253:1 / / rw - ext4 /dev/mapper/root rw", true),
            ("253:3 / / rw - xfs /dev/mapper/vg-root rw", true),
            ("9:0 / / rw - ext4 /dev/md0 rw", true),
            ("9:1 / / rw - ext4 /dev/md1 rw", true),
            ("7:0 / / ro - squashfs /dev/loop0 ro", true),
            ("8:99 / / rw - ext4 /dev/gone rw", true),
            ("0:40 /@ / rw - btrfs /dev/sdb2 rw", true),
            ("0:40 /@ / rw - btrfs /dev/dm-1 rw", true),
            ("0:40 /@ / rw - btrfs /dev/vda rw", true),
            ("0:40 /@ / rw - btrfs /dev/gone rw", true),
            ("0:40 /@ / rw - btrfs /dev/vdb rw", false),
            ("254:16 / / rw - ext4 /dev/vdb rw", false),
            ("7:1 / / ro - squashfs /dev/loop1 ro", false),
            ("0:41 / / rw - nfs4 s:/root rw", false),
            ("0:42 / / rw - tmpfs none rw", false),
        ] {
            kernel.write("proc/1/mountinfo", &format!("22 1 {root}\n{more}"))?;
            let obstacle = Obstacle::OwnSystem(PathBuf::from("/"));
            assert_eq!(kernel.way(8, 16).err(), is_on_it.then_some(obstacle), "{root}");
            let elsewhere = root.replacen(" / r", " /opt r", 1);
            kernel.write("proc/1/mountinfo", &format!("22 1 {elsewhere}\n{more}"))?;
            assert_eq!(kernel.way(8, 16).err(), None, "{elsewhere}");
        }
        Ok(())
    }

    /// Catches: a fence that takes its memory away from what runs on the host.
    #[test]
    fn a_disk_that_the_host_swaps_to_is_left_alone() -> io::Result<()> {
        let kernel = Kernel::with_layers()?;
        let mounts = "22 1 254:16 / / rw - ext4 /dev/vdb rw\n40 22 8:17 / /srv rw - ext4 /dev/sdb1 rw\n";
        kernel.write("proc/1/mountinfo", mounts)?;
        for (swap, path) in [
            ("/dev/sdb4                               partition", Some("/dev/sdb4")),
            ("/dev/dm-1                               partition", Some("/dev/dm-1")),
            ("/srv/swap\\040file                       file\t", Some("/srv/swap file")),
            ("/dev/sdx\\040(deleted)                   partition", Some("/dev/sdx (deleted)")),
            ("/dev/vda                                partition", None),
            ("/swap                                   file\t", None),
        ] {
            let list = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
            kernel.write("proc/swaps", &format!("{list}{swap}\t8388604\t\t0\t\t-2\n"))?;
            let obstacle = path.map(|path| Obstacle::OwnSwap(PathBuf::from(path)));
            assert_eq!(kernel.way(8, 16).err(), obstacle, "{swap}");
        }
        Ok(())
    }

    #[test]
    fn a_session_that_is_cut_off_names_the_portal_that_it_was_told() -> io::Result<()> {
        let kernel = Kernel::new("iscsi_tcp")?;
        // Reading where it is logged in fails then; here it is not there.
        kernel.portal("persistent_", "10.0.0.1")?;
        let way = kernel.way(8, 16).expect("nothing in the way").expect("there");
        assert_eq!(way.paths[0].portals, ["10.0.0.1:3260".parse().expect("an address")]);
        Ok(())
    }

    /// Each keeps the fencer from deleting a device whose requests may leave unseen. Catches: an adapter's session that counts as
    /// shown quiet.
    #[test]
    fn what_cannot_be_shown_quiet_has_its_reason() -> io::Result<()> {
        let adapter = Kernel::new("qla4xxx")?;
        adapter.portal("persistent_", "10.0.0.1")?;
        assert_eq!(adapter.way(8, 16), Err(Obstacle::ForeignDriver));
        let kernel = Kernel::new("iscsi_tcp")?;
        assert_eq!(kernel.way(253, 0), Err(Obstacle::NotOfSession));
        // A name is no address that a connection could be told by.
        kernel.portal("persistent_", "storage.example")?;
        let connection = PathBuf::from("/sys/class/iscsi_connection/connection7:0");
        assert_eq!(kernel.way(8, 16), Err(Obstacle::NoPortal(connection)));
        Ok(())
    }
}
