//! The mapped devices (device mapper) between a disk of a domain and the disks of iSCSI sessions, by sysfs alone.
//!
//! Three kinds pass each request on to what lies beneath, and keep nothing that leaves later: multipath, a partition of it, and a
//! linear or striped volume of LVM. A volume that does more (thin, snapshot, cache, mirror, integrity) lies on hidden volumes of
//! LVM's, which shows it; encryption has a prefix of its own. What is none of the three is an obstacle.

use std::fs;
use std::path::{Path, PathBuf};

use super::Obstacle;

/// Of LVM's own identity of a volume: `LVM-`, and group and volume in 32 letters each. Hidden ones have a suffix.
const VOLUME_LENGTH: usize = "LVM-".len() + 2 * 32;
/// Deeper stacks are nobody's: a volume on a partition on multipath has three.
const DEEPEST: u8 = 4;

/// What a mapped device does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// Chooses among several paths to one disk, and may keep requests while there is none (`queue_if_no_path`).
    Multipath,
    /// A partition of a multipath device.
    Partition,
    /// A volume of LVM that is linear or striped.
    Volume,
}

/// A mapped device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedDevice {
    /// Where sysfs describes it.
    pub place: PathBuf,
    /// Its name below `/dev/mapper`.
    pub name: String,
    /// What it is, as who made it says: the same after it was removed and made anew.
    pub uuid: String,
    /// What it does.
    pub mapping: Mapping,
}

impl MappedDevice {
    /// Whether it is there: the kernel gives its number to another one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        read(&self.place, "uuid") == Some(self.uuid.clone())
    }
}

/// The mapped devices from a device downwards, each once, and the places of the disks that they lie on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Stack {
    pub(super) devices: Vec<MappedDevice>,
    pub(super) disks: Vec<PathBuf>,
}

/// What lies between the device with this place in sysfs and its disks. A disk is its own.
///
/// # Errors
/// [`Obstacle::OtherMapping`].
pub(super) fn stack(place: &Path) -> Result<Stack, Obstacle> {
    let mut stack = Stack::default();
    stack.add(place, DEEPEST)?;
    Ok(stack)
}

impl Stack {
    fn add(&mut self, place: &Path, depth: u8) -> Result<(), Obstacle> {
        if !is_mapped(place) {
            if !self.disks.iter().any(|disk| disk == place) {
                self.disks.push(place.to_owned());
            }
            return Ok(());
        }
        if self.devices.iter().any(|device| device.place == place) {
            return Ok(());
        }
        let other = || Obstacle::OtherMapping(kernel_name(place));
        let beneath = slaves(place);
        let depth = depth.checked_sub(1).filter(|_| !beneath.is_empty()).ok_or_else(other)?;
        let (name, uuid) = read(place, "name").zip(read(place, "uuid")).ok_or_else(other)?;
        let mapping = mapping_of(&uuid, &beneath).ok_or_else(other)?;
        self.devices.push(MappedDevice { place: place.to_owned(), name, uuid, mapping });
        beneath.iter().try_for_each(|slave| self.add(slave, depth))
    }
}

fn mapping_of(uuid: &str, beneath: &[PathBuf]) -> Option<Mapping> {
    let below = |prefix: &str| {
        let is = |slave: &PathBuf| read(slave, "uuid").is_some_and(|uuid| uuid.starts_with(prefix));
        beneath.iter().any(is)
    };
    if uuid.starts_with("mpath-") {
        return (!beneath.iter().any(|slave| is_mapped(slave))).then_some(Mapping::Multipath);
    }
    if uuid.strip_prefix("part").is_some_and(|rest| rest.contains("-mpath-")) {
        return below("mpath-").then_some(Mapping::Partition);
    }
    let is_volume = uuid.starts_with("LVM-") && uuid.len() == VOLUME_LENGTH;
    (is_volume && !below("LVM-")).then_some(Mapping::Volume)
}

fn is_mapped(place: &Path) -> bool {
    place.join("dm").exists()
}

/// An attribute of a mapped device.
fn read(place: &Path, attribute: &str) -> Option<String> {
    let text = fs::read_to_string(place.join("dm").join(attribute)).ok()?;
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

fn slaves(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.join("slaves")).into_iter().flatten().flatten();
    let mut slaves: Vec<_> = entries.filter_map(|slave| fs::canonicalize(slave.path()).ok()).collect();
    slaves.sort_unstable();
    slaves
}

fn kernel_name(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Devices of a kernel, each with what it lies on.
    struct Devices(tempfile::TempDir);

    impl Devices {
        fn new() -> io::Result<Self> {
            Ok(Self(tempfile::tempdir()?))
        }

        fn place(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap_or_default().join(name)
        }

        fn disk(&self, name: &str) -> io::Result<()> {
            fs::create_dir_all(self.place(name))
        }

        fn mapped(&self, name: &str, uuid: &str, slaves: &[&str]) -> io::Result<()> {
            fs::create_dir_all(self.place(name).join("dm"))?;
            fs::create_dir_all(self.place(name).join("slaves"))?;
            fs::write(self.place(name).join("dm/uuid"), format!("{uuid}\n"))?;
            fs::write(self.place(name).join("dm/name"), format!("name-of-{name}\n"))?;
            slaves
                .iter()
                .try_for_each(|slave| symlink(self.place(slave), self.place(name).join("slaves").join(slave)))
        }

        /// Names from the top, and of the disks.
        fn stack(&self, name: &str) -> Result<(Vec<Mapping>, Vec<String>), Obstacle> {
            let stack = stack(&self.place(name))?;
            let disks = stack.disks.iter().map(|disk| kernel_name(disk)).collect();
            Ok((stack.devices.iter().map(|device| device.mapping).collect(), disks))
        }
    }

    fn volume(letter: char) -> String {
        format!("LVM-{}", String::from(letter).repeat(64))
    }

    #[test]
    fn a_volume_on_a_partition_of_multipath_leads_to_the_disks_of_all_paths() -> io::Result<()> {
        let devices = Devices::new()?;
        for disk in ["sda", "sdb", "sdc"] {
            devices.disk(disk)?;
        }
        devices.mapped("dm-0", "mpath-36001405", &["sda", "sdb"])?;
        devices.mapped("dm-1", "part1-mpath-36001405", &["dm-0"])?;
        devices.mapped("dm-2", &volume('a'), &["dm-1", "sdc"])?;
        let all = (
            vec![Mapping::Volume, Mapping::Partition, Mapping::Multipath],
            ["sda", "sdb", "sdc"].map(str::to_owned).to_vec(),
        );
        assert_eq!(devices.stack("dm-2"), Ok(all));
        assert_eq!(devices.stack("sdc"), Ok((Vec::new(), vec!["sdc".to_owned()])));
        let top = stack(&devices.place("dm-2")).expect("known").devices.remove(0);
        assert_eq!((top.name.as_str(), top.is_there()), ("name-of-dm-2", true));
        devices.mapped("dm-2", &volume('b'), &[]).ok();
        assert!(!top.is_there(), "another one has its number");
        Ok(())
    }

    /// Each keeps requests of its own, writes by itself, or is nobody knows what. Catches: one that counts as shown quiet.
    #[test]
    fn what_does_more_than_pass_requests_on_is_an_obstacle() -> io::Result<()> {
        let devices = Devices::new()?;
        devices.disk("sda")?;
        devices.mapped("dm-0", &format!("{}-tpool", volume('p')), &["sda"])?;
        devices.mapped("dm-1", &volume('t'), &["dm-0"])?;
        devices.mapped("dm-2", "CRYPT-LUKS2-00-name", &["sda"])?;
        devices.mapped("dm-3", "", &["sda"])?;
        devices.mapped("dm-4", "mpath-1", &["dm-2"])?;
        devices.mapped("dm-5", &volume('l'), &["dm-2"])?;
        devices.mapped("dm-6", &volume('e'), &[])?;
        for (device, obstacle) in [
            ("dm-0", "dm-0"),
            ("dm-1", "dm-1"),
            ("dm-2", "dm-2"),
            ("dm-3", "dm-3"),
            ("dm-4", "dm-4"),
            ("dm-5", "dm-2"),
            ("dm-6", "dm-6"),
        ] {
            assert_eq!(devices.stack(device), Err(Obstacle::OtherMapping(obstacle.to_owned())), "{device}");
        }
        Ok(())
    }
}
