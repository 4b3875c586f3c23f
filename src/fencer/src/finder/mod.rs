//! Finds QEMU processes that libvirt's files do not show, by what /proc says of them. Reading a command line waits for the
//! victim's memory map, so a process of its own does it, ahead of need: the *finder*, a child of the fencer that runs the same
//! program. One that hangs is killed and started again, and leaves alone what it hung over.
//!
//! The fencing thread takes the finder's last answer and waits for nobody. What is lost with a finder is at most what has
//! started since its last look: what was found once is held ([`crate::discovery`]), and while nobody has looked for longer than
//! [`LOST`] no scan is complete, so that nothing is proven (R8).

mod emulators;
mod keeper;
mod record;
mod run;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasefence_core::time::Instant;

use crate::run_files::Candidate;
pub(crate) use run::run;

/// Between the end of a look and the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// A finder that says nothing for so long hangs.
const HANGS: Duration = Duration::from_secs(3);
/// While no look has been begun and ended for so long, domains may run that nobody knows of: a finder that hangs was ended and
/// another one has looked well before.
const LOST: Duration = Duration::from_secs(8);
/// As many as can be held.
const MOST: usize = leasefence_page::MAX_PROCESSES;
/// The argument by which the program is the finder. It is in no help: nobody but the fencer starts it.
pub(crate) const ARGUMENT: &str = "--finder";

/// The fencing thread's end.
pub(crate) struct Finder {
    shared: Arc<Shared>,
    seen: u64,
    last: Vec<Candidate>,
    told: Troubles,
}

/// What the finders that had to be ended, or could not be started, came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Troubles {
    /// So many hung, and were killed.
    pub(crate) hung: u32,
    /// So many ended by themselves.
    pub(crate) ended: u32,
    /// So often none could be started.
    pub(crate) not_started: u32,
}

/// What the keeper's thread has heard. The fencing thread takes it where it can be had at once, and never waits.
#[derive(Default)]
struct Shared {
    found: Mutex<Vec<Candidate>>,
    /// Changes of `found`.
    changes: AtomicU64,
    /// When the last look that was ended began, on both clocks; zero before the first.
    looked_boot_ns: AtomicU64,
    looked_raw_ns: AtomicU64,
    hung: AtomicU32,
    ended: AtomicU32,
    not_started: AtomicU32,
}

impl Finder {
    /// Starts the thread that keeps a finder running.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        keeper::start(Arc::clone(&shared))?;
        Ok(Self { shared, seen: 0, last: Vec::with_capacity(MOST), told: Troubles::default() })
    }

    /// What was found last. Never waits.
    pub(crate) fn last(&mut self) -> &[Candidate] {
        let changes = self.shared.changes.load(Ordering::Acquire);
        if changes != self.seen
            && let Ok(found) = self.shared.found.try_lock()
        {
            self.seen = changes;
            self.last.clear();
            // What is beyond is not lost: it is there again in the next look.
            self.last.extend_from_slice(&found[..found.len().min(MOST)]);
        }
        &self.last
    }

    /// True while the last look is young enough to say that there is nothing else.
    pub(crate) fn has_looked(&self, now: Instant) -> bool {
        let looked = self.shared.looked();
        looked != Instant::default() && now.since_by_faster(looked) < LOST
    }

    /// What went wrong since it was last asked: people are told.
    pub(crate) fn news(&mut self) -> Option<Troubles> {
        let now = self.shared.troubles();
        (std::mem::replace(&mut self.told, now) != now).then_some(now)
    }
}

impl Shared {
    fn looked(&self) -> Instant {
        let load = |clock: &AtomicU64| clock.load(Ordering::Acquire);
        Instant { boot_ns: load(&self.looked_boot_ns), raw_ns: load(&self.looked_raw_ns) }
    }

    fn troubles(&self) -> Troubles {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
        Troubles { hung: load(&self.hung), ended: load(&self.ended), not_started: load(&self.not_started) }
    }

    /// This was found; by a look that has ended and had begun then, or by none that has.
    fn tell(&self, candidates: &[Candidate], looked: Option<Instant>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.clear();
        found.extend_from_slice(candidates);
        drop(found);
        self.changes.fetch_add(1, Ordering::Release);
        if let Some(looked) = looked {
            // Only now: who sees that time sees what was found, or more.
            self.looked_boot_ns.store(looked.boot_ns, Ordering::Release);
            self.looked_raw_ns.store(looked.raw_ns, Ordering::Release);
        }
    }
}
