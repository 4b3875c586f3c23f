//! The barrier: a write, acknowledged, on every storage that carries a disk of a domain, before the domain is started after
//! its host's death, and before its lease is given up where its own process ended without draining itself.
//!
//! It shows that each of these storages takes writes from this host and how long it took: one that is slow to
//! acknowledge may be slow to apply what the dead host sent it. It never judges the time; and since a dead storage can
//! hold it for ever, it is meant for a thread that nobody waits for without a deadline.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use leasefence_core::barrier::BarrierWalk;
use leasefence_transport::read_list;
use rustix::fs::OFlags;

use crate::medium::{MOUNTS, medium_of, mounted_below};
use crate::stored::safe_name;
use crate::{Disk, DiskSource};

/// Direct reads want this alignment of buffer, offset and length on every device.
const ALIGNMENT: usize = 4096;

/// Why there is no barrier: then there is no start either, and no end of a lease.
#[derive(Debug, thiserror::Error)]
pub enum BarrierError {
    /// A call failed.
    #[error("barrier: {doing} {}: {source}; until this host can write there the domain is neither started nor given up here", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file or device.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk lies where this host's kernel cannot write for us.
    #[error(
        "barrier: disk {disk} is {source_text}: no barrier can be written there, so it cannot be restarted by itself, nor given up after a crash"
    )]
    Unreachable {
        /// The disk's target name.
        disk: String,
        /// What it is.
        source_text: String,
    },
}

/// Where a barrier goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    /// A small file in this directory.
    Directory(PathBuf),
    /// A flush of this device.
    Device(PathBuf),
}

/// Writes and syncs a barrier on every storage of the disks that the domain can write, their backing images
/// included, and returns how long the slowest took. `host` names the files: `.leasefence-barrier-HOST`, one in each
/// directory, written over each time.
///
/// # Errors
/// [`BarrierError`], which names the path. Barriers before it may have been written; that harms nothing.
pub fn barrier(disks: &[Disk], host: &str) -> Result<Duration, BarrierError> {
    let mountinfo = read_list(Path::new(MOUNTS)).unwrap_or_default();
    let mut walk = BarrierWalk::over(places(disks, &mountinfo)?);
    while let Some(place) = walk.next_place() {
        let begun = Instant::now();
        match place {
            Place::Directory(directory) => write_file(directory, host)?,
            Place::Device(device) => flush(device)?,
        }
        walk.acknowledged(begun.elapsed());
    }
    Ok(walk.slowest())
}

/// Each storage once; but each directory, since directories of one storage cannot be told apart without asking it.
fn places(disks: &[Disk], mountinfo: &str) -> Result<BTreeSet<Place>, BarrierError> {
    let writable = disks.iter().filter(|disk| !disk.readonly);
    let links = writable.flat_map(|disk| disk.chain.iter().map(move |link| (disk, link)));
    let mut places = BTreeSet::new();
    for (disk, link) in links {
        if let DiskSource::Memory(source) = &link.source {
            places.extend(memory_place(disk, source, mountinfo)?);
            continue;
        }
        places.insert(place(disk, &link.source)?);
        if let DiskSource::Directory(path) = &link.source {
            // The guest reaches also what others reach and is mounted below.
            let real = fs::canonicalize(path).map_err(failed("finding", Path::new(path)))?;
            let below = mounted_below(mountinfo, &real).into_iter().map(|(mount, _)| mount);
            let mounted = below.filter(|mount| mount.fs_type != "autofs");
            places.extend(mounted.map(|mount| Place::Directory(mount.point)));
        }
    }
    Ok(places)
}

fn place(disk: &Disk, source: &DiskSource) -> Result<Place, BarrierError> {
    match source {
        DiskSource::File(path) | DiskSource::Block(path) => image_place(Path::new(path)),
        DiskSource::Directory(path) => Ok(Place::Directory(PathBuf::from(path))),
        DiskSource::Memory(source) => place(disk, source),
        DiskSource::Network { .. } | DiskSource::Volume { .. } | DiskSource::Other(_) => {
            Err(BarrierError::Unreachable { disk: disk.target.clone(), source_text: source.describe() })
        }
    }
}

/// None on storage of this host alone: what another host has written to its own does not matter here.
fn memory_place(disk: &Disk, source: &DiskSource, mountinfo: &str) -> Result<Option<Place>, BarrierError> {
    let DiskSource::File(path) = source else { return place(disk, source).map(Some) };
    let path = Path::new(path);
    // Libvirt makes the file of a firmware's variables at the first start on a host.
    let above = || fs::canonicalize(path.parent().unwrap_or(Path::new("/")));
    let real = fs::canonicalize(path).or_else(|_| above()).map_err(failed("finding", path))?;
    if !medium_of(&real).has_memory_of_others(disk.is_persistent_memory(), mountinfo) {
        return Ok(None);
    }
    if real.is_dir() { Ok(Some(Place::Directory(real))) } else { image_place(&real).map(Some) }
}

/// Symbolic links are followed: what counts is where the bytes lie.
fn image_place(path: &Path) -> Result<Place, BarrierError> {
    let real = fs::canonicalize(path).map_err(failed("finding", path))?;
    let kind = fs::metadata(&real).map_err(failed("looking at", path))?.file_type();
    if kind.is_block_device() {
        return Ok(Place::Device(real));
    }
    let directory = real.parent().unwrap_or(Path::new("/"));
    Ok(Place::Directory(directory.to_owned()))
}

fn write_file(directory: &Path, host: &str) -> Result<(), BarrierError> {
    let path = directory.join(format!(".leasefence-barrier-{}", safe_name(host)));
    let writing = failed("writing", &path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(flags(OFlags::NOFOLLOW))
        .open(&path)
        .map_err(&writing)?;
    file.write_all(
        b"Written by leasefence before it restarts a domain whose disk lies here; may be removed.\n",
    )
    .and_then(|()| file.sync_all())
    .map_err(&writing)
}

/// A flush is answered by the kernel itself where a device has no write cache, so a direct read follows, which the
/// device must answer.
fn flush(device: &Path) -> Result<(), BarrierError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::DIRECT))
        .open(device)
        .map_err(failed("opening", device))?;
    file.sync_all().map_err(failed("flushing", device))?;
    read_directly(&file).map_err(failed("reading", device))
}

fn read_directly(file: &File) -> io::Result<()> {
    let mut buffer = vec![0_u8; 2 * ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let aligned = buffer.get_mut(start..start.saturating_add(ALIGNMENT)).unwrap_or_default();
    file.read_exact_at(aligned, 0)
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> BarrierError + use<'a> {
    move |source| BarrierError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
