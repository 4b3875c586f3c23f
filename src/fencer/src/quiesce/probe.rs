//! Whether the way to a storage works: by a sync that is acknowledged in time, in a thread that may wait for ever.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::host;

/// How long an acknowledgement is waited for, where what is cut off instead can be proven.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
const STACK_BYTES: usize = 64 * 1024;

/// What is synced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sync {
    /// All of the file system with this device number that is mounted there.
    FileSystem(PathBuf, u64),
    /// What the kernel holds of a block device, and the device's own cache.
    Device(PathBuf),
}

impl Sync {
    fn run(&self) -> io::Result<()> {
        host::enter_mounts()?;
        match self {
            Self::FileSystem(point, device) => {
                let root = File::open(point)?;
                if root.metadata()?.dev() != *device {
                    return Err(io::Error::other("something else is mounted there"));
                }
                rustix::fs::syncfs(root)?;
            }
            Self::Device(node) => File::open(node)?.sync_all()?,
        }
        Ok(())
    }
}

/// Syncs a storage.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// True while a thread waits.
    waits: Arc<AtomicBool>,
}

impl Probe {
    /// True when all that the kernel held of it was acknowledged within `patience`. One that waits since earlier says no.
    pub(super) fn acknowledged(&self, what: &Sync, patience: Duration) -> bool {
        if self.waits.swap(true, Ordering::AcqRel) {
            return false;
        }
        let (done, answer) = sync_channel(1);
        let (waits, what) = (Arc::clone(&self.waits), what.clone());
        let sync = move || {
            let synced = what.run();
            // The file is closed: it would keep the storage busy.
            waits.store(false, Ordering::Release);
            done.try_send(synced.is_ok()).ok();
        };
        if thread::Builder::new().name("probe".into()).stack_size(STACK_BYTES).spawn(sync).is_err() {
            self.waits.store(false, Ordering::Release);
            return false;
        }
        answer.recv_timeout(patience).unwrap_or(false)
    }
}
