//! The trigger itself, and the thread that pulls it at a deadline, whatever has become of the one that beats: that one may
//! wait in the kernel for ever (R7). The deadline is the core's (`Fencer::reset_deadline`); a CLEAN clears it.
//!
//! On this path nothing is asked of the heap, nothing is logged and no lock is taken: two numbers are read, and one byte written.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use leasefence_core::terms::RESET_LATENCY;
use leasefence_core::time::{HolderDeadline, Instant};
use rustix::io::write;

use crate::hardening;

/// Resets the machine at once, without syncing or unmounting.
const RESET: &[u8] = b"b";
/// All of it is locked in memory.
const STACK_BYTES: usize = 32 * 1024;
/// No deadline: no clock gets there.
const NEVER: u64 = u64::MAX;
/// The sleeper's clock may be slewed against those that count: it wakes that part of its sleep sooner, and looks again.
const SOONER: u32 = 512;

/// The fencing thread's end of it.
pub(super) struct Trigger {
    shared: Arc<Shared>,
    thread: Thread,
    deadline: Option<HolderDeadline>,
}

/// What the two threads share.
struct Shared {
    /// Once open it stays so: whether it is pulled is another question, and no thread closes it under the other.
    file: OnceLock<File>,
    /// The deadline on each clock. Either is reason enough (R4), so that it does no harm to see one of them before the other
    /// has been written: each was, or is, a deadline by itself.
    boot_ns: AtomicU64,
    raw_ns: AtomicU64,
}

impl Trigger {
    /// Starts the thread, with no trigger and no deadline.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            file: OnceLock::new(),
            boot_ns: AtomicU64::new(NEVER),
            raw_ns: AtomicU64::new(NEVER),
        });
        let theirs = Arc::clone(&shared);
        let run = move || theirs.watch_for_ever();
        let handle = thread::Builder::new().name("reset".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { shared, thread: handle.thread().clone(), deadline: None })
    }

    pub(super) fn is_open(&self) -> bool {
        self.shared.file.get().is_some()
    }

    /// Puts the file in its place, once.
    pub(super) fn put(&self, file: File) {
        self.shared.file.set(file).ok();
    }

    /// Pulls it now, by the calling thread. Where it works this does not return.
    ///
    /// # Errors
    /// What the kernel answers, or [`ErrorKind::NotFound`] where there is no trigger.
    pub(super) fn pull(&self) -> io::Result<()> {
        self.shared.pull()
    }

    /// Has the thread pull it at `deadline`; none: not at all. It is woken only where it would come too late otherwise.
    pub(super) fn pull_by(&mut self, deadline: Option<HolderDeadline>) {
        let before = std::mem::replace(&mut self.deadline, deadline);
        if before == deadline {
            return;
        }
        let at = deadline.map_or(Instant { boot_ns: NEVER, raw_ns: NEVER }, |deadline| deadline.0);
        self.shared.boot_ns.store(at.boot_ns, Ordering::Release);
        self.shared.raw_ns.store(at.raw_ns, Ordering::Release);
        let is_sooner = |before: HolderDeadline| at.boot_ns < before.0.boot_ns || at.raw_ns < before.0.raw_ns;
        if before.is_none_or(is_sooner) {
            self.thread.unpark();
        }
    }
}

impl Shared {
    fn pull(&self) -> io::Result<()> {
        let Some(file) = self.file.get() else { return Err(ErrorKind::NotFound.into()) };
        write(file, RESET).map(|_| ()).map_err(io::Error::from)
    }

    /// Until the deadline; none while there is none.
    fn left(&self, now: Instant) -> Option<Duration> {
        let (boot_ns, raw_ns) = (self.boot_ns.load(Ordering::Acquire), self.raw_ns.load(Ordering::Acquire));
        let due = HolderDeadline(Instant { boot_ns, raw_ns });
        ((boot_ns, raw_ns) != (NEVER, NEVER)).then(|| due.left(now))
    }

    /// One without effect is pulled again each reset latency, as the core does.
    fn watch_for_ever(&self) {
        // Above the one that beats: a spinning thread on the only processor must not keep it away. What is refused was said.
        hardening::raise_own_priority_most().ok();
        loop {
            match self.left(leasefence_clock::instant()) {
                None => thread::park(),
                Some(left) if left.is_zero() => {
                    self.pull().ok();
                    thread::park_timeout(RESET_LATENCY);
                }
                Some(left) => thread::park_timeout(left - left / SOONER),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use std::fs;

    fn fixture() -> (tempfile::TempDir, Trigger) {
        let dir = tempfile::tempdir().unwrap();
        let trigger = Trigger::start().unwrap();
        trigger.put(File::create(dir.path().join("sysrq")).unwrap());
        (dir, trigger)
    }

    fn pulled(dir: &tempfile::TempDir) -> usize {
        fs::read(dir.path().join("sysrq")).unwrap().len()
    }

    fn wait_until(mut done: impl FnMut() -> bool) {
        let begun = std::time::Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn from_now(after: Duration) -> HolderDeadline {
        HolderDeadline(leasefence_clock::instant().plus(after))
    }

    #[test]
    fn at_its_deadline_it_is_pulled_and_again_while_that_stands() {
        let (dir, mut trigger) = fixture();
        let due = from_now(Duration::from_millis(300));
        trigger.pull_by(Some(due));
        wait_until(|| pulled(&dir) > 0);
        assert!(due.reached(leasefence_clock::instant()), "not before it");
        wait_until(|| pulled(&dir) > 1);
    }

    #[test]
    fn a_deadline_that_is_moved_or_cleared_in_time_pulls_nothing_and_a_sooner_one_counts_at_once() {
        let (dir, mut trigger) = fixture();
        trigger.pull_by(Some(from_now(Duration::from_millis(300))));
        trigger.pull_by(Some(from_now(Duration::from_secs(60))));
        thread::sleep(Duration::from_millis(600));
        assert_eq!(pulled(&dir), 0);
        trigger.pull_by(None);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(pulled(&dir), 0);
        trigger.pull_by(Some(from_now(Duration::from_secs(60))));
        thread::sleep(Duration::from_millis(100));
        trigger.pull_by(Some(from_now(Duration::ZERO)));
        wait_until(|| pulled(&dir) > 0);
    }

    /// R4: the faster clock counts, whichever it is.
    #[test]
    fn one_clock_is_enough() {
        let (dir, mut trigger) = fixture();
        let now = leasefence_clock::instant();
        trigger.pull_by(Some(HolderDeadline(Instant {
            boot_ns: now.boot_ns,
            ..now.plus(Duration::from_secs(60))
        })));
        wait_until(|| pulled(&dir) > 0);
    }
}
