//! The host's mounts: the fencer's unit has a mount namespace of its own, in which an unmount would end nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Moves this thread, and no other, into the mount namespace of the host's first process.
///
/// # Errors
/// What the kernel says; it takes `CAP_SYS_ADMIN` and `CAP_SYS_CHROOT`.
pub(super) fn enter_mounts() -> io::Result<()> {
    // A thread that shares its working directory with others cannot move.
    // SAFETY: only this thread's own working directory and root are affected, and nothing here relies on them being shared.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    let namespace = File::open("/proc/1/ns/mnt")?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
    Ok(())
}
