//! The way to a device of iSCSI sessions: a session's own disk or partition, or a mapped device over such.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Obstacle;
use super::mapped::{self, MappedDevice};
use crate::block::place_in_sysfs;
use crate::iscsi::target_of;
use crate::mounts::{HOST_MOUNTS, Mount, mounts_below};

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
        let mounts =
            mounts_below(root).map_err(|error| Obstacle::unreadable(Path::new(HOST_MOUNTS), &error))?;
        if let Some(point) = system_on(root, &mounts, &paths) {
            return Err(Obstacle::OwnSystem(point));
        }
        let mounted = mounts.into_iter().find(|mount| mount.device == device).map(|mount| mount.point);
        match &mounted {
            // It would have to be unmounted, which waits for whatever else it is of.
            Some(point) if !stack.devices.is_empty() => Err(Obstacle::MappedFileSystem(point.clone())),
            _ => Ok(Some(Self { mapped: stack.devices, paths, mounted })),
        }
    }
}

/// Where a part of this host's own system lies on one of these disks, whose deletion would take it away.
fn system_on(root: &Path, mounts: &[Mount], paths: &[IscsiPath]) -> Option<PathBuf> {
    let on_them = |mount: &Mount| {
        let Some(place) = place_in_sysfs(root, mount.device) else { return false };
        let beneath = mapped::stack(&place).map_or_else(|_| vec![place], |stack| stack.disks);
        beneath.iter().any(|disk| paths.iter().any(|path| disk.starts_with(&path.place)))
    };
    let mut system = mounts.iter().filter(|mount| mount.is_of_the_system());
    system.find(|mount| on_them(mount)).map(|mount| mount.point.clone())
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
