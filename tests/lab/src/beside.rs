//! Labs beside each other on one machine. Most scenarios bear a neighbour; one that leaves the hosts no margin wants the
//! machine for itself, so labs take turns: many at once, or one alone.

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use leasefence_demo::wait;

use crate::scenario::Failure;

/// How often a lab looks whether its turn has come.
const LOOK: Duration = Duration::from_millis(200);

/// The turns of all labs on this machine.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Who waits for a turn holds this one, so that whoever comes later waits behind it: a lab that wants the machine for itself
    /// gets it when the scenarios that are being played have ended.
    next: File,
    now: File,
}

/// A lab's turn; it ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn<'a>(&'a File);

impl Turns {
    /// By the lock files in this directory, which all labs of the machine share.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub(crate) fn at(directory: &Path) -> Result<Self, Failure> {
        let open =
            |name| File::options().create(true).append(true).open(directory.join(name)).map_err(untaken);
        Ok(Self { next: open("leasefence-lab.next")?, now: open("leasefence-lab.now")? })
    }

    /// Waits for this lab's turn: beside others, or `alone`.
    ///
    /// # Errors
    /// On an interrupt, or when the files cannot be locked.
    pub(crate) fn wait(&self, alone: bool) -> Result<Turn<'_>, Failure> {
        lock(|| self.next.try_lock())?;
        let outcome = lock(|| if alone { self.now.try_lock() } else { self.now.try_lock_shared() });
        self.next.unlock().map_err(untaken)?;
        outcome.map(|()| Turn(&self.now))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The lock goes with the file at the latest.
        self.0.unlock().ok();
    }
}

fn lock(try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), Failure> {
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => wait::pause(LOOK)?,
            Err(TryLockError::Error(error)) => return Err(untaken(error)),
        }
    }
}

fn untaken(error: impl Display) -> Failure {
    Failure::Unmet(format!("the labs of this machine cannot take turns: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn many_at_once_or_one_alone() {
        let directory = tempfile::tempdir().unwrap();
        let labs: [Turns; 3] = std::array::from_fn(|_| Turns::at(directory.path()).unwrap());
        let first = labs[0].wait(false).unwrap();
        let second = labs[1].wait(false).unwrap();
        let (alone, seen) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let turn = labs[2].wait(true).unwrap();
                alone.store(true, Ordering::SeqCst);
                wait::pause(LOOK * 4).unwrap();
                alone.store(false, Ordering::SeqCst);
                drop(turn);
            });
            wait::pause(LOOK * 2).unwrap();
            assert!(!alone.load(Ordering::SeqCst), "it is alone beside two others");
            drop(first);
            // Who comes later waits behind it, though another's turn goes on.
            scope.spawn(|| {
                let turn = labs[0].wait(false).unwrap();
                assert!(seen.load(Ordering::SeqCst), "it passed the one that waited");
                assert!(!alone.load(Ordering::SeqCst), "it has a turn beside the one that is alone");
                drop(turn);
            });
            wait::pause(LOOK * 2).unwrap();
            drop(second);
            wait::pause(LOOK * 2).unwrap();
            seen.store(alone.load(Ordering::SeqCst), Ordering::SeqCst);
        });
    }
}
