//! Which transport a lease has.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path};
use std::time::Duration;

use nix::sys::stat::{major, minor};

use crate::iscsi::IscsiSession;
use crate::mounts::{PROC, all_mounts, mount_of, our_mounts};
use crate::nfs::NfsMount;
use crate::place::place_of;

/// What carries the lease file's reads and writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A file on NFS.
    Nfs(NfsMount),
    /// A block device of an iSCSI session.
    Iscsi(IscsiSession),
    /// Anything else: nothing is known of it, and nothing is done.
    Other,
}

impl Transport {
    /// The transport of the lease at `path`, an absolute path; symbolic links and `..` are followed. Waits for a dead server two
    /// seconds at most.
    ///
    /// # Errors
    /// When `/proc/self/mountinfo` cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let path = &place_of(path);
        if path.starts_with("/dev") {
            return Ok(session_of(path)
                .map_or(Self::Other, |number| Self::Iscsi(IscsiSession::read(Path::new("/"), number))));
        }
        let proc = Path::new(PROC);
        let Some(mount) = mount_of(&our_mounts(proc)?, path).and_then(|mount| NfsMount::of(&mount)) else {
            return Ok(Self::Other);
        };
        Ok(Self::Nfs(mount.among(&all_mounts(proc)?)))
    }

    /// What in its settings makes a link cut cost more than itself, or is dangerous: a sentence each, with what to do.
    #[must_use]
    pub fn advice(&self, ttl: Duration) -> Vec<String> {
        match self {
            Self::Nfs(mount) => mount.advice(ttl),
            Self::Iscsi(session) => session.advice(ttl),
            Self::Other => Vec::new(),
        }
    }
}

/// The number of the iSCSI session that a block device belongs to.
fn session_of(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device())?;
    let device = metadata.rdev();
    let place = fs::canonicalize(format!("/sys/dev/block/{}:{}", major(device), minor(device))).ok()?;
    let number = |part: Component<'_>| part.as_os_str().to_str()?.strip_prefix("session")?.parse().ok();
    place.components().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_nfs_nor_iscsi_is_left_alone() -> io::Result<()> {
        for path in ["/", "/dev/null", "/proc/self/stat", "/dev/there-is-none"] {
            let transport = Transport::of(Path::new(path))?;
            assert_eq!(
                (&transport, transport.advice(Duration::ZERO).len()),
                (&Transport::Other, 0),
                "{path}"
            );
        }
        Ok(())
    }
}
