//! Shows the domains' storages quiet after the kill (R6): that no write of a process which is gone can still leave this host.
//!
//! Each storage has a thread of its own, since all that can be done to one may wait for it: the fencing thread gives orders and
//! hears answers, and never waits (R7). What a storage is, and what leads to it, its thread finds out ahead of need.

mod connections;
mod host;
mod iscsi;
mod mapper;
mod nfs;
mod probe;
mod unmount;
mod worker;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use leasefence_core::fencing::{Fencer, QuiesceTarget, Quiet, StorageKind};
use leasefence_core::time::Instant;

pub(crate) use worker::Told;
use worker::Worker;

/// In the run directory while this is refused: the agent's `status` then calls no storage provable that only this can show quiet.
const REFUSED: &str = "no-quiesce";
/// Between two orders to a storage that could not be shown quiet.
const AGAIN: Duration = Duration::from_millis(20);

/// Says in the run directory whether this fencer was told to leave storages alone.
pub(crate) fn announce(run_dir: &Path, refused: bool) -> io::Result<()> {
    let file = run_dir.join(REFUSED);
    match refused {
        true => fs::write(file, ""),
        false => fs::remove_file(file).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    }
}

/// The storages and their threads.
#[derive(Debug)]
pub(crate) struct Quiescence {
    storages: Vec<Storage>,
}

#[derive(Debug)]
struct Storage {
    target: QuiesceTarget,
    worker: Worker,
    /// When the order that has no answer yet was given.
    ordered: Option<Instant>,
    /// No order before this.
    next: Instant,
    /// True once it was given one: what it remembers is of this fence.
    used: bool,
}

impl Quiescence {
    pub(crate) fn new() -> Self {
        Self { storages: Vec::with_capacity(leasefence_page::MAX_QUIESCE_TARGETS) }
    }

    /// Gives each storage that the page names a thread, and takes it from those that it names no more. While a proof is owed
    /// none is taken away. Words for the log, where a thread cannot be had.
    pub(crate) fn prepare(&mut self, fencer: &Fencer) -> Option<io::Error> {
        let wanted = |target: &QuiesceTarget| fencer.storages().contains(target);
        if !fencer.kills() {
            self.storages.retain(|storage| wanted(&storage.target) && !storage.used);
        }
        let mut failed = None;
        for target in fencer.storages() {
            let known = self.storages.iter().any(|storage| storage.target == *target);
            if known || !matches!(target.kind, StorageKind::Nfs | StorageKind::Iscsi) {
                continue;
            }
            match Worker::start(target) {
                Ok(worker) => self.storages.push(Storage {
                    target: target.clone(),
                    worker,
                    ordered: None,
                    next: Instant::default(),
                    used: false,
                }),
                Err(error) => failed = Some(error),
            }
        }
        failed
    }

    /// After the latch: gives the orders that are due, and hands answers to the core. `told` is given each new reason why one
    /// is not quiet.
    pub(crate) fn tend(
        &mut self,
        now: Instant,
        fencer: &mut Fencer,
        mut told: impl FnMut(&QuiesceTarget, &Told),
    ) {
        for storage in &mut self.storages {
            if let Some(begun) = storage.ordered
                && let Some(answer) = storage.worker.answer()
            {
                storage.ordered = None;
                storage.next = now.plus(AGAIN);
                let outcome = match &answer {
                    Ok(quiet) => *quiet,
                    Err(_) => Quiet::Unproven,
                };
                told(&storage.target, &answer);
                fencer.handle_quiesced(&storage.target, begun, outcome);
            }
            let due = now.boot_ns >= storage.next.boot_ns && fencer.owes_quiet(&storage.target);
            if storage.ordered.is_none() && due && storage.worker.order() {
                (storage.ordered, storage.used) = (Some(now), true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_fencer_was_told_is_forgotten() -> io::Result<()> {
        let run_dir = tempfile::tempdir()?;
        let said = || run_dir.path().join(REFUSED).exists();
        for refused in [false, true, true, false, false] {
            announce(run_dir.path(), refused)?;
            assert_eq!(said(), refused);
        }
        Ok(())
    }
}
