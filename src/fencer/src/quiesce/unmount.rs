//! Unmounting, in a thread that may wait for ever: the kernel waits for the server when it ends a client of NFS 4, also long
//! after it has forgotten the file system.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::host;

const STACK_BYTES: usize = 64 * 1024;

/// Unmounts a storage, with at most one attempt under way.
#[derive(Debug, Default)]
pub(super) struct Unmount(Option<Attempt>);

#[derive(Debug)]
struct Attempt {
    by_force: bool,
    outcome: Receiver<Result<(), String>>,
}

impl Unmount {
    /// Begins to unmount what is mounted at these points, in the host's mount namespace. One that is under way goes on instead.
    pub(super) fn begin(&mut self, points: Vec<PathBuf>, by_force: bool) {
        if self.0.is_some() {
            return;
        }
        let (done, outcome) = sync_channel(1);
        let unmount = move || {
            // Nobody waits for one that its storage has given up.
            done.try_send(unmount_all(&points, by_force)).ok();
        };
        let begun = thread::Builder::new().name("unmount".into()).stack_size(STACK_BYTES).spawn(unmount);
        // Without a thread the sender is gone, which the next look says.
        drop(begun);
        self.0 = Some(Attempt { by_force, outcome });
    }

    /// Whether the attempt under way is one by force; none where none is.
    pub(super) fn under_way(&self) -> Option<bool> {
        self.0.as_ref().map(|attempt| attempt.by_force)
    }

    /// Looks whether the attempt under way has ended, and why it failed.
    pub(super) fn look(&mut self) -> Result<(), String> {
        let Some(attempt) = &self.0 else { return Ok(()) };
        let outcome = match attempt.outcome.try_recv() {
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => Err("there is no thread to unmount it".to_owned()),
            Ok(outcome) => outcome,
        };
        self.0 = None;
        outcome
    }
}

fn unmount_all(points: &[PathBuf], by_force: bool) -> Result<(), String> {
    host::enter_mounts().map_err(|error| format!("the host's mounts cannot be entered: {error}"))?;
    let force = if by_force { MntFlags::MNT_FORCE } else { MntFlags::empty() };
    for point in points {
        match umount2(point, MntFlags::UMOUNT_NOFOLLOW | force) {
            // Somebody else has just unmounted it.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(format!("unmounting {}: {}", point.display(), error.desc())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_waits_is_not_begun_again_and_one_that_failed_is() {
        let (kernel, outcome) = sync_channel(1);
        let mut unmount = Unmount(Some(Attempt { by_force: false, outcome }));
        unmount.begin(Vec::new(), true);
        assert_eq!((unmount.under_way(), unmount.look()), (Some(false), Ok(())), "the first waits");
        kernel.send(Err("busy".to_owned())).expect("the first is heard");
        assert_eq!(unmount.look(), Err("busy".to_owned()));
        assert_eq!((unmount.under_way(), unmount.look()), (None, Ok(())));
        let (without_thread, outcome) = sync_channel(1);
        drop(without_thread);
        unmount.0 = Some(Attempt { by_force: true, outcome });
        assert!(unmount.look().is_err());
    }
}
