//! The canary's disk, as the drill reads and writes it: opened for each look and closed at once, since a file that is held open keeps
//! the fencer from unmounting what carries it (ARCHITECTURE 6).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use leasefence_disk::{ALIGNMENT, AlignedBuffer};
use nix::libc;
use nix::sys::uio::{pread, pwrite};

use super::{SECTOR, boot_sector};

/// Small, and a multiple of every block in use.
const DISK_BYTES: usize = 1 << 20;
/// All that the canary writes lies in here.
const LOOK_BYTES: usize = 64 << 10;
const STOP_SECTOR: usize = 2;
const FIRST_LIFE: usize = 16;
const LIVES: usize = 64;
const MAGIC: &[u8] = b"LFCANARY";

/// What went wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Any call.
    #[error("{doing} the canary's disk {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where it lies.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// This program has no canary.
    #[error("the canary is an x86_64 guest, and this program was not built for that processor")]
    NoCanary,
}

/// What the canary has written last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beat {
    /// Its life, from 1: how often it was started on this disk.
    pub life: u32,
    /// What the counter was when that life began.
    pub began_at: u32,
    /// What it is.
    pub counter: u32,
    /// The counter of the life before it, which must stand still.
    pub before: u32,
}

/// Makes a new disk. Everybody may write it: libvirt may not be able to give it to QEMU's user, and it holds nothing.
///
/// # Errors
/// When it cannot be made, or something lies there.
pub fn create(path: &Path) -> Result<(), DiskError> {
    let boot = boot_sector().ok_or(DiskError::NoCanary)?;
    let make = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(path)?;
        let mut bytes = vec![0; DISK_BYTES];
        bytes[..SECTOR].copy_from_slice(&boot);
        io::Write::write_all(&mut file, &bytes)?;
        file.set_permissions(PermissionsExt::from_mode(0o666))?;
        file.sync_all()
    };
    make().map_err(|source| DiskError::Io { doing: "making", path: path.to_owned(), source })
}

/// What the canary has written last; none before its first life has counted.
///
/// # Errors
/// When it cannot be read directly.
pub fn read(path: &Path) -> Result<Option<Beat>, DiskError> {
    let look = || -> io::Result<Option<Beat>> {
        let file = direct(path, false)?;
        let mut room = AlignedBuffer::new(LOOK_BYTES)?;
        let bytes = room.bytes(LOOK_BYTES)?;
        let read = pread(file.as_fd(), &mut *bytes, 0)?;
        if read < LOOK_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(beat(bytes))
    };
    look().map_err(|source| DiskError::Io { doing: "reading", path: path.to_owned(), source })
}

/// Asks the canary to switch itself off, on whichever host it runs.
///
/// # Errors
/// When the word cannot be written.
pub fn stop(path: &Path) -> Result<(), DiskError> {
    let write = || -> io::Result<()> {
        let file = direct(path, true)?;
        // The canary's sectors are smaller than the block that is written: its head is read and written back with the word, which
        // it reads no more, and it writes its own sector again right after.
        let mut room = AlignedBuffer::new(ALIGNMENT)?;
        let bytes = room.bytes(ALIGNMENT)?;
        if pread(file.as_fd(), bytes, 0)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !boot_sector().is_some_and(|boot| bytes.starts_with(&boot)) {
            return Err(io::Error::other("it is not a canary's disk: look at it, and remove it yourself"));
        }
        bytes[STOP_SECTOR * SECTOR..][..4].copy_from_slice(b"STOP");
        if pwrite(file.as_fd(), bytes, 0)? < bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    };
    write().map_err(|source: io::Error| DiskError::Io { doing: "writing to", path: path.to_owned(), source })
}

fn beat(disk: &[u8]) -> Option<Beat> {
    let (life, began_at) = record(disk, 1)?;
    let sector = |life: u32| FIRST_LIFE + usize::try_from(life).unwrap_or(0) % LIVES;
    let counter =
        |life: u32| record(disk, sector(life)).filter(|(of, _)| *of == life).map(|(_, counter)| counter);
    Some(Beat {
        life,
        began_at,
        counter: counter(life)?,
        before: counter(life.saturating_sub(1)).unwrap_or(0),
    })
}

fn record(disk: &[u8], sector: usize) -> Option<(u32, u32)> {
    let record = disk.get(sector * SECTOR..)?.get(..MAGIC.len() + 8)?;
    let number = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
    (record.starts_with(MAGIC)).then(|| Some((number(8)?, number(12)?)))?
}

fn direct(path: &Path, write: bool) -> io::Result<File> {
    // Others may write to that directory: a link is not followed, and opening a pipe does not wait.
    let flags = libc::O_DIRECT | libc::O_DSYNC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(write).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file: look at it, and remove it yourself"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &mut [u8], sector: usize, life: u32, counter: u32) {
        let at = sector * SECTOR;
        disk[at..at + 8].copy_from_slice(MAGIC);
        disk[at + 8..at + 12].copy_from_slice(&life.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&counter.to_le_bytes());
    }

    #[test]
    fn a_beat_is_the_last_life_with_the_one_before_it() {
        let mut disk = vec![0; LOOK_BYTES];
        assert_eq!(beat(&disk), None, "nothing has run yet");
        put(&mut disk, 1, 1, 0);
        assert_eq!(beat(&disk), None, "it has claimed the disk and not counted");
        put(&mut disk, 17, 1, 40);
        assert_eq!(beat(&disk), Some(Beat { life: 1, began_at: 0, counter: 40, before: 0 }));
        put(&mut disk, 1, 2, 40);
        put(&mut disk, 18, 2, 43);
        assert_eq!(beat(&disk), Some(Beat { life: 2, began_at: 40, counter: 43, before: 40 }));
    }

    #[test]
    fn a_new_disk_boots_and_is_never_made_over_another_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("canary.img");
        create(&path).expect("it is made");
        let bytes = std::fs::read(&path).expect("it is there");
        assert_eq!((bytes.len(), &bytes[510..512]), (DISK_BYTES, &[0x55, 0xaa][..]));
        assert!(matches!(create(&path), Err(DiskError::Io { .. })));
    }

    /// Catches a drill that writes as root into what somebody has laid in the place of a canary's disk.
    #[test]
    fn only_a_canarys_own_disk_is_written_to_and_never_through_a_link() {
        let dir = tempfile::tempdir_in(".").expect("a directory");
        let (disk, other, link) =
            (dir.path().join("canary.img"), dir.path().join("other.img"), dir.path().join("link.img"));
        create(&disk).expect("it is made");
        stop(&disk).expect("it is a canary's");
        std::os::unix::fs::symlink("canary.img", &link).expect("a link");
        assert!(stop(&link).is_err() && read(&link).is_err(), "a link is not followed");
        std::fs::write(&other, vec![7; LOOK_BYTES]).expect("a file");
        let error = stop(&other).expect_err("it is somebody else's").to_string();
        assert!(error.contains("not a canary's disk"), "{error}");
        assert_eq!(std::fs::read(&other).expect("it is there"), vec![7; LOOK_BYTES]);
    }
}
