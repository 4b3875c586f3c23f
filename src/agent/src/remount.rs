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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    unlatched_ns: Arc<AtomicU64>,
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
        let unlatched_ns = Arc::new(AtomicU64::new(0));
        let mut keeper = Keeper {
            before: read_notes(&fs::read_to_string(run_dir.join(FILE)).unwrap_or_default()),
            file: run_dir.join(FILE),
            marker,
            noted: BTreeMap::new(),
            unlatched_ns: Arc::clone(&unlatched_ns),
            looked_ns: 0,
            gone: BTreeSet::new(),
            away,
            guarded: false,
            was_back: BTreeSet::new(),
            given_up: BTreeSet::new(),
            pending: Arc::clone(&pending),
            events: events.clone(),
            said: BTreeSet::new(),
        };
        thread::Builder::new().name("storages".to_owned()).spawn(move || keeper.run(&heard))?;
        Ok(Self { news, named: BTreeSet::new(), ended: away, pending, unlatched_ns })
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
            return;
        }
        self.unlatched_ns.store(half.beat.boot_ns, Ordering::Release);
        if half.armed && std::mem::take(&mut self.ended) {
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
    /// The lines about each storage that the page names. Those of what is gone stay while the fencer may have taken it away.
    noted: BTreeMap<u64, String>,
    /// On `CLOCK_BOOTTIME`: a beat of the fencer's at which it had latched nothing, and thus taken nothing away.
    unlatched_ns: Arc<AtomicU64>,
    /// On the same clock: when the last look had ended.
    looked_ns: u64,
    /// The lines about what was not there at the last look.
    gone: BTreeSet<String>,
    /// What an agent before this one has noted.
    before: BTreeMap<u64, String>,
    away: bool,
    guarded: bool,
    /// What has been back since the lease's end.
    was_back: BTreeSet<String>,
    /// What was, and cannot be brought back once more: somebody has taken it away for good.
    given_up: BTreeSet<String>,
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
                self.gone.clear();
                self.was_back.clear();
                self.given_up.clear();
                self.pending.store(true, Ordering::Release);
                if let Err(error) = fs::write(&self.marker, "") {
                    self.say(format!("{}: {error}", self.marker.display()));
                }
            }
            News::Guarded => self.guarded = true,
        }
    }

    fn note(&mut self) {
        if self.look() {
            self.write_down();
        }
    }

    /// Looks at what leads to the storages now, and says of what is new whether a fence would take it for good. True when something
    /// is another than at the last look.
    fn look(&mut self) -> bool {
        let before = self.noted.clone();
        let not_by_the_fencer = self.unlatched_ns.load(Ordering::Acquire) > self.looked_ns;
        let for_good = std::mem::take(&mut self.gone);
        let mountinfo = fs::read_to_string(HOST_MOUNTS).unwrap_or_default();
        for (device, lines) in &mut self.noted {
            let now = lines_about(*device, &mountinfo);
            let gone = lines.lines().filter(|line| !now.lines().any(|there| there == *line));
            let kept = gone.filter(|line| !(not_by_the_fencer && for_good.contains(*line)));
            let kept: Vec<String> = kept.map(str::to_owned).collect();
            *lines = kept.iter().fold(String::new(), |text, line| text + line + "\n") + &now;
            self.gone.extend(kept);
        }
        self.looked_ns = leasefence_clock::instant().boot_ns;
        if self.noted == before {
            return false;
        }
        let fstab = fs::read_to_string(FSTAB).unwrap_or_default();
        let notes = self.noted.values().map(String::as_str).collect::<String>();
        for noted in Noted::read(&notes) {
            if let Noted::FileSystem(file_system) = &noted
                && let Err(why) = file_system.mounted_at_start(&fstab)
            {
                self.say(format!("{noted} would not be mounted again after a fence: {why}"));
            }
        }
        true
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
        let (back, mut missing): (Vec<Noted>, Vec<Noted>) = Noted::read(&noted).partition(Noted::is_there);
        self.was_back.extend(back.iter().map(ToString::to_string));
        missing.retain(|noted| !self.given_up.contains(&noted.to_string()));
        if missing.is_empty() {
            // What was brought back and is guarded no more is nobody's concern at the next fence: its operator may have taken it away.
            // It still stands in the file, also where nothing else has changed.
            self.before.clear();
            self.look();
            self.write_down();
            fs::remove_file(&self.marker).ok();
            self.away = false;
            self.said.clear();
            self.pending.store(false, Ordering::Release);
        }
        for noted in due(missing) {
            let brought = noted.bring_back();
            let name = noted.to_string();
            if noted.is_there() {
                self.was_back.insert(name);
            } else if self.was_back.contains(&name) {
                self.say(format!(
                    "{noted} was taken away after it had come back: it is waited for no longer"
                ));
                self.given_up.insert(name);
            }
            self.say(match brought {
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
mod tests;
