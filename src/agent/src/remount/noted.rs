//! What was noted of a storage ahead of a fence: a line each, and how each is brought back.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::Command;

use leasefence_transport::{HOST_MOUNTS, IscsiWay, Mount, NfsMount, mounts, read_list};

use super::file_system::FileSystemNote;
use super::mapped::MappedNote;
use super::mount::MountNote;
use super::scsi::ScsiNote;

/// In seconds: a mount of a server that does not answer gives way to the others.
const LONGEST_MOUNT: &str = "20";
/// Before the address of a SCSI device in the notes; the lines without a word of ours are the kernel's own about mounts.
const SCSI: &str = "scsi ";
/// Before a mapped device.
const MAPPED: &str = "mapped ";
/// Before a file system on a SCSI device.
const FILE_SYSTEM: &str = "fs ";
/// This process may have a mount namespace of its own, in which a mount would help nobody.
const HOST_NAMESPACE: &str = "--mount=/proc/1/ns/mnt";

/// What leads to a storage now: the kernel's lines about its mounts where it is NFS, and the addresses of its SCSI devices, the
/// file systems on these and the mapped devices over them, in the order in which they are brought back.
pub(super) fn lines_about(device: u64, mountinfo: &str) -> Vec<String> {
    let is_nfs =
        |line: &&str| mounts(line).any(|mount| mount.device == device && NfsMount::of(&mount).is_some());
    let mounted = mountinfo.lines().filter(is_nfs).map(str::to_owned);
    let way = IscsiWay::to(device).ok().flatten();
    let (paths, mapped) = way.map(|way| (way.paths, way.mapped)).unwrap_or_default();
    let scsi = paths.iter().filter_map(|path| Some(format!("{SCSI}{device} {}", path.address()?)));
    let on_disks = FileSystemNote::on(Path::new("/"), &paths, mountinfo).into_iter();
    let on_disks = on_disks.map(|note| format!("{FILE_SYSTEM}{device} {note}"));
    let maps = mapped.iter().rev().map(|map| format!("{MAPPED}{device} {}", MappedNote::of(map)));
    mounted.chain(scsi).chain(on_disks).chain(maps).collect()
}

/// Something that was noted.
pub(super) struct Noted {
    /// The device number that the storage had then.
    pub(super) storage: u64,
    pub(super) what: What,
}

/// What it is.
#[derive(Clone)]
pub(super) enum What {
    Mount(MountNote),
    Scsi(ScsiNote),
    FileSystem(FileSystemNote),
    Mapped(MappedNote),
}

/// How a look finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// As it was.
    There,
    /// It is there, and does not work as it did.
    Impaired,
    /// What it lies on was taken from under it.
    Lost,
    /// Somebody has taken it away, or the fencer has.
    Away,
}

impl Noted {
    /// A line of the notes; none for what is no such line.
    pub(super) fn read(line: &str) -> Option<Self> {
        if let Some((storage, at)) = note(SCSI, line) {
            return Some(Self { storage, what: What::Scsi(ScsiNote::read(at)) });
        }
        if let Some((storage, text)) = note(FILE_SYSTEM, line) {
            return Some(Self { storage, what: What::FileSystem(FileSystemNote::read(text)?) });
        }
        if let Some((storage, text)) = note(MAPPED, line) {
            return Some(Self { storage, what: What::Mapped(MappedNote::read(text)?) });
        }
        let mount = mounts(line).next()?;
        Some(Self { storage: mount.device, what: What::Mount(MountNote(mount)) })
    }

    /// The same for what would be brought back in the same place, of which people are not told each byte.
    pub(super) fn identity(&self) -> (Option<u64>, OsString) {
        let of_storage = matches!(self.what, What::Scsi(_)).then_some(self.storage);
        let point = match &self.what {
            What::Mount(MountNote(mount)) | What::FileSystem(FileSystemNote { mount, .. }) => {
                mount.point.clone()
            }
            What::Scsi(_) | What::Mapped(_) => self.to_string().into(),
        };
        (of_storage, point.into())
    }

    pub(super) fn presence(&self, mountinfo: &str) -> Presence {
        let there_or_away = |is_there| if is_there { Presence::There } else { Presence::Away };
        match &self.what {
            What::Mount(mount) => mount.presence(mountinfo),
            What::Scsi(scsi) => there_or_away(scsi.is_there()),
            What::FileSystem(file_system) => file_system.presence(mountinfo),
            What::Mapped(map) => there_or_away(map.is_there()),
        }
    }
}

impl What {
    /// May take as long as a server or a path does not answer.
    ///
    /// # Errors
    /// What keeps it away, in words.
    pub(super) fn bring_back(&self) -> Result<(), String> {
        match self {
            Self::Mount(mount) => mount.bring_back(),
            Self::Scsi(scsi) => scsi.bring_back(),
            Self::FileSystem(file_system) => file_system.bring_back(),
            Self::Mapped(map) => in_the_hosts_mounts(&map.command()).map(drop),
        }
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Mount(mount) => write!(f, "{}", mount.0.point.display()),
            What::Scsi(scsi) => write!(f, "SCSI device {}", scsi.at),
            What::FileSystem(file_system) => write!(f, "{}", file_system.mount.point.display()),
            What::Mapped(map) => write!(f, "mapped device {}", map.name),
        }
    }
}

/// Device number of the storage, and what follows.
fn note<'a>(word: &str, line: &'a str) -> Option<(u64, &'a str)> {
    let (device, rest) = line.strip_prefix(word)?.split_once(' ')?;
    Some((device.parse().ok()?, rest))
}

/// The host's mounts.
///
/// # Errors
/// Why they cannot be read, in words.
pub(super) fn host_list() -> Result<String, String> {
    read_list(Path::new(HOST_MOUNTS)).map_err(|error| format!("reading {HOST_MOUNTS}: {error}"))
}

/// What is seen at this place: the last mount there is. What waits to be mounted by systemd on demand is nothing.
pub(super) fn seen_at(point: &Path, mountinfo: &str) -> Option<Mount> {
    let last = mounts(mountinfo).filter(|mount| mount.point == point).last();
    last.filter(|mount| mount.fs_type != "autofs")
}

/// Runs a command that may have to wait for a server, for a while, and returns what it says.
///
/// # Errors
/// What it complains of.
pub(super) fn in_the_hosts_mounts(words: &[impl AsRef<OsStr>]) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args([LONGEST_MOUNT, "nsenter", HOST_NAMESPACE, "--"]).args(words);
    let output = command.output().map_err(|error| format!("running timeout and nsenter: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back() {
        let nfs = "40 22 0:50 / /mnt/disks rw,nosuid shared:9 - nfs4 s:/disks rw,vers=4.2,addr=10.0.0.1";
        let line = "41 22 8:18 / /mnt/local rw - ext4 /dev/sdb2 rw";
        let text = format!(
            "{nfs}\nscsi 2064 2:0:0:1\nfs 2064 2 naa.6001405 {line}\nscsi 64768 3:0:0:1\n\
             mapped 64768 mpath-36001 mpatha\nmapped 64768 LVM-x vg-disk\nnonsense\nfs 2064 nonsense\n"
        );
        let notes: Vec<Noted> = text.lines().filter_map(Noted::read).collect();
        let words: Vec<String> = notes.iter().map(ToString::to_string).collect();
        let devices = ["SCSI device 3:0:0:1", "mapped device mpatha", "mapped device vg-disk"];
        assert_eq!(words, [&["/mnt/disks", "SCSI device 2:0:0:1", "/mnt/local"][..], &devices].concat());
        let storages: Vec<u64> = notes.iter().map(|noted| noted.storage).collect();
        let number = nix::sys::stat::makedev(0, 50);
        assert_eq!(storages, [number, 2064, 2064, 64768, 64768, 64768]);
        assert_eq!(lines_about(number, &text), [nfs], "what is no mount is left out");
        assert!(lines_about(nix::sys::stat::makedev(0, 51), &text).is_empty());
    }

    /// Catches: one of two mounts that nobody brings back, since people are told the same name of both.
    #[test]
    fn places_are_told_apart_by_each_byte() {
        let note = |byte: &str| {
            Noted::read(&format!("40 22 0:50 / /mnt/\\{byte} rw - nfs4 s:/disks rw")).expect("a note")
        };
        assert_eq!(note("377").to_string(), note("376").to_string());
        assert_ne!(note("377").identity(), note("376").identity());
        assert_eq!(note("377").identity(), note("377").identity());
    }
}
