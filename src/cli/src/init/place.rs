//! Where the lease file is to be: a new file in a directory, a file that exists, or a block device.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use leasefence_core::format::Header;
use nix::sys::statfs::statfs;

use crate::medium::{Medium, Mode};
use crate::outcome::CliError;

/// A place that may be written once everything else is checked.
#[derive(Debug)]
pub(super) enum Target {
    /// A file that does not exist yet, in a directory that does.
    New(PathBuf),
    /// A file or device that exists.
    Existing(Medium),
}

impl Target {
    /// Looks at the path without changing anything.
    ///
    /// # Errors
    /// When it is no place for a lease file, or not one that hosts can share and this is no test cluster.
    pub(super) fn examine(path: &Path, test: bool) -> Result<Self, CliError> {
        let directory = directory_of(path);
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.file_type().is_block_device() => Self::open(path),
            Ok(metadata) if metadata.is_file() => {
                check_shared(path, &directory, test)?;
                Self::open(path)
            }
            Ok(metadata) => Err(other(format!("{} is a {}: {HOW}", path.display(), kind(&metadata)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check_directory(path, &directory)?;
                check_shared(path, &directory, test)?;
                Ok(Self::New(path.to_owned()))
            }
            Err(error) => Err(other(format!("looking at {}: {error}", path.display()))),
        }
    }

    /// The sector size that was asked for, if it fits; else the medium's own.
    ///
    /// # Errors
    /// When the medium writes other units than that.
    pub(super) fn sector_size(&self, asked: Option<u32>) -> Result<u32, CliError> {
        let device = match self {
            Self::New(_) => None,
            Self::Existing(medium) => medium.logical_sector(),
        };
        match (device, asked) {
            (None, None | Some(4096)) => Ok(4096),
            (None, Some(512)) => {
                Err(other("--sector-size 512 is for block devices; a lease file has units of 4096".into()))
            }
            (Some(logical), None) => Ok(logical),
            (Some(logical), Some(asked)) if asked != logical => Err(other(format!(
                "this device has logical sectors of {logical} bytes: leave --sector-size out, or say {logical}"
            ))),
            (_, Some(asked)) => Ok(asked),
        }
    }

    /// A device must be large enough; a file grows.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check_size(&self, header: &Header) -> Result<(), CliError> {
        let Self::Existing(medium) = self else { return Ok(()) };
        let need = header.layout.total_size();
        if medium.logical_sector().is_some() && medium.size() < need {
            let path = medium.path().display();
            return Err(other(format!(
                "{path} has {} bytes, the lease file needs {need}: take a larger device, or fewer --max-hosts or --pages",
                medium.size()
            )));
        }
        Ok(())
    }

    fn open(path: &Path) -> Result<Self, CliError> {
        Medium::open(path, Mode::Write).map(Self::Existing).map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(nix::libc::EBUSY) => {
                    ": it is mounted or otherwise in use here (see lsblk), which a lease device must never be"
                }
                Some(nix::libc::EROFS) => ": it is read-only; nothing was written",
                Some(nix::libc::EACCES | nix::libc::EPERM) => ": run this as root",
                _ => "",
            };
            other(format!("opening {} for writing: {error}{hint}", path.display()))
        })
    }
}

const HOW: &str = "give the path of a file in the directory that the hosts share, like /mnt/lease/prod.lease, or a block device";

pub(super) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn check_directory(path: &Path, directory: &Path) -> Result<(), CliError> {
    if path.file_name().is_none() {
        return Err(other(format!("{} names no file: {HOW}", path.display())));
    }
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) => {
            Err(other(format!("{} is a {}, not a directory", directory.display(), kind(&metadata))))
        }
        Err(error) => Err(other(format!(
            "the directory {} cannot be used ({error}): mount the shared storage there first, or correct the path",
            directory.display()
        ))),
    }
}

/// Refuses a file system that only this machine sees: most often the share is not mounted.
fn check_shared(path: &Path, directory: &Path, test: bool) -> Result<(), CliError> {
    // A link may lead to another file system than its own.
    let there = if path.exists() { path } else { directory };
    let kind = statfs(there)
        .map_err(|errno| other(format!("asking for the file system of {}: {errno}", there.display())))?
        .filesystem_type();
    let Some(name) = local_name(kind.0) else { return Ok(()) };
    if test {
        return Ok(());
    }
    let mounted = if is_mount_point(directory) {
        "that is mounted there"
    } else {
        "of this machine, and nothing is mounted there"
    };
    Err(other(format!(
        "{} would lie on a local file system ({name}) {mounted}: other hosts would not see it. Mount the shared storage \
         at {} first. (For a test cluster on one machine, say --test.)",
        path.display(),
        directory.display()
    )))
}

fn is_mount_point(directory: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|it| it.dev()).ok();
    device(directory) != device(&directory.join(".."))
}

/// The name of a file system that no other machine can have mounted at the same time; none for all others.
fn local_name(magic: i64) -> Option<&'static str> {
    const LOCAL: [(i64, &str); 12] = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x8584_58f6, "ramfs"),
        (0x794c_7630, "overlay"),
        (0xf2f5_2010, "f2fs"),
        (0x2fc1_2fc1, "zfs"),
        (0x4d44, "vfat"),
        (0x2011_bab0, "exfat"),
        (0xca45_1a4e, "bcachefs"),
        (0x7371_7368, "squashfs"),
    ];
    LOCAL.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "directory"
    } else if kind.is_file() {
        "file"
    } else if kind.is_char_device() {
        "character device"
    } else {
        "pipe or socket"
    }
}

fn other(sentence: String) -> CliError {
    CliError::Other(sentence)
}
