//! What a process has open for writing, and where that lies: by `fdinfo`, the lists of mounts, and nodes that lie in memory.
//! No storage is asked. Reading it takes locks of the process's, so that one which holds them may hold the reader up.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::mounts::{HOST_MOUNTS, Mount, mount_with_id, read_list};
use crate::reach::Reach;

/// A regular file or a block device that a process can write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenFile {
    /// Its path as the kernel has it.
    pub path: PathBuf,
    /// The number of the device, or that of the file system; none where its mount is in no list.
    pub device: Option<u64>,
    /// True where it was opened to be read as well, and not only to be appended to: QEMU opens what a guest writes so, but
    /// no log, no image of a domain that is saved, and no dump.
    pub as_a_disk: bool,
    /// Who can get at it.
    pub reach: Reach,
}

/// The files that the process has open for writing. One that it closes meanwhile is left out.
///
/// # Errors
/// When the kernel does not show them all: as a rule the process has ended ([`has_ended`]), but descriptors may be short too.
pub fn open_for_writing(pid: u32) -> io::Result<Vec<OpenFile>> {
    files_of(&Path::new("/proc").join(pid.to_string()))
}

/// True for an error that says no more than that the process, or its descriptor, is not there any more. The list of mounts of one
/// that is a zombie is refused as invalid.
#[must_use]
pub fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || [Errno::ESRCH, Errno::EINVAL].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn files_of(proc: &Path) -> io::Result<Vec<OpenFile>> {
    // What another process opened and handed over may lie on a mount of the host's alone.
    let mounts = read_list(&proc.join("mountinfo"))? + &read_list(Path::new(HOST_MOUNTS)).unwrap_or_default();
    let mut files = Vec::new();
    for entry in fs::read_dir(proc.join("fd"))? {
        let entry = entry?;
        // What cannot be read may be open for writing: only what was closed is left out.
        let Some(info) = there(fs::read_to_string(proc.join("fdinfo").join(entry.file_name())))? else {
            continue;
        };
        if let Some((mode, mount)) = Mode::of(&info) {
            files.extend(open_file(&mounts, mode, mount, &entry.path())?);
        }
    }
    Ok(files)
}

/// None of a descriptor that was closed meanwhile.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if has_ended(&error) => Ok(None),
        other => other.map(Some),
    }
}

/// How a descriptor can write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    AsADisk,
    WritesOnly,
}

impl Mode {
    /// With the number of the mount; none of a descriptor that only reads.
    fn of(info: &str) -> Option<(Self, u32)> {
        const ACCESS: u32 = 0o3;
        const READ_WRITE: u32 = 0o2;
        const APPEND: u32 = 0o2000;
        let value = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let flags = u32::from_str_radix(value("flags:")?, 8).ok()?;
        let mount = value("mnt_id:")?.parse().ok()?;
        let mode = match (flags & ACCESS, flags & APPEND) {
            (0, _) => return None,
            (READ_WRITE, 0) => Self::AsADisk,
            _ => Self::WritesOnly,
        };
        Some((mode, mount))
    }
}

/// Sockets, pipes, memory and nodes of other kinds are none. Only a node in memory is asked for its number: any other file may
/// lie on a storage that does not answer.
fn open_file(mounts: &str, mode: Mode, mount: u32, descriptor: &Path) -> io::Result<Option<OpenFile>> {
    let Some(path) = there(fs::read_link(descriptor))? else { return Ok(None) };
    let (device, reach) = match mount_with_id(mounts, mount) {
        Some(mount) => match on_mount(&mount, descriptor)? {
            Some((device, reach)) => (Some(device), reach),
            None => return Ok(None),
        },
        None if is_in_memory(&path) => return Ok(None),
        None => (None, Reach::Unknown("its mount is in no list any more".to_owned())),
    };
    Ok(Some(OpenFile { path, device, as_a_disk: mode == Mode::AsADisk, reach }))
}

fn on_mount(mount: &Mount, descriptor: &Path) -> io::Result<Option<(u64, Reach)>> {
    let file = || (mount.device, Reach::of_mount(mount));
    if !matches!(mount.fs_type.as_str(), "devtmpfs" | "tmpfs") {
        return Ok(Some(file()));
    }
    let Some(node) = there(fs::metadata(descriptor))? else { return Ok(None) };
    let kind = node.file_type();
    if kind.is_block_device() {
        return Ok(Some((node.rdev(), Reach::of_device(node.rdev()))));
    }
    Ok(kind.is_file().then(file))
}

/// `socket:[7]`, `anon_inode:[eventpoll]`, `/memfd:x (deleted)`: what is on no mount that was ever in a list.
fn is_in_memory(path: &Path) -> bool {
    const KINDS: [&str; 3] = ["/memfd:", "/dmabuf:", "/SYSV"];
    let path = path.to_string_lossy();
    !path.starts_with('/') || KINDS.iter().any(|kind| path.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_only_reads_writes_nothing_and_a_log_is_no_disk() {
        let info = |flags: &str| format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t29\nino:\t7\n");
        assert_eq!(Mode::of(&info("0100002")), Some((Mode::AsADisk, 29)));
        assert_eq!(Mode::of(&info("0140002")), Some((Mode::AsADisk, 29)));
        assert_eq!(Mode::of(&info("0100001")), Some((Mode::WritesOnly, 29)));
        assert_eq!(Mode::of(&info("0102002")), Some((Mode::WritesOnly, 29)));
        assert_eq!(Mode::of(&info("0100000")), None);
        assert_eq!(Mode::of(""), None);
    }

    /// Catches: an image on NFS that is taken for nothing, since the reader was short of descriptors when it came to it.
    #[test]
    fn a_descriptor_that_cannot_be_read_is_an_error_and_one_that_was_closed_is_none() -> io::Result<()> {
        let proc = tempfile::tempdir()?;
        let proc = proc.path();
        fs::write(proc.join("mountinfo"), "29 22 8:0 / / rw - ext4 /dev/sda rw\n")?;
        fs::create_dir(proc.join("fdinfo"))?;
        assert!(files_of(proc).is_err_and(|error| has_ended(&error)), "there is no such process");
        fs::create_dir(proc.join("fd"))?;
        std::os::unix::fs::symlink("/guest.img", proc.join("fd/3"))?;
        assert_eq!(files_of(proc)?, [], "it was closed meanwhile");
        fs::create_dir(proc.join("fdinfo/3"))?;
        assert!(files_of(proc).is_err_and(|error| !has_ended(&error)));
        fs::remove_dir(proc.join("fdinfo/3"))?;
        fs::write(proc.join("fdinfo/3"), "pos:\t0\nflags:\t0100002\nmnt_id:\t29\n")?;
        let files = files_of(proc)?;
        assert!(
            files.len() == 1 && files[0].as_a_disk && files[0].path == Path::new("/guest.img"),
            "{files:?}"
        );
        Ok(())
    }

    /// Catches: an image on a storage that was unmounted lazily, which no list shows, taken for memory.
    #[test]
    fn what_is_on_no_listed_mount_is_memory_or_unknown() {
        for memory in ["socket:[7]", "anon_inode:kvm-vm", "pipe:[9]", "/memfd:guest (deleted)"] {
            assert!(is_in_memory(Path::new(memory)), "{memory}");
        }
        assert!(!is_in_memory(Path::new("/guest.img")));
    }

    /// This process, of which the kernel says what it has open and where that lies.
    #[test]
    fn what_a_process_has_open_for_writing_is_told_with_its_file_system() -> io::Result<()> {
        let written = tempfile::NamedTempFile::new()?;
        let only_read = tempfile::NamedTempFile::new()?.into_temp_path();
        let _reader = fs::File::open(&only_read)?;
        let _log = fs::File::options().append(true).open(written.path())?;
        let files = open_for_writing(std::process::id())?;
        let of = |path: &Path| {
            let path = fs::canonicalize(path).expect("there");
            files.iter().filter(|file| file.path == path).collect::<Vec<_>>()
        };
        let own = of(written.path());
        assert_eq!(own.iter().filter(|file| file.as_a_disk).count(), 1, "{own:?}");
        assert_eq!(own.len(), 2, "{own:?}");
        let mounts = read_list(Path::new("/proc/self/mountinfo"))?;
        let mount = crate::mounts::mount_of(&mounts, written.path()).expect("a mount");
        assert!(own.iter().all(|file| file.device == Some(mount.device)));
        assert!(own.iter().all(|file| file.reach == Reach::of_mount(&mount)), "{own:?}");
        assert!(of(&only_read).is_empty());
        Ok(())
    }
}
