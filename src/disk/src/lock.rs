//! The lock on this machine's identity: one agent a machine.
//!
//! Held by the process that owns the storage thread, and by that thread until it has ended: an agent without it writes
//! nothing (ARCHITECTURE 5). The kernel drops it with the process, however that dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::IdentityError;

/// An exclusive `flock` on the identity file.
#[derive(Debug)]
pub struct IdentityLock {
    file: File,
    path: PathBuf,
}

impl IdentityLock {
    /// Locks the identity file at `path`, which must exist.
    ///
    /// # Errors
    /// [`IdentityError::Locked`] with the holder's pid where `/proc/locks` tells it, when another process has it.
    pub fn acquire(path: &Path) -> Result<Self, IdentityError> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .open(path)
                .map_err(|error| IdentityError::Call(path.to_path_buf(), "opening", error.to_string()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(IdentityError::Locked(path.to_path_buf(), holder(&file)));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(IdentityError::Call(path.to_path_buf(), "locking", error.to_string()));
                }
            }
            // The file may have been removed or replaced between open and lock: then the lock guards nothing.
            if leads_to(path, &file) {
                return Ok(Self { file, path: path.to_path_buf() });
            }
        }
    }

    /// Which file is locked.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True while the path still leads to the locked file. False means that a second agent could start.
    #[must_use]
    pub fn still_guards(&self) -> bool {
        leads_to(&self.path, &self.file)
    }

    /// The locked file, so that what is read is what is locked.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

fn leads_to(path: &Path, file: &File) -> bool {
    let same = || -> io::Result<bool> {
        let (held, now) = (file.metadata()?, std::fs::metadata(path)?);
        Ok(held.dev() == now.dev() && held.ino() == now.ino())
    };
    same().unwrap_or(false)
}

/// ` by pid N`, or nothing where the kernel does not tell (a holder in another pid namespace).
fn holder(file: &File) -> String {
    let inode = file.metadata().map(|metadata| metadata.ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    inode
        .ok()
        .and_then(|inode| holder_pid(&locks, inode))
        .map_or(String::new(), |pid| format!(" by pid {pid}"))
}

/// A line is `7: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF`: pid, then device and inode.
fn holder_pid(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let of_file = fields.get(5)?.rsplit(':').next()?.parse::<u64>().ok()? == inode;
        let pid: u32 = fields.get(4)?.parse().ok()?;
        (*fields.get(1)? == "FLOCK" && of_file && pid > 0).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holders_pid_is_read_from_proc_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:131 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 12 fe:00:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 fe:00:131 0 EOF\n";
        assert_eq!(holder_pid(locks, 131), Some(13));
        assert_eq!(holder_pid(locks, 132), None);
        assert_eq!(holder_pid("garbage\n4: FLOCK A W 0 fe:00:131 0 EOF", 131), None, "not in this namespace");
    }
}
