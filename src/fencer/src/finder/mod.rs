//! Finds QEMU processes that libvirt's files do not show, and what serves disks past all of them, by what /proc and the cgroups
//! say. Reading a command line waits for the victim's memory map, so a process of its own does it, ahead of need: the *finder*, a
//! child of the fencer that runs the same program. One that hangs is killed and started again, and leaves alone what it hung over.
//!
//! The fencing thread takes the finder's last answer and waits for nobody. What is lost with a finder is at most what has
//! started since its last look: what was found once is held ([`crate::discovery`]), and while nobody has looked for longer than
//! [`LOST`] no scan is complete, so that nothing is proven (R8).

mod cgroup_members;
mod emulators;
mod keeper;
mod kernel_writers;
mod record;
mod run;
mod search;
mod writers;
mod writers_file;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasefence_core::time::Instant;
use rustix::event::{EventfdFlags, eventfd};

use crate::run_files::Candidate;
use record::ProcessName;
pub(crate) use run::run;

/// Between the end of a look and the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// A finder that says nothing for so long hangs.
const HANGS: Duration = Duration::from_secs(3);
/// While no look has been begun and ended for so long, domains may run that nobody knows of: a finder that hangs was ended and
/// another one has looked well before.
const LOST: Duration = Duration::from_secs(8);
/// One more than can be held: then the fencing thread sees that something is missing.
const MOST: usize = leasefence_page::MAX_PROCESSES + 1;
/// So many writers are told of, and one more, which says that there are too many.
pub(crate) const MOST_WRITERS: usize = 256;
/// The argument by which the program is the finder. It is in no help: nobody but the fencer starts it.
pub(crate) const ARGUMENT: &str = "--finder";

/// The fencing thread's end.
pub(crate) struct Finder {
    shared: Arc<Shared>,
    /// Wakes the keeper.
    asks: OwnedFd,
    seen: u64,
    /// A copy of what was found, and of the time of its look: they belong together.
    last: Vec<Candidate>,
    writers: Vec<Writer>,
    looked: Instant,
    /// From when on a first look is waited for.
    started: Instant,
    told: Troubles,
}

/// Somebody who has something open for writing, and is no domain's as far as the finder knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Writer {
    /// Zero for the kernel.
    pub(crate) process: ProcessName,
    /// The number of the device that it lies on.
    pub(crate) device: u64,
    name: writers::Name,
}

impl Writer {
    /// Of its program, or of what the kernel has there.
    pub(crate) fn name(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        std::str::from_utf8(&self.name[..end]).unwrap_or("?")
    }
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
    /// The memory of one was not locked.
    pub(crate) unlocked: bool,
    /// No look has been begun and ended for [`LOST`], or the last one found more than has room.
    pub(crate) lost: bool,
}

/// What the keeper's thread has heard. The fencing thread takes it where it can be had at once, and never waits.
#[derive(Default)]
struct Shared {
    found: Mutex<Found>,
    /// Changes of `found`.
    changes: AtomicU64,
    hung: AtomicU32,
    ended: AtomicU32,
    not_started: AtomicU32,
    unlocked: AtomicBool,
}

/// What looks have found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Found {
    domains: Vec<Candidate>,
    writers: Vec<Writer>,
    /// When the last look that was ended began; zero before the first.
    looked: Instant,
}

impl Finder {
    /// Starts the thread that keeps a finder running, and that writes down in `run_dir` which writers there are.
    pub(crate) fn start(run_dir: &Path) -> std::io::Result<Self> {
        let finder = Self::without_keeper()?;
        keeper::start(Arc::clone(&finder.shared), finder.asks.try_clone()?, run_dir)?;
        Ok(finder)
    }

    fn without_keeper() -> std::io::Result<Self> {
        Ok(Self {
            shared: Arc::default(),
            asks: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            seen: 0,
            last: Vec::with_capacity(MOST),
            writers: Vec::with_capacity(MOST_WRITERS + 1),
            looked: Instant::default(),
            started: leasefence_clock::instant(),
            told: Troubles::default(),
        })
    }

    /// One whose look has found these writers: their pids, and the devices.
    #[cfg(test)]
    pub(crate) fn that_found(writers: &[(u32, u64)]) -> std::io::Result<Self> {
        let mut finder = Self::without_keeper()?;
        finder.writers.extend(writers.iter().map(|(pid, device)| Writer {
            process: ProcessName { pid: *pid, start_time: 1 },
            device: *device,
            name: writers::named(b"a-server"),
        }));
        Ok(finder)
    }

    /// True where it was asked for a look since this was last asked.
    #[cfg(test)]
    pub(crate) fn was_asked(&self) -> bool {
        rustix::io::read(&self.asks, &mut [0; 8]).is_ok()
    }

    /// When the look began that what was taken last is of.
    pub(crate) fn looked(&self) -> Instant {
        self.looked
    }

    /// Has a look begin at once, where a finder runs. Never waits.
    pub(crate) fn ask(&self) {
        wake(&self.asks);
    }

    /// Takes what was found last, where it can be had at once. Never waits.
    pub(crate) fn take(&mut self) {
        let changes = self.shared.changes.load(Ordering::Acquire);
        if changes != self.seen
            && let Ok(found) = self.shared.found.try_lock()
        {
            self.seen = changes;
            self.last.clear();
            self.last.extend_from_slice(&found.domains[..found.domains.len().min(MOST)]);
            self.writers.clear();
            self.writers.extend_from_slice(&found.writers[..found.writers.len().min(MOST_WRITERS + 1)]);
            self.looked = found.looked;
        }
    }

    /// The domain processes that were found last.
    pub(crate) fn last(&self) -> &[Candidate] {
        &self.last
    }

    /// The writers that were found last; none where there are more of them than can be told of.
    pub(crate) fn writers(&self) -> Option<&[Writer]> {
        (self.writers.len() <= MOST_WRITERS).then_some(&self.writers)
    }

    /// When the look began that what was taken last is of, while it is young enough to say that there is nothing else. None where
    /// there was more than has room: what is missing then may outlive all that is listed.
    pub(crate) fn searched(&self, now: Instant) -> Option<Instant> {
        let is_young = self.looked != Instant::default() && now.since_by_faster(self.looked) < LOST;
        (is_young && self.last.len() < MOST).then_some(self.looked)
    }

    /// What went wrong, before and now, where that has changed since it was last asked: people are told.
    pub(crate) fn news(&mut self, now: Instant) -> Option<(Troubles, Troubles)> {
        let is_waited_for = self.looked == Instant::default() && now.since_by_faster(self.started) < LOST;
        let lost = self.searched(now).is_none() && !is_waited_for;
        let troubles = Troubles { lost, ..self.shared.troubles() };
        let before = std::mem::replace(&mut self.told, troubles);
        (before != troubles).then_some((before, troubles))
    }
}

/// Makes it readable. Refused only where nobody has read it for 2^64 times.
#[expect(clippy::host_endian_bytes, reason = "the kernel counts in the machine's order")]
fn wake(asks: &OwnedFd) {
    rustix::io::write(asks, &1_u64.to_ne_bytes()).ok();
}

impl Shared {
    fn troubles(&self) -> Troubles {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
        Troubles {
            hung: load(&self.hung),
            ended: load(&self.ended),
            not_started: load(&self.not_started),
            unlocked: self.unlocked.load(Ordering::Relaxed),
            lost: false,
        }
    }

    /// This was found, with the time of the last look that has ended.
    fn tell(&self, what: &Found) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.domains.clone_from(&what.domains);
        found.writers.clone_from(&what.writers);
        found.looked = what.looked;
        drop(found);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use leasefence_core::ids::DomainId;

    fn at(seconds: u64) -> Instant {
        Instant { boot_ns: seconds * 1_000_000_000, raw_ns: seconds * 1_000_000_000 }
    }

    /// So many domains, and when the look began that found them.
    fn found(domains: usize, looked: u64) -> Found {
        let candidate = |pid: usize| Candidate {
            domain: DomainId::default(),
            pid: u32::try_from(pid).unwrap(),
            start_time: 1,
        };
        Found { domains: (1..=domains).map(candidate).collect(), writers: Vec::new(), looked: at(looked) }
    }

    /// Catches: an old list that counts as what a new look has found.
    #[test]
    fn a_list_and_the_time_of_its_look_are_taken_together_or_not_at_all() {
        let mut finder = Finder::without_keeper().unwrap();
        assert_eq!(finder.searched(at(10)), None);
        let shared = Arc::clone(&finder.shared);
        shared.tell(&found(1, 10));
        finder.take();
        // A look ends between the two questions.
        shared.tell(&found(2, 11));
        assert_eq!((finder.last().len(), finder.searched(at(12))), (1, Some(at(10))));
        // And while the keeper writes.
        let writes = shared.found.lock().unwrap();
        finder.take();
        assert_eq!((finder.last().len(), finder.searched(at(12))), (1, Some(at(10))));
        drop(writes);
        finder.take();
        assert_eq!((finder.last().len(), finder.searched(at(12))), (2, Some(at(11))));
        assert_eq!(finder.searched(at(11 + LOST.as_secs())), None, "too old");
    }

    #[test]
    fn people_are_told_when_nobody_has_looked_for_long_and_when_somebody_has() {
        let mut finder = Finder::without_keeper().unwrap();
        finder.started = at(100);
        let told = |finder: &mut Finder, seconds| finder.news(at(seconds)).map(|(_, now)| now.lost);
        assert_eq!(told(&mut finder, 107), None, "the first is waited for");
        assert_eq!(told(&mut finder, 108), Some(true));
        assert_eq!(told(&mut finder, 109), None, "once");
        finder.shared.tell(&found(1, 110));
        finder.take();
        assert_eq!(told(&mut finder, 111), Some(false));
        assert_eq!(told(&mut finder, 117), None);
        assert_eq!(told(&mut finder, 118), Some(true));
    }

    /// Catches: a list that was cut, all of which has ended, while what was cut off runs.
    #[test]
    fn a_look_that_found_more_than_has_room_says_nothing_of_the_rest() {
        let mut finder = Finder::without_keeper().unwrap();
        for (domains, searched) in [(MOST - 1, Some(at(10))), (MOST, None), (MOST + 5, None)] {
            finder.shared.tell(&found(domains, 10));
            finder.take();
            assert_eq!(finder.searched(at(11)), searched, "{domains}");
        }
    }
}
