//! The thread that looks at the storages, and brings them back. The rules stand at the top of `remount.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use leasefence_transport::{HOST_MOUNTS, read_list};

use super::fstab::host_fstab;
use super::noted::{Noted, What};
use super::notes::Notes;
use super::owed::{ATTEMPT, Owed};
use super::{News, Shown};
use crate::event::{Event, Events, send};

/// In the run directory: what a fence may take away. It outlives the agent, not the boot.
const NOTED: &str = "storages";
/// Beside it, while there is any: what is owed and not back.
const OWED: &str = "storages-away";
/// Between two looks, and two attempts at the same thing.
pub(super) const AGAIN: Duration = Duration::from_secs(5);
/// The fencer beats at least four times a second, and the main loop looks more often. Where it has not shown this host armed for so
/// long, nobody knows what it does now.
const FRESH: Duration = Duration::from_secs(2);

/// The thread.
pub(super) struct Keeper {
    /// The kernel's list of the host's mounts.
    mountinfo: PathBuf,
    shown: Arc<Shown>,
    /// None before the first page: the fencer goes by that of the agent before.
    named: Option<BTreeSet<u64>>,
    notes: Notes,
    owed: Owed,
    noted_file: Written,
    owed_file: Written,
    /// On `CLOCK_BOOTTIME`: when it was heard that a lease has ended.
    ended_ns: u64,
    /// When the last look had ended.
    looked_ns: u64,
    /// From the lease's end until all is back.
    waits: bool,
    pending: Arc<AtomicBool>,
    events: Events,
    said: BTreeSet<String>,
}

impl Keeper {
    pub(super) fn new(run_dir: &Path, shown: Arc<Shown>, events: Events) -> Self {
        let (noted_file, owed_file) = (Written::at(run_dir.join(NOTED)), Written::at(run_dir.join(OWED)));
        let notes = Notes::read(noted_file.text());
        let mut owed = Owed::default();
        match &owed_file.text {
            // Of an agent that only marked that something is away.
            Some(text) if text.is_empty() => owed.lease_ended(&notes),
            Some(text) => owed.lease_ended(&Notes::read(text)),
            None => {}
        }
        let waits = !owed.is_settled();
        Self {
            mountinfo: HOST_MOUNTS.into(),
            shown,
            named: None,
            notes,
            owed,
            noted_file,
            owed_file,
            ended_ns: 0,
            looked_ns: 0,
            waits,
            pending: Arc::new(AtomicBool::new(waits)),
            events,
            said: BTreeSet::new(),
        }
    }

    pub(super) fn pending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pending)
    }

    pub(super) fn run(&mut self, news: &Receiver<News>) {
        let mut wait = AGAIN;
        loop {
            match news.recv_timeout(wait) {
                Ok(first) => std::iter::once(first).chain(news.try_iter()).for_each(|news| self.hear(news)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // One thing at a time, for each may take a while: between two of them the news is heard.
            wait = match (self.look(), self.owed.is_trying()) {
                (true, _) => Duration::ZERO,
                (false, true) => ATTEMPT,
                (false, false) => AGAIN,
            };
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Names(named) => self.named = Some(named),
            News::Ended => {
                self.ended_ns = leasefence_clock::instant().boot_ns;
                self.owed.lease_ended(&self.notes);
                self.waits = true;
                self.pending.store(true, Ordering::Release);
                self.write_down();
            }
            News::Guarded => {}
        }
    }

    /// Looks at everything once, and tries to bring one thing back; true where another is to be tried at once.
    fn look(&mut self) -> bool {
        self.owed.tried().into_iter().for_each(|(name, brought)| self.say_of(&name, brought));
        let unlatched_ns = self.shown.unlatched_ns.load(Ordering::Acquire);
        if unlatched_ns <= self.ended_ns {
            // Half of it may be gone.
            return false;
        }
        let mountinfo = match read_list(&self.mountinfo) {
            Ok(mountinfo) => mountinfo,
            // That would make everything gone: it is no look.
            Err(error) => {
                self.say(format!("what is mounted cannot be read: {}: {error}", self.mountinfo.display()));
                return false;
            }
        };
        // What the look before did not find, the fencer had not taken away.
        let by_others = unlatched_ns > self.looked_ns;
        let new = match &self.named {
            Some(named) => self.notes.look(named, &mountinfo, by_others),
            None => Vec::new(),
        };
        let now_ns = leasefence_clock::instant().boot_ns;
        let seen = self.owed.look(&mountinfo, by_others, now_ns);
        self.looked_ns = leasefence_clock::instant().boot_ns;
        self.write_down();
        seen.into_iter().for_each(|text| self.say(text));
        self.warn_of(&new);
        if self.owed.is_settled() {
            self.owed = Owed::default();
            if std::mem::take(&mut self.waits) {
                self.said.clear();
                self.pending.store(false, Ordering::Release);
            }
        }
        self.bring_one_back(now_ns)
    }

    fn bring_one_back(&mut self, now_ns: u64) -> bool {
        if !self.is_guarded() {
            return false;
        }
        let Some((name, brought)) = self.owed.bring_next_back(now_ns) else { return false };
        self.say_of(&name, brought);
        true
    }

    /// What came of an attempt.
    fn say_of(&mut self, name: &str, brought: Result<(), String>) {
        if let Err(why) = brought {
            self.say(format!("{name} cannot be brought back after the fence: {why}"));
        }
    }

    /// Whether the fencer has just shown this host armed.
    fn is_guarded(&self) -> bool {
        let armed_ns = self.shown.armed_ns.load(Ordering::Acquire);
        let fresh_ns = u64::try_from(FRESH.as_nanos()).unwrap_or(u64::MAX);
        armed_ns > self.ended_ns && leasefence_clock::instant().boot_ns.saturating_sub(armed_ns) < fresh_ns
    }

    /// A file system that we would not mount, ahead of need.
    fn warn_of(&mut self, new: &[String]) {
        if new.is_empty() {
            return;
        }
        let fstab = host_fstab();
        for noted in new.iter().filter_map(|line| Noted::read(line)) {
            if let What::FileSystem(file_system) = &noted.what
                && let Err(why) = file_system.mounted_at_start(&fstab)
            {
                self.say(format!("{noted} would not be mounted again after a fence: {why}"));
            }
        }
    }

    fn write_down(&mut self) {
        let noted = Some(self.notes.text());
        let owed = Some(self.owed.text()).filter(|text| !text.is_empty());
        for written in [self.noted_file.put(noted), self.owed_file.put(owed)] {
            if let Err(why) = written {
                self.say(format!("noting the disks' storages: {why}"));
            }
        }
    }

    fn say(&mut self, text: String) {
        if self.said.insert(text.clone()) {
            send(&self.events, Event::Trouble("storages", text));
        }
    }
}

/// A file, and what it has.
struct Written {
    path: PathBuf,
    /// None where there is no such file.
    text: Option<String>,
}

impl Written {
    fn at(path: PathBuf) -> Self {
        Self { text: fs::read_to_string(&path).ok(), path }
    }

    fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Replaces the file where it has something else.
    fn put(&mut self, text: Option<String>) -> Result<(), String> {
        if text == self.text {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let put = match &text {
            Some(text) => fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)),
            None => fs::remove_file(&self.path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        };
        put.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.text = text;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
