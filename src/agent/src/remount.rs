//! The disks' storages after a fence. The fencer unmounts or removes what it must show quiet (ARCHITECTURE 6); a host that holds
//! a lease again has them brought back as they were, and recovers nothing before that is done.

mod file_system;
mod mapped;
mod noted;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use leasefence_core::fencing::{AgentHalf, FencerHalf, StorageKind};
use leasefence_transport::HOST_MOUNTS;

use self::file_system::FSTAB;
use self::noted::{Noted, due, lines_about, read_notes};
use crate::event::{Event, Events, send};

/// In the run directory: what may have to be brought back. It outlives the agent, not the boot.
const FILE: &str = "storages";
/// Beside it: that it has to be.
const MARKER: &str = "storages-away";
/// Between two looks, and two attempts.
const AGAIN: Duration = Duration::from_secs(5);

/// The main loop's end: it tells, and never waits.
#[derive(Debug)]
pub(crate) struct Remount {
    news: Sender<News>,
    named: BTreeSet<u64>,
    /// True from the lease's end until a lease is guarded again.
    ended: bool,
    pending: Arc<AtomicBool>,
}

/// What the thread is told.
#[derive(Debug)]
enum News {
    /// The page names these storages from now on.
    Names(BTreeSet<u64>),
    /// A lease has ended: they may go.
    Ended,
    /// A lease is guarded again: they come back.
    Guarded,
}

impl Remount {
    /// Goes on from what an agent before this one has noted below `run_dir`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(run_dir: &Path, events: &Events) -> io::Result<Self> {
        let (news, heard) = mpsc::channel();
        let marker = run_dir.join(MARKER);
        let away = marker.exists();
        let pending = Arc::new(AtomicBool::new(away));
        let mut keeper = Keeper {
            before: read_notes(&fs::read_to_string(run_dir.join(FILE)).unwrap_or_default()),
            file: run_dir.join(FILE),
            marker,
            noted: BTreeMap::new(),
            away,
            guarded: false,
            pending: Arc::clone(&pending),
            events: events.clone(),
            said: BTreeSet::new(),
        };
        thread::Builder::new().name("storages".to_owned()).spawn(move || keeper.run(&heard))?;
        Ok(Self { news, named: BTreeSet::new(), ended: away, pending })
    }

    /// True from the lease's end until everything is back.
    pub(crate) fn pending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pending)
    }

    /// The page names these storages from now on.
    pub(crate) fn page_names(&mut self, half: &AgentHalf) {
        let taken_away = |kind| matches!(kind, StorageKind::Nfs | StorageKind::Iscsi);
        let named = half.quiesce.iter().filter(|target| taken_away(target.kind));
        let named: BTreeSet<u64> = named.map(|target| target.device).collect();
        if named != self.named {
            self.named.clone_from(&named);
            self.tell(News::Names(named));
        }
    }

    /// Takes what the fencer shows.
    pub(crate) fn fencer_shows(&mut self, half: &FencerHalf) {
        if half.latched.is_some() {
            if !std::mem::replace(&mut self.ended, true) {
                self.pending.store(true, Ordering::Release);
                self.tell(News::Ended);
            }
        } else if half.armed && std::mem::take(&mut self.ended) {
            self.tell(News::Guarded);
        }
    }

    fn tell(&self, news: News) {
        // The thread ends with this.
        drop(self.news.send(news));
    }
}

/// The thread: notes what leads to the storages while it is there, and brings it back.
struct Keeper {
    file: PathBuf,
    /// There from the lease's end until everything is back.
    marker: PathBuf,
    /// The lines about each storage that the page names. Those of one that is gone stay: the fencer may have taken it away.
    noted: BTreeMap<u64, String>,
    /// What an agent before this one has noted.
    before: BTreeMap<u64, String>,
    away: bool,
    guarded: bool,
    pending: Arc<AtomicBool>,
    events: Events,
    said: BTreeSet<String>,
}

impl Keeper {
    fn run(&mut self, news: &Receiver<News>) {
        loop {
            match news.recv_timeout(AGAIN) {
                Ok(first) => std::iter::once(first).chain(news.try_iter()).for_each(|news| self.hear(news)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.away {
                self.note();
            } else if self.guarded {
                self.bring_back();
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Names(named) => {
                self.noted.retain(|device, _| named.contains(device));
                for device in named {
                    let before = self.before.get(&device).cloned();
                    self.noted.entry(device).or_insert(before.unwrap_or_default());
                }
            }
            News::Ended => {
                (self.away, self.guarded) = (true, false);
                self.pending.store(true, Ordering::Release);
                if let Err(error) = fs::write(&self.marker, "") {
                    self.say(format!("{}: {error}", self.marker.display()));
                }
            }
            News::Guarded => self.guarded = true,
        }
    }

    fn note(&mut self) {
        let before = self.noted.clone();
        let mountinfo = fs::read_to_string(HOST_MOUNTS).unwrap_or_default();
        for (device, lines) in &mut self.noted {
            let now = lines_about(*device, &mountinfo);
            if !now.is_empty() {
                *lines = now;
            }
        }
        if self.noted == before {
            return;
        }
        self.write_down();
        let fstab = fs::read_to_string(FSTAB).unwrap_or_default();
        let notes = self.noted.values().map(String::as_str).collect::<String>();
        for noted in Noted::read(&notes) {
            if let Noted::FileSystem(file_system) = &noted
                && let Err(why) = file_system.mounted_at_start(&fstab)
            {
                self.say(format!("{noted} would not be mounted again after a fence: {why}"));
            }
        }
    }

    fn write_down(&mut self) {
        let new = self.file.with_extension("new");
        let text = self.noted.values().map(String::as_str).collect::<String>();
        if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.file)) {
            self.say(format!("noting the disks' storages in {}: {error}", self.file.display()));
        }
    }

    fn bring_back(&mut self) {
        let noted = fs::read_to_string(&self.file).unwrap_or_default();
        let missing: Vec<Noted> = Noted::read(&noted).filter(|noted| !noted.is_there()).collect();
        if missing.is_empty() {
            // What was brought back and is guarded no more is nobody's concern at the next fence: its operator may have taken it away.
            self.before.clear();
            self.note();
            self.write_down();
            fs::remove_file(&self.marker).ok();
            self.away = false;
            self.said.clear();
            self.pending.store(false, Ordering::Release);
        }
        for noted in due(missing) {
            self.say(match noted.bring_back() {
                Ok(()) => format!("{noted} is brought back after the fence"),
                Err(why) => format!("{noted} cannot be brought back after the fence: {why}"),
            });
        }
    }

    fn say(&mut self, text: String) {
        if self.said.insert(text.clone()) {
            send(&self.events, Event::Trouble("storages", text));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Catches: a file system that its operator has unmounted since the last fence, since another host has it now, and that is
    /// mounted again after the next one.
    #[test]
    fn what_was_brought_back_is_forgotten_until_it_is_named_again() -> io::Result<()> {
        let run_dir = tempfile::tempdir()?;
        let (file, marker) = (run_dir.path().join(FILE), run_dir.path().join(MARKER));
        // Of a session that is gone: nobody waits for it.
        let there = "scsi 2064 4294967295:0:0:1\n";
        let (events, _inbox) = unbounded_channel();
        let mut keeper = Keeper {
            file: file.clone(),
            marker: marker.clone(),
            noted: BTreeMap::new(),
            before: read_notes(there),
            away: true,
            guarded: true,
            pending: Arc::new(AtomicBool::new(true)),
            events,
            said: BTreeSet::new(),
        };
        fs::write(&marker, "")?;
        fs::write(&file, there)?;
        keeper.bring_back();
        assert_eq!(fs::read_to_string(&file)?, "");
        assert!(!marker.exists() && !keeper.away && !keeper.pending.load(Ordering::Acquire));
        keeper.hear(News::Names(BTreeSet::from([2064])));
        assert_eq!(keeper.noted, BTreeMap::from([(2064, String::new())]));
        Ok(())
    }
}
