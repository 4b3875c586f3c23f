//! What was noted of a storage ahead of a fence: a line each, and how each is brought back.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use leasefence_transport::{HOST_MOUNTS, IscsiWay, Mount, NfsMount, mounts};

use super::file_system::FileSystemNote;
use super::mapped::MappedNote;

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
pub(super) fn lines_about(device: u64, mountinfo: &str) -> String {
    let is_nfs =
        |line: &&str| mounts(line).any(|mount| mount.device == device && NfsMount::of(&mount).is_some());
    let mounted = mountinfo.lines().filter(is_nfs).map(str::to_owned);
    let way = IscsiWay::to(device).ok().flatten();
    let (paths, mapped) = way.map(|way| (way.paths, way.mapped)).unwrap_or_default();
    let scsi = paths.iter().filter_map(|path| Some(format!("{SCSI}{device} {}", path.address()?)));
    let on_disks = FileSystemNote::on(Path::new("/"), &paths, mountinfo).into_iter();
    let on_disks = on_disks.map(|note| format!("{FILE_SYSTEM}{device} {note}"));
    let maps = mapped.iter().rev().map(|map| format!("{MAPPED}{device} {}", MappedNote::of(map)));
    mounted.chain(scsi).chain(on_disks).chain(maps).fold(String::new(), |text, line| text + &line + "\n")
}

/// Something that was noted.
pub(super) enum Noted {
    Mount(Mount),
    /// A SCSI device: host, channel, target, LUN.
    Scsi(String),
    FileSystem(FileSystemNote),
    Mapped(MappedNote),
}

impl Noted {
    pub(super) fn read(text: &str) -> impl Iterator<Item = Self> {
        text.lines().filter_map(|line| {
            if let Some((_, at)) = note(SCSI, line) {
                return Some(Self::Scsi(at.to_owned()));
            }
            if let Some((_, text)) = note(FILE_SYSTEM, line) {
                return FileSystemNote::read(text).map(Self::FileSystem);
            }
            match note(MAPPED, line) {
                Some((_, text)) => MappedNote::read(text).map(Self::Mapped),
                None => mounts(line).next().map(Self::Mount),
            }
        })
    }

    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Mount(wanted) => {
                let there = fs::read_to_string(HOST_MOUNTS).unwrap_or_default();
                mounts(&there).any(|mount| mount.point == wanted.point)
            }
            // The fencer ends connections, which iscsid makes anew, and no session. One that is gone was logged out by somebody who
            // may have meant it, and nothing of ours may log in where he did not ask for it: it is not waited for. Without the disk no
            // barrier of its domains is acknowledged, and no QEMU opens it. One that was begun anew has another host, and brings its
            // devices itself.
            Self::Scsi(at) => {
                Path::new("/sys/class/scsi_device").join(at).exists() || !scan_file(at).exists()
            }
            Self::FileSystem(file_system) => file_system.is_there(),
            Self::Mapped(map) => map.is_there(),
        }
    }

    pub(super) fn bring_back(&self) -> Result<(), String> {
        match self {
            Self::Mount(mount) => mount_one(mount),
            Self::Scsi(at) => {
                let numbers = at.split(':').skip(1).collect::<Vec<_>>().join(" ");
                fs::write(scan_file(at), numbers).map_err(|error| error.to_string())
            }
            Self::FileSystem(file_system) => file_system.bring_back(),
            Self::Mapped(map) => in_the_hosts_mounts(&map.command()),
        }
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(mount) => write!(f, "{}", mount.point.display()),
            Self::Scsi(at) => write!(f, "SCSI device {at}"),
            Self::FileSystem(file_system) => write!(f, "{}", file_system.mount.point.display()),
            Self::Mapped(map) => write!(f, "mapped device {}", map.name),
        }
    }
}

/// What is brought back now. The kernel and udev take a moment for a disk that was scanned for: the file systems wait for the next
/// look.
pub(super) fn due(mut missing: Vec<Noted>) -> Vec<Noted> {
    if missing.iter().any(|noted| matches!(noted, Noted::Scsi(_))) {
        missing.retain(|noted| !matches!(noted, Noted::FileSystem(_)));
    }
    missing
}

/// Device number of the storage, and what follows.
fn note<'a>(word: &str, line: &'a str) -> Option<(u64, &'a str)> {
    let (device, rest) = line.strip_prefix(word)?.split_once(' ')?;
    Some((device.parse().ok()?, rest))
}

/// The lines by storage.
pub(super) fn read_notes(text: &str) -> BTreeMap<u64, String> {
    let mut notes: BTreeMap<u64, String> = BTreeMap::new();
    for line in text.lines() {
        let ours = [SCSI, FILE_SYSTEM, MAPPED].into_iter().find_map(|word| note(word, line));
        let ours = ours.map(|(device, _)| device);
        let device = ours.or_else(|| mounts(line).next().map(|mount| mount.device));
        if let Some(device) = device {
            let lines = notes.entry(device).or_default();
            lines.push_str(line);
            lines.push('\n');
        }
    }
    notes
}

fn scan_file(scsi: &str) -> PathBuf {
    let host = scsi.split(':').next().unwrap_or_default();
    PathBuf::from(format!("/sys/class/scsi_host/host{host}/scan"))
}

/// As /etc/fstab says where it knows the mount, and else with the options that it had.
fn mount_one(mount: &Mount) -> Result<(), String> {
    let mut words = vec!["mount".to_owned()];
    if !is_in_fstab(&fs::read_to_string("/etc/fstab").unwrap_or_default(), &mount.point) {
        let options = format!("{},{}", mount.options, mount.flags);
        words.extend(["-t".into(), mount.fs_type.clone(), "-o".into(), options, mount.source.clone()]);
    }
    words.push(mount.point.to_string_lossy().into_owned());
    in_the_hosts_mounts(&words)
}

/// Runs a command that may have to wait for a server, for a while.
pub(super) fn in_the_hosts_mounts(words: &[String]) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.args([LONGEST_MOUNT, "nsenter", HOST_NAMESPACE, "--"]).args(words);
    let output = command.output().map_err(|error| format!("running timeout and nsenter: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn is_in_fstab(fstab: &str, point: &Path) -> bool {
    let fields = fstab.lines().map(|line| line.split_whitespace().nth(1));
    fields.flatten().any(|field| Path::new(field) == point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back_by_storage() {
        let nfs = "40 22 0:50 / /mnt/disks rw,nosuid shared:9 - nfs4 s:/disks rw,vers=4.2,addr=10.0.0.1\n";
        let line = "41 22 8:18 / /mnt/local rw - ext4 /dev/sdb2 rw";
        let scsi = format!("scsi 2064 2:0:0:1\nfs 2064 2 naa.6001405 {line}\n");
        let maps = "scsi 64768 3:0:0:1\nmapped 64768 mpath-36001 mpatha\nmapped 64768 LVM-x vg-disk\n";
        let text = format!("{nfs}{scsi}{maps}nonsense\nfs 2064 nonsense\n");
        let notes = read_notes(&text);
        assert_eq!(notes.keys().copied().collect::<Vec<_>>(), [nix::sys::stat::makedev(0, 50), 2064, 64768]);
        assert_eq!(notes.get(&64768).map(String::as_str), Some(maps));
        assert!(notes.get(&2064).is_some_and(|lines| lines.starts_with(&scsi)), "{notes:?}");
        assert_eq!(notes.values().next().map(String::as_str), Some(nfs));
        let words: Vec<String> = Noted::read(&text).map(|noted| noted.to_string()).collect();
        let devices = ["SCSI device 3:0:0:1", "mapped device mpatha", "mapped device vg-disk"];
        assert_eq!(words, [&["/mnt/disks", "SCSI device 2:0:0:1", "/mnt/local"][..], &devices].concat());
        assert_eq!(lines_about(nix::sys::stat::makedev(0, 50), &text), nfs, "what is no mount is left out");
        assert_eq!(lines_about(nix::sys::stat::makedev(0, 51), &text), "");
    }

    /// Catches: a mount that is tried before its disk is known, and one that systemd takes off again since udev does not know the disk.
    #[test]
    fn a_file_system_waits_until_all_disks_are_back() {
        let names = |text: &str| -> Vec<String> {
            due(Noted::read(text).collect()).iter().map(ToString::to_string).collect()
        };
        let on_disk = "fs 2064 0 naa.6001405 41 22 8:16 / /mnt/local rw - ext4 /dev/sdb rw\n";
        assert_eq!(names(&format!("scsi 2064 2:0:0:1\n{on_disk}")), ["SCSI device 2:0:0:1"]);
        assert_eq!(names(&format!("{on_disk}mapped 1 LVM-x v-d\n")), ["/mnt/local", "mapped device v-d"]);
    }

    #[test]
    fn a_mount_is_known_to_fstab_by_where_it_lies() {
        let fstab = "# a comment\nstorage:/disks  /mnt/disks nfs4 defaults 0 0\n\n";
        assert!(is_in_fstab(fstab, Path::new("/mnt/disks")));
        assert!(!is_in_fstab(fstab, Path::new("/mnt")) && !is_in_fstab("", Path::new("/mnt/disks")));
    }
}
