//! Whether the way to a file system works: by a sync that is acknowledged in time, in a thread that may wait for ever.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::host;

/// How long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_millis(250);
const STACK_BYTES: usize = 64 * 1024;

/// Syncs a file system.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// True while a thread waits.
    waits: Arc<AtomicBool>,
}

impl Probe {
    /// True when all that the file system at `point` held was acknowledged in time. One that waits since earlier says no.
    pub(super) fn acknowledged(&self, point: &Path) -> bool {
        if self.waits.swap(true, Ordering::AcqRel) {
            return false;
        }
        let (done, answer) = sync_channel(1);
        let (waits, point) = (Arc::clone(&self.waits), point.to_owned());
        let sync = move || {
            let synced = host::enter_mounts().and_then(|()| File::open(&point)).and_then(|root| {
                rustix::fs::syncfs(&root)?;
                Ok(())
            });
            // The directory is closed: it would keep the file system busy.
            waits.store(false, Ordering::Release);
            done.try_send(synced.is_ok()).ok();
        };
        if thread::Builder::new().name("probe".into()).stack_size(STACK_BYTES).spawn(sync).is_err() {
            self.waits.store(false, Ordering::Release);
            return false;
        }
        answer.recv_timeout(PATIENCE).unwrap_or(false)
    }
}
