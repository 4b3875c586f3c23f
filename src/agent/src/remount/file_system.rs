//! A file system on a disk of an iSCSI session. The fencer deletes the disk and leaves the mount, which fails whatever is asked of it
//! from then on: it is taken off, and what lies on the disk that has come back is mounted anew.
//!
//! Only what `/etc/fstab` mounts at each start is mounted, which is what a reboot would do. Another host may have been given the
//! file system meanwhile, since this one has said that it is fenced: most file systems bear one host alone.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use leasefence_transport::{IscsiPath, Mount, mount_of, mounts, place_in_sysfs, scsi_device_of};
use nix::sys::stat::major;

use super::fstab::{Entry, FSTAB, host_fstab};
use super::noted::{Presence, host_list, in_the_hosts_mounts, seen_at};

const ROOT: &str = "/";

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
    /// What has this place in sysfs; none for what is of no session, or is just being deleted.
    fn at(place: &Path) -> Option<Self> {
        let (scsi, _) = scsi_device_of(place)?;
        let number = fs::read_to_string(place.join("partition")).ok();
        if is_being_deleted(&scsi) {
            return None;
        }
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
    /// It, and it cannot be written to as it could.
    ReadOnly,
    /// Nothing.
    Away,
    /// What is in its way, in words.
    Hindered(&'static str),
}

impl Standing {
    fn in_words(&self) -> Result<(), String> {
        let why = match self {
            Self::Works => return Ok(()),
            Self::Dead => "its disk is gone",
            Self::ReadOnly => "it is mounted read-only",
            Self::Away => "nothing is mounted there yet",
            Self::Hindered(why) => why,
        };
        Err(why.to_owned())
    }
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

    /// How a look finds it.
    pub(super) fn presence(&self, mountinfo: &str) -> Presence {
        match self.standing(Path::new(ROOT), mountinfo) {
            Standing::Works => Presence::There,
            Standing::ReadOnly => Presence::Impaired,
            Standing::Dead => Presence::Lost,
            Standing::Away | Standing::Hindered(_) => Presence::Away,
        }
    }

    /// Takes a dead mount off, and mounts it anew.
    ///
    /// # Errors
    /// What keeps it away, in words.
    pub(super) fn bring_back(&self) -> Result<(), String> {
        let root = Path::new(ROOT);
        let mut list = host_list()?;
        if self.standing(root, &list) == Standing::Dead {
            if let Some(mount) = self.alive_within(root, &list) {
                return Err(format!("its disk is gone, and {} is mounted within it", mount.point.display()));
            }
            // Whoever still has something of it open keeps that, and only errors come of it.
            self.run(&["umount", "-l"])?;
            list = host_list()?;
        }
        match self.standing(root, &list) {
            Standing::Away => self.mount_anew(root),
            standing => standing.in_words(),
        }
    }

    /// The source is looked at before, since what is mounted may be written to at once; and after, since it may have changed.
    fn mount_anew(&self, root: &Path) -> Result<(), String> {
        let entry = self.mounted_at_start(&host_fstab())?;
        // With `nofail` there would be no error either when there is no disk.
        let part = part_named_by(root, &entry)?;
        if part != self.part {
            return Err(format!("{FSTAB} names it by {}, which is another disk", entry.source.display()));
        }
        self.run(&["mount"])?;
        let standing = self.standing(root, &host_list()?);
        if let Standing::Hindered(_) = standing {
            self.run(&["umount"])?;
        }
        standing.in_words()
    }

    /// What mounts it at each start, which we may do as well.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) fn mounted_at_start(&self, fstab: &str) -> Result<Entry, String> {
        let by_hand = "mount it by hand, if no other host has it mounted, or reboot";
        match Entry::about(&self.mount.point, fstab) {
            None => Err(format!("{FSTAB} does not name it: {by_hand}")),
            Some(entry) if entry.has("noauto") => Err(format!("{FSTAB} says noauto: {by_hand}")),
            Some(Entry { source, .. }) if source.as_bytes().starts_with(b"/dev/sd") => Err(format!(
                "{FSTAB} names it by {}, which may be another disk now: name its UUID",
                source.display()
            )),
            Some(entry) => Ok(entry),
        }
    }

    fn standing(&self, root: &Path, mountinfo: &str) -> Standing {
        let Some(mount) = seen_at(&self.mount.point, mountinfo) else { return Standing::Away };
        if is_dead(root, &mount) {
            return Standing::Dead;
        }
        let part = place_in_sysfs(root, mount.device).and_then(|place| Part::at(&place));
        match part {
            Some(part) if part != self.part => Standing::Hindered("another disk is mounted there"),
            None => Standing::Hindered("something else is mounted there"),
            Some(_) if mount.is_read_only() && !self.mount.is_read_only() => Standing::ReadOnly,
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
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).chain([self.mount.point.as_os_str()]).collect();
        in_the_hosts_mounts(&words).map(drop)
    }
}

impl fmt::Display for FileSystemNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.part.number, self.part.disk, self.line)
    }
}

/// What lies on no block device has a number of the major 0.
fn is_dead(root: &Path, mount: &Mount) -> bool {
    let is_gone = |place: &Path| scsi_device_of(place).is_some_and(|(scsi, _)| is_being_deleted(&scsi));
    major(mount.device) != 0 && place_in_sysfs(root, mount.device).is_none_or(|place| is_gone(&place))
}

/// The kernel takes what a SCSI device says of itself away before the disk, which may have to wait for its last request: it must not be
/// noted by its address then, as a disk that says nothing is.
fn is_being_deleted(scsi: &Path) -> bool {
    fs::symlink_metadata(scsi.join("wwid")).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What a line of fstab leads to now.
///
/// # Errors
/// That it leads to nothing, in words.
fn part_named_by(root: &Path, entry: &Entry) -> Result<Part, String> {
    if !entry.is_bind() {
        return disk_named(root, &entry.source).ok_or_else(|| "there is no disk of it".to_owned());
    }
    // A directory of a file system that has to be mounted before.
    let lies_on = mount_of(&host_list()?, Path::new(&entry.source));
    let part = lies_on.and_then(|mount| Part::at(&place_in_sysfs(root, mount.device)?));
    part.ok_or_else(|| {
        format!("{FSTAB} binds it to {}, and no disk is mounted there yet", entry.source.display())
    })
}

/// What a field of fstab leads to: `UUID=…`, or a path; none where there is no such disk, or it is of no session.
fn disk_named(root: &Path, source: &OsStr) -> Option<Part> {
    let found = match Path::new(source).is_absolute() {
        true => source.to_owned(),
        false => in_the_hosts_mounts(&[OsStr::new("findfs"), source]).ok()?.into(),
    };
    let device = fs::metadata(found).ok()?.rdev();
    Part::at(&place_in_sysfs(root, device)?)
}

#[cfg(test)]
mod tests;
