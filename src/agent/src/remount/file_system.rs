//! A file system on a disk of an iSCSI session. The fencer deletes the disk and leaves the mount, which fails whatever is asked of it
//! from then on: it is taken off, and what lies on the disk that has come back is mounted anew.
//!
//! Only what `/etc/fstab` mounts at each start is mounted, which is what a reboot would do. Another host may have been given the
//! file system meanwhile, since this one has said that it is fenced: most file systems bear one host alone.

use std::fmt;
use std::fs;
use std::path::Path;

use leasefence_transport::{HOST_MOUNTS, IscsiPath, Mount, mounts, place_in_sysfs, scsi_device_of};
use nix::sys::stat::major;

use super::noted::in_the_hosts_mounts;

const ROOT: &str = "/";
pub(super) const FSTAB: &str = "/etc/fstab";

/// Where a file system was mounted, and on what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FileSystemNote {
    part: Part,
    pub(super) mount: Mount,
    /// The kernel's own line about the mount.
    line: String,
}

/// A disk or partition, whatever its name and its number are now.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    /// Zero for a whole disk.
    number: u32,
    /// What the disk says that it is, or its address where it says nothing; without a blank.
    disk: String,
}

impl Part {
    /// What has this place in sysfs; none for what is of no session.
    fn at(place: &Path) -> Option<Self> {
        let (scsi, _) = scsi_device_of(place)?;
        let number = fs::read_to_string(place.join("partition")).ok();
        let wwid = fs::read_to_string(scsi.join("wwid")).unwrap_or_default();
        let words: Vec<&str> = wwid.split_whitespace().collect();
        let address = || scsi.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Some(Self {
            number: number.and_then(|number| number.trim().parse().ok()).unwrap_or_default(),
            disk: if words.is_empty() { address() } else { words.join("_") },
        })
    }
}

/// What there is in its place.
#[derive(PartialEq, Eq, Debug)]
enum Standing {
    /// It, on a disk that is there.
    Works,
    /// A mount of a disk that is gone.
    Dead,
    /// Nothing.
    Away,
    /// What is in its way, in words.
    Hindered(&'static str),
}

impl FileSystemNote {
    /// What is mounted of these disks and their partitions, in the order in which it was.
    pub(super) fn on(root: &Path, paths: &[IscsiPath], mountinfo: &str) -> Vec<Self> {
        let note = |line: &str| {
            let mount = mounts(line).next()?;
            let place = place_in_sysfs(root, mount.device)?;
            // A mapped device over them has its own place elsewhere.
            paths.iter().any(|path| place.starts_with(&path.place)).then_some(())?;
            Some(Self { part: Part::at(&place)?, mount, line: line.to_owned() })
        };
        mountinfo.lines().filter_map(note).collect()
    }

    /// What `Display` has written.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (number, rest) = text.split_once(' ')?;
        let (disk, line) = rest.split_once(' ')?;
        let part = Part { number: number.parse().ok()?, disk: disk.to_owned() };
        Some(Self { part, mount: mounts(line).next()?, line: line.to_owned() })
    }

    /// Whether it is mounted, and its disk is there.
    pub(super) fn is_there(&self) -> bool {
        self.standing(Path::new(ROOT), &host_list()) == Standing::Works
    }

    /// Takes a dead mount off, and mounts it anew.
    ///
    /// # Errors
    /// What keeps it away, in words.
    pub(super) fn bring_back(&self) -> Result<(), String> {
        let root = Path::new(ROOT);
        let mut list = host_list();
        if self.standing(root, &list) == Standing::Dead {
            if let Some(mount) = self.alive_within(root, &list) {
                return Err(format!("its disk is gone, and {} is mounted within it", mount.point.display()));
            }
            // Whoever still has something of it open keeps that, and only errors come of it.
            self.run(&["umount", "-l"])?;
            list = host_list();
        }
        match self.standing(root, &list) {
            Standing::Works => Ok(()),
            Standing::Dead => Err("its disk is gone".to_owned()),
            Standing::Hindered(why) => Err(why.to_owned()),
            Standing::Away => {
                self.mounted_at_start(&fs::read_to_string(FSTAB).unwrap_or_default())?;
                self.run(&["mount"])?;
                // With `nofail` there is no error when there is no disk.
                match self.standing(root, &host_list()) {
                    Standing::Works => Ok(()),
                    Standing::Hindered(why) => Err(why.to_owned()),
                    Standing::Away | Standing::Dead => Err("there is no disk of it".to_owned()),
                }
            }
        }
    }

    /// Whether it may be mounted by us.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) fn mounted_at_start(&self, fstab: &str) -> Result<(), String> {
        let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let mut fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        let by_hand = "mount it by hand, if no other host has it mounted, or reboot";
        match fields.find(|fields| fields.get(1).is_some_and(|point| Path::new(point) == self.mount.point)) {
            None => Err(format!("{FSTAB} does not name it: {by_hand}")),
            Some(fields)
                if fields.get(3).is_some_and(|options| options.split(',').any(|o| o == "noauto")) =>
            {
                Err(format!("{FSTAB} says noauto: {by_hand}"))
            }
            Some(fields) if fields.first().is_some_and(|device| device.starts_with("/dev/sd")) => Err(
                format!("{FSTAB} names it by {}, which may be another disk now: name its UUID", fields[0]),
            ),
            Some(_) => Ok(()),
        }
    }

    fn standing(&self, root: &Path, mountinfo: &str) -> Standing {
        // The last one at a point is the one that is seen. What waits to be mounted by systemd on demand is nothing.
        let last = mounts(mountinfo).filter(|mount| mount.point == self.mount.point).last();
        let Some(mount) = last.filter(|mount| mount.fs_type != "autofs") else { return Standing::Away };
        if is_dead(root, &mount) {
            return Standing::Dead;
        }
        let part = place_in_sysfs(root, mount.device).and_then(|place| Part::at(&place));
        match part {
            Some(part) if part != self.part => Standing::Hindered("another disk is mounted there"),
            None => Standing::Hindered("something else is mounted there"),
            Some(_) if is_read_only(&mount) && !is_read_only(&self.mount) => {
                Standing::Hindered("it is mounted read-only")
            }
            Some(_) => Standing::Works,
        }
    }

    /// What would go with it that works.
    fn alive_within(&self, root: &Path, mountinfo: &str) -> Option<Mount> {
        let point = &self.mount.point;
        let within = |mount: &Mount| mount.point != *point && mount.point.starts_with(point);
        mounts(mountinfo).find(|mount| within(mount) && !is_dead(root, mount))
    }

    fn run(&self, words: &[&str]) -> Result<(), String> {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.push(self.mount.point.to_string_lossy().into_owned());
        in_the_hosts_mounts(&words)
    }
}

impl fmt::Display for FileSystemNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.part.number, self.part.disk, self.line)
    }
}

/// What lies on no block device has a number of the major 0.
fn is_dead(root: &Path, mount: &Mount) -> bool {
    major(mount.device) != 0 && place_in_sysfs(root, mount.device).is_none()
}

fn is_read_only(mount: &Mount) -> bool {
    [&mount.flags, &mount.options].into_iter().any(|options| options.split(',').any(|option| option == "ro"))
}

fn host_list() -> String {
    fs::read_to_string(HOST_MOUNTS).unwrap_or_default()
}

#[cfg(test)]
mod tests;
