//! A block device, and what lies beneath it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{major, minor};

use crate::iscsi::IscsiSession;
use crate::way::scsi_device_of;

/// Deeper stacks of devices (multipath below LVM below a partition) are nobody's.
const DEEPEST: u8 = 8;

/// A block device: the iSCSI sessions beneath it, by however many layers (multipath, LVM, RAID), and what else is there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockDevice {
    /// Each session once.
    pub sessions: Vec<IscsiSession>,
    /// The kernel's names of the devices beneath that are of no kind known here: nothing is said of their settings.
    pub unknown: Vec<String>,
}

impl BlockDevice {
    /// The device that `path` names; none where that is something else, or nothing.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device())?;
        Some(Self::read(Path::new("/"), metadata.rdev()))
    }

    /// The device with this number, as the files below `root` describe it.
    fn read(root: &Path, device: u64) -> Self {
        let beneath = Beneath::below(root, device)
            .unwrap_or_else(|| Beneath { unknown: BTreeSet::from([number(device)]), ..Beneath::default() });
        Self {
            sessions: beneath.sessions.iter().map(|session| IscsiSession::read(root, *session)).collect(),
            unknown: beneath.unknown.into_iter().collect(),
        }
    }

    pub(crate) fn advice(&self, ttl: Duration) -> Vec<String> {
        let mut advice: Vec<_> = self.sessions.iter().flat_map(|session| session.advice(ttl)).collect();
        if !self.unknown.is_empty() {
            advice.push(format!(
                "not judged: the lease's block device lies on {}, which is no iSCSI session. Whether a disturbance shorter \
                 than the ttl of {ttl:?} ends the lease, and how late a write of a fenced host may land, is not known.",
                self.unknown.join(", ")
            ));
        }
        advice
    }
}

/// What a block device lies on, through however many layers. Told by sysfs alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Beneath {
    /// The numbers of the iSCSI sessions.
    pub sessions: BTreeSet<u32>,
    /// Where sysfs describes their disks (LUNs).
    pub disks: BTreeSet<PathBuf>,
    /// The kernel's names of the devices that are of no session.
    pub unknown: BTreeSet<String>,
}

impl Beneath {
    /// What lies beneath the device with this number; none when there is no such device, or too many layers.
    #[must_use]
    pub fn device(device: u64) -> Option<Self> {
        Self::below(Path::new("/"), device)
    }

    pub(crate) fn below(root: &Path, device: u64) -> Option<Self> {
        Self::at(&place_in_sysfs(root, device)?)
    }

    /// Of the device with this place in sysfs; none when there are too many layers.
    pub(crate) fn at(place: &Path) -> Option<Self> {
        let mut this = Self::default();
        this.add(place, DEEPEST)?;
        Some(this)
    }

    /// True while it lies on a device that is put together of others (device mapper, RAID) and has none now, or does not name them:
    /// its disks were deleted beneath it, say. Then nobody can tell what it is.
    #[must_use]
    pub fn is_hollow(&self) -> bool {
        self.unknown.iter().any(|name| is_put_together(name))
    }

    /// A partition lies below its disk's place, and one of a device with layers beneath has them at its disk.
    fn add(&mut self, place: &Path, depth: u8) -> Option<()> {
        if let Some(session) = place.components().find_map(session_in) {
            self.sessions.insert(session);
            self.disks.extend(scsi_device_of(place).map(|(disk, _)| disk));
            return Some(());
        }
        let whole = if place.join("partition").exists() { place.parent().unwrap_or(place) } else { place };
        let slaves: Vec<PathBuf> = fs::read_dir(whole.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|slave| fs::canonicalize(slave.path()).ok())
            .collect();
        if slaves.is_empty() {
            self.unknown.insert(whole.file_name().unwrap_or_default().to_string_lossy().into_owned());
            return Some(());
        }
        let depth = depth.checked_sub(1)?;
        slaves.iter().try_for_each(|slave| self.add(slave, depth))
    }
}

/// Where sysfs, below `root`, describes the block device with this number; none when there is no such device. One that was deleted
/// is none, also while something still has it open or mounted.
#[must_use]
pub fn place_in_sysfs(root: &Path, device: u64) -> Option<PathBuf> {
    fs::canonicalize(root.join("sys/dev/block").join(number(device))).ok()
}

/// Whether a device of this name of the kernel's consists of others.
pub(crate) fn is_put_together(name: &str) -> bool {
    name.starts_with("dm-") || name.starts_with("md")
}

fn number(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

fn session_in(part: Component<'_>) -> Option<u32> {
    part.as_os_str().to_str()?.strip_prefix("session")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::makedev;

    use super::*;

    const TTL: Duration = Duration::from_secs(12);

    /// Catches: a volume whose disks a fence has deleted, taken for a local one, or for one that lies partly on something else: no fence
    /// of its host has a proof then.
    #[test]
    fn a_mapped_device_whose_disks_are_deleted_is_hollow() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let devices = root.path().join("sys/devices");
        let make = |place: &str, slaves: &[&str]| {
            fs::create_dir_all(devices.join(place).join("slaves"))?;
            slaves.iter().try_for_each(|slave| {
                symlink(devices.join(slave), devices.join(place).join("slaves").join(slave.replace('/', "-")))
            })
        };
        let (first, second) = ("host2/session3/2:0:0:0/block/sda", "host3/session4/3:0:0:0/block/sdb");
        make(first, &[])?;
        make(second, &[])?;
        make("virtual/block/dm-0", &[first])?;
        make("virtual/block/dm-1", &[second])?;
        make("virtual/block/dm-2", &["virtual/block/dm-0", "virtual/block/dm-1"])?;
        make("pci/block/sdc", &[])?;
        make("virtual/block/dm-3", &["pci/block/sdc"])?;
        let hollow = |place: &str| Beneath::at(&devices.join(place)).unwrap_or_default().is_hollow();
        let all = ["virtual/block/dm-0", "virtual/block/dm-2", "virtual/block/dm-3", "pci/block/sdc"];
        assert_eq!(all.map(hollow), [false; 4]);
        fs::remove_dir_all(devices.join(first))?;
        assert_eq!(all.map(hollow), [true, true, false, false]);
        Ok(())
    }

    /// A volume on a multipath device of two sessions and on a local disk's partition.
    #[test]
    fn all_sessions_beneath_a_stack_of_devices_are_judged_and_the_rest_is_named() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let root = root.path();
        let devices = root.join("sys/devices");
        let make = |place: &str, slaves: &[&str]| {
            fs::create_dir_all(devices.join(place).join("slaves"))?;
            slaves.iter().try_for_each(|slave| {
                let name = Path::new(slave).file_name().unwrap_or_default();
                symlink(devices.join(slave), devices.join(place).join("slaves").join(name))
            })
        };
        let (first, second) =
            ("host2/session3/target2:0:0/2:0:0:0/block/sda", "host3/session4/target3:0:0/3:0:0:0/block/sdb");
        make(first, &[])?;
        make(second, &[])?;
        make("pci/block/nvme0n1/nvme0n1p1", &[])?;
        fs::write(devices.join("pci/block/nvme0n1/nvme0n1p1/partition"), "1")?;
        make("virtual/block/dm-0", &[first, second])?;
        make("virtual/block/dm-1", &["virtual/block/dm-0", "pci/block/nvme0n1/nvme0n1p1"])?;
        fs::create_dir_all(root.join("sys/dev/block"))?;
        for (number, place) in
            [("8:0", first), ("253:0", "virtual/block/dm-0"), ("253:1", "virtual/block/dm-1")]
        {
            symlink(devices.join(place), root.join("sys/dev/block").join(number))?;
        }
        for session in [3, 4] {
            let connection = root.join(format!("sys/class/iscsi_connection/connection{session}:0"));
            fs::create_dir_all(&connection)?;
            fs::write(connection.join("ping_tmo"), "60")?;
        }
        for (major, minor, sessions, unknown) in
            [(8, 0, 1, vec![]), (253, 0, 2, vec![]), (253, 1, 2, vec!["nvme0n1"]), (9, 9, 0, vec!["9:9"])]
        {
            let beneath = Beneath::below(root, makedev(major, minor)).unwrap_or_default();
            assert_eq!(beneath.disks.len(), sessions);
            let device = BlockDevice::read(root, makedev(major, minor));
            assert_eq!(
                (device.sessions.len(), &device.unknown),
                (sessions, &unknown.iter().map(|name| (*name).to_owned()).collect())
            );
            let advice = device.advice(TTL);
            assert_eq!(advice.len(), sessions + unknown.len(), "{advice:?}");
            assert_eq!(
                advice.iter().filter(|advice| advice.starts_with("not judged: ")).count(),
                unknown.len()
            );
        }
        Ok(())
    }
}
