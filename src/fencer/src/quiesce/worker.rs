//! The thread of one storage.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use leasefence_core::fencing::{QuiesceTarget, Quiet, StorageKind};
use leasefence_page::Text;

use super::host;
use super::iscsi::IscsiStorage;
use super::nfs::NfsStorage;

/// How often it is looked at anew what the storage is and what leads to it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 256 * 1024;

/// How a storage was shown quiet, or why it was not.
pub(super) type Answer = Result<Quiet, String>;

/// The same, as the fencing thread hears it: without a word that it would have to free.
pub(crate) type Told = Result<Quiet, Text<160>>;

/// The fencing thread's end.
#[derive(Debug)]
pub(super) struct Worker {
    orders: SyncSender<()>,
    answers: Receiver<Told>,
}

impl Worker {
    /// Starts the thread. It ends when this is dropped, and not before what it waits for has ended.
    pub(super) fn start(target: &QuiesceTarget) -> std::io::Result<Self> {
        let (orders, to_do) = sync_channel(1);
        let (done, answers) = sync_channel(1);
        let target = target.clone();
        let run = move || work(&target, &to_do, &done);
        thread::Builder::new().name("quiesce".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { orders, answers })
    }

    /// Asks it to show the storage quiet. False when it cannot be asked now.
    pub(super) fn order(&self) -> bool {
        self.orders.try_send(()).is_ok()
    }

    /// Its answer, if it has one by now.
    pub(super) fn answer(&self) -> Option<Told> {
        self.answers.try_recv().ok()
    }
}

/// What is known of a storage of a kind for which there is a proof.
enum Storage {
    Nfs(NfsStorage),
    Iscsi(IscsiStorage),
}

impl Storage {
    fn look(&mut self) {
        match self {
            Self::Nfs(storage) => storage.look(),
            Self::Iscsi(storage) => storage.look(),
        }
    }

    fn quiesce(&mut self) -> Answer {
        match self {
            Self::Nfs(storage) => storage.quiesce(),
            Self::Iscsi(storage) => storage.quiesce(),
        }
    }
}

fn work(target: &QuiesceTarget, orders: &Receiver<()>, answers: &SyncSender<Told>) {
    // Where it is refused the mounts of the fencer's own namespace are what there is, and unmounting there shows nothing.
    let entered = host::enter_mounts();
    let mut storage = match target.kind {
        StorageKind::Nfs => Storage::Nfs(NfsStorage::new(target.device)),
        StorageKind::Iscsi => Storage::Iscsi(IscsiStorage::new(target.device)),
        StorageKind::OneKernel | StorageKind::Unprovable => return,
    };
    loop {
        match orders.recv_timeout(LOOK_AGAIN) {
            Err(RecvTimeoutError::Timeout) => storage.look(),
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) => {
                let answer = match &entered {
                    Ok(()) => storage.quiesce(),
                    Err(error) => Err(format!("the host's mounts cannot be entered: {error}")),
                };
                if answers.send(answer.map_err(|why| Text::cut(&why))).is_err() {
                    return;
                }
            }
        }
    }
}
