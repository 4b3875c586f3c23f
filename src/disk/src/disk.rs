//! The handle of the storage thread, and its loop.
//!
//! The loop takes one request at a time, stamps it right before and right after the call, and hands the completion to
//! the caller's function. It never decides, and nobody ever waits for it to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use leasefence_core::member::LeaseMedium;
use leasefence_core::storage::{IoDone, IoRequest};

use crate::error::OpenError;
use crate::lease_file::LeaseFile;
use crate::lock::IdentityLock;

/// How the lease file is opened.
#[derive(Clone, Debug, Default)]
pub struct DiskOptions {
    /// Open for reading alone: every write is refused.
    pub read_only: bool,
    /// The lock under which an agent writes. The thread holds it until it has ended, so that a second agent cannot
    /// begin while a write of this one is stuck.
    pub lock: Option<Arc<IdentityLock>>,
}

/// The storage thread's handle. Dropping it lets the thread end after the request that it is in; nobody waits for that.
#[derive(Debug)]
pub struct Disk {
    requests: Sender<IoRequest>,
}

/// The longest that [`Disk::open`] waits for storage that does not answer.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

impl Disk {
    /// Opens the lease file or device on a new thread named `storage`. `done` is called on that thread with the end of
    /// each request, and must not block it.
    ///
    /// # Errors
    /// [`OpenError`], each with what to do; [`OpenError::Stuck`] after 30 s without an answer.
    pub fn open<F>(path: &Path, options: DiskOptions, done: F) -> Result<(Self, LeaseMedium), OpenError>
    where
        F: Fn(IoDone) + Send + 'static,
    {
        Self::open_within(path, options, OPEN_TIMEOUT, done)
    }

    /// [`Disk::open`] with another limit of time.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn open_within<F>(
        path: &Path,
        options: DiskOptions,
        limit: Duration,
        done: F,
    ) -> Result<(Self, LeaseMedium), OpenError>
    where
        F: Fn(IoDone) + Send + 'static,
    {
        let (opened, answer) = mpsc::channel();
        let disk = Self::start(path, options, move |result| drop(opened.send(result)), done)?;
        let medium =
            answer.recv_timeout(limit).map_err(|_| OpenError::Stuck(path.to_path_buf(), limit))??;
        Ok((disk, medium))
    }

    /// Starts the thread and returns at once; `opened` is called on the thread when the open has ended. Requests may be
    /// submitted before; after a failed open they are never answered.
    ///
    /// # Errors
    /// [`OpenError::Thread`] if there is no thread to be had.
    pub fn start<O, F>(path: &Path, options: DiskOptions, opened: O, done: F) -> Result<Self, OpenError>
    where
        O: FnOnce(Result<LeaseMedium, OpenError>) + Send + 'static,
        F: Fn(IoDone) + Send + 'static,
    {
        let (requests, queue) = mpsc::channel();
        let path: PathBuf = path.to_path_buf();
        thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || run(&path, &options, opened, &queue, done))
            .map_err(|error| OpenError::Thread(error.to_string()))?;
        Ok(Self { requests })
    }

    /// Hands a request to the thread, which takes them in order. Never blocks.
    ///
    /// Returns false when the thread has ended (its open failed): the request was not taken.
    #[must_use]
    pub fn submit(&self, request: IoRequest) -> bool {
        self.requests.send(request).is_ok()
    }
}

fn run<O, F>(path: &Path, options: &DiskOptions, opened: O, queue: &Receiver<IoRequest>, done: F)
where
    O: FnOnce(Result<LeaseMedium, OpenError>),
    F: Fn(IoDone),
{
    match LeaseFile::open(path, options.read_only) {
        Ok(mut file) => {
            opened(Ok(file.medium()));
            while let Ok(request) = queue.recv() {
                done(execute(&mut file, &request));
            }
        }
        Err(error) => opened(Err(error)),
    }
}

/// The stamps are taken here and nowhere else: R3 counts a holder's lease from before the write and an observer's wait
/// from after the read, whatever delays the completion on its way.
fn execute(file: &mut LeaseFile, request: &IoRequest) -> IoDone {
    let issued = leasefence_clock::now();
    let result = file.execute(&request.op);
    IoDone { id: request.id, issued, ended: leasefence_clock::now(), result }
}
