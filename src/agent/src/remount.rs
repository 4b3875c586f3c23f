//! The disks' storages after a fence. The fencer unmounts or removes what it must show quiet (ARCHITECTURE 6); a host that holds
//! a lease again has them brought back as they were, and recovers nothing before that is done. Here is the main loop's end of it; a
//! thread ([`Keeper`]) does the rest, by these rules:
//!
//! - **Noted** ([`Notes`]) is what leads to each storage that the page names, at each look while the fencer has latched nothing. What a
//!   look does not find, or what is named no more, stays noted while the fencer may have taken it away: until a later look does not
//!   find it either, and between the two the fencer has said that it had latched nothing.
//! - **Owed** ([`Owed`]) is all that was noted when a lease ended. It is brought back while the fencer shows this host armed, and at no
//!   other time: a disarmed host brings nothing back by itself.
//! - **Back** is what a look finds where it belongs, five seconds or more after we have last tried to bring it there: systemd takes a
//!   mount off again at once where it does not know the disk yet, and that is no operator's word.
//! - **Given up** is what was back and has been taken away again: two looks, as above, do not find it. It is not waited for, and never
//!   brought back. Only a file system whose disk was taken from under its mount is owed once more.
//! - Recoveries wait while anything is owed and not back, or gone and not given up yet.

mod file_system;
mod fstab;
mod keeper;
mod mapped;
mod mount;
mod noted;
mod notes;
mod owed;
#[cfg(test)]
mod own_mounts;
mod scsi;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use leasefence_core::fencing::{AgentHalf, FencerHalf, StorageKind};

use self::keeper::Keeper;
use crate::event::Events;

/// The main loop's end: it tells, and never waits.
#[derive(Debug)]
pub(crate) struct Remount {
    news: Sender<News>,
    /// None before the first page.
    named: Option<BTreeSet<u64>>,
    /// True from the lease's end until a lease is guarded again.
    ended: bool,
    pending: Arc<AtomicBool>,
    shown: Arc<Shown>,
}

/// What the fencer has shown last, by the times of its beats on `CLOCK_BOOTTIME`; zero for never.
#[derive(Debug, Default)]
struct Shown {
    /// The last beat at which it had latched nothing, and thus taken nothing away.
    unlatched_ns: AtomicU64,
    /// The last one, if it was armed at that.
    armed_ns: AtomicU64,
}

/// What the thread is told.
#[derive(Debug)]
enum News {
    /// The page that was written names these storages.
    Names(BTreeSet<u64>),
    /// A lease has ended: they may go.
    Ended,
    /// A lease is guarded again: they come back.
    Guarded,
}

impl Remount {
    /// Goes on from what an agent before this one has left below `run_dir`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(run_dir: &Path, events: &Events) -> io::Result<Self> {
        let (news, heard) = mpsc::channel();
        let shown = Arc::new(Shown::default());
        let mut keeper = Keeper::new(run_dir, Arc::clone(&shown), events.clone());
        let pending = keeper.pending();
        thread::Builder::new().name("storages".to_owned()).spawn(move || keeper.run(&heard))?;
        Ok(Self { news, named: None, ended: false, pending, shown })
    }

    /// True from the lease's end until everything is back.
    pub(crate) fn pending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pending)
    }

    /// The storages of a page that a fence takes away.
    pub(crate) fn named_by(half: &AgentHalf) -> BTreeSet<u64> {
        let taken_away = |kind| matches!(kind, StorageKind::Nfs | StorageKind::Iscsi);
        let named = half.quiesce.iter().filter(|target| taken_away(target.kind));
        named.map(|target| target.device).collect()
    }

    /// A page that names these was written: by the fencer's next beat it knows no others.
    pub(crate) fn page_names(&mut self, named: BTreeSet<u64>) {
        if self.named.as_ref() != Some(&named) {
            self.named = Some(named.clone());
            self.tell(News::Names(named));
        }
    }

    /// Takes what the fencer shows.
    pub(crate) fn fencer_shows(&mut self, half: &FencerHalf) {
        let beat_ns = half.beat.boot_ns;
        let guards = half.armed && half.latched.is_none();
        self.shown.armed_ns.store(if guards { beat_ns } else { 0 }, Ordering::Release);
        if half.latched.is_some() {
            if !std::mem::replace(&mut self.ended, true) {
                self.pending.store(true, Ordering::Release);
                self.tell(News::Ended);
            }
            return;
        }
        self.shown.unlatched_ns.store(beat_ns, Ordering::Release);
        if guards && std::mem::take(&mut self.ended) {
            self.tell(News::Guarded);
        }
    }

    fn tell(&self, news: News) {
        // The thread ends with this.
        drop(self.news.send(news));
    }
}

#[cfg(test)]
mod tests {
    use leasefence_core::time::{HolderDeadline, Instant};

    use super::*;

    fn half(at: u64, armed: bool, ended: bool) -> FencerHalf {
        let beat = Instant { boot_ns: at, ..Instant::default() };
        FencerHalf { beat, armed, latched: ended.then_some(HolderDeadline(beat)), ..FencerHalf::default() }
    }

    /// Catches: a disarmed host that goes on bringing back, and one that takes a fencer which has latched for one that has not.
    #[test]
    fn what_the_fencer_shows_is_told() {
        let (news, heard) = mpsc::channel();
        let (pending, shown) = Default::default();
        let mut remount = Remount { news, named: None, ended: false, pending, shown };
        let mut shows = |half: &FencerHalf| {
            remount.fencer_shows(half);
            let [unlatched, armed] = [&remount.shown.unlatched_ns, &remount.shown.armed_ns];
            (unlatched.load(Ordering::Acquire), armed.load(Ordering::Acquire))
        };
        assert_eq!(shows(&half(1, true, false)), (1, 1));
        assert_eq!(shows(&half(2, false, false)), (2, 0), "disarmed");
        assert_eq!(shows(&half(3, true, false)), (3, 3));
        assert!(heard.try_recv().is_err());
        for at in 4..6 {
            assert_eq!(shows(&half(at, false, true)), (3, 0), "its lease has ended");
        }
        assert!(matches!(heard.try_recv(), Ok(News::Ended)));
        assert!(heard.try_recv().is_err(), "once");
        assert_eq!(shows(&half(7, true, false)), (7, 7));
        assert!(matches!(heard.try_recv(), Ok(News::Guarded)));
        assert!(remount.pending.load(Ordering::Acquire));
        remount.page_names(BTreeSet::new());
        assert!(matches!(heard.try_recv(), Ok(News::Names(named)) if named.is_empty()), "the first page");
    }
}
