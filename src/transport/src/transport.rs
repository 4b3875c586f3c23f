//! Which transport a lease has.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::block::BlockDevice;
use crate::mounts::{PROC, all_mounts, mount_of, our_mounts, read_list};
use crate::nfs::NfsMount;
use crate::place::place_of;

/// What carries the lease file's reads and writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A file on NFS.
    Nfs(NfsMount),
    /// A block device: iSCSI sessions, and what is not judged.
    Block(BlockDevice),
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
        if let Some(device) = path.starts_with("/dev").then(|| BlockDevice::at(path)).flatten() {
            return Ok(Self::Block(device));
        }
        let proc = Path::new(PROC);
        let mount = mount_of(&our_mounts(proc)?, path);
        let Some((nfs, mount)) = mount.and_then(|mount| Some((NfsMount::of(&mount)?, mount))) else {
            return Ok(Self::Other);
        };
        let statistics = read_list(&proc.join("self/mountstats")).unwrap_or_default();
        Ok(Self::Nfs(nfs.among(&all_mounts(proc)?).known_by(&statistics, &mount.point)))
    }

    /// What in its settings makes a link cut cost more than itself, or is dangerous: a sentence each, with what to do.
    #[must_use]
    pub fn advice(&self, ttl: Duration) -> Vec<String> {
        match self {
            Self::Nfs(mount) => mount.advice(ttl),
            Self::Block(device) => device.advice(ttl),
            Self::Other => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_nfs_nor_a_device_is_left_alone() -> io::Result<()> {
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
