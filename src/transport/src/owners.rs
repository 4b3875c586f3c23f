//! Which sockets belong to a process. The kernel's own, of an NFS mount, belong to none.

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Result};
use std::path::Path;

use nix::errno::Errno;

/// The inodes of all sockets that a descriptor of any process names. No file is touched, only what `/proc` says of it. A
/// thread that gave up its process's table of descriptors is not looked at, and what the kernel hides from us (a process with
/// more capabilities than ours) stays unknown: it says the same of a process that has just ended.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn owned_sockets(proc: &Path) -> Result<HashSet<u32>> {
    let mut owned = HashSet::new();
    for process in fs::read_dir(proc)? {
        let process = process?;
        let is_process = process.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        if is_process {
            known(sockets_in(&process.path().join("fd"), &mut owned))?;
        }
    }
    Ok(owned)
}

fn sockets_in(descriptors: &Path, owned: &mut HashSet<u32>) -> Result<()> {
    for descriptor in fs::read_dir(descriptors)? {
        let target = known(fs::read_link(descriptor?.path()))?;
        owned.extend(target.as_deref().and_then(Path::to_str).and_then(inode_of));
    }
    Ok(())
}

fn inode_of(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// What has ended meanwhile, or is hidden, owns nothing.
fn known<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
                || error.raw_os_error() == Some(Errno::ESRCH as i32) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_descriptors_of_all_processes_are_read_and_nothing_else() -> Result<()> {
        let proc = tempfile::tempdir()?;
        let proc = proc.path();
        for (descriptor, target) in [
            ("1/fd/0", "/dev/null"),
            ("1/fd/3", "socket:[17]"),
            ("22/fd/4", "socket:[4294967295]"),
            ("22/fd/5", "pipe:[5]"),
            ("irq/fd/6", "socket:[6]"),
        ] {
            let path = proc.join(descriptor);
            fs::create_dir_all(path.parent().unwrap_or(proc))?;
            symlink(target, path)?;
        }
        fs::create_dir(proc.join("33"))?;
        assert_eq!(owned_sockets(proc)?, HashSet::from([17, u32::MAX]), "33 has just ended");
        fs::write(proc.join("33/fd"), "")?;
        assert!(owned_sockets(proc).is_err(), "one that cannot be looked at may own any");
        Ok(())
    }
}
