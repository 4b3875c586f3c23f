//! All domain processes of this host, each held by a pidfd from the moment it is found until its exit is seen. A domain's
//! files may disappear before its process does; what is held stays held.

use std::path::Path;
use std::time::Duration;

use leasefence_core::fencing::{ANY_DEVICE, DomainProcess, Fencer};
use leasefence_core::ids::DomainId;
use leasefence_core::time::Instant;

use crate::finder::{Finder, MOST_WRITERS, Troubles, Writer};
use crate::process::{self, Process};
use crate::run_files::{Candidate, RunFiles};

/// How often everything is read though nothing seems to have changed.
const FULL_INTERVAL: Duration = Duration::from_secs(1);
/// As many as the page has room for. Beyond it a scan does not count as complete, so that nothing is proven by it.
const MOST_PROCESSES: usize = leasefence_page::MAX_PROCESSES;

/// The processes, and where they are looked for.
pub(crate) struct Discovery {
    files: RunFiles,
    finder: Finder,
    processes: Vec<Process>,
    /// As in `Scan`: rebuilt by each look.
    listed: Vec<DomainProcess>,
    last_change: Option<(i64, i64)>,
    last_full: Option<Instant>,
    thorough: bool,
    /// The look after which another was asked for, since a writer of it has ended.
    asked_after: Option<Instant>,
    complete: bool,
    /// When the finder's last look began, where it counts.
    searched: Option<Instant>,
    /// What others than these processes have open for writing: the devices, each once, and who has it open.
    written: Vec<u64>,
    writers: Vec<Writer>,
    /// Pid and start time of those whose exit was seen last: the finder may not have heard of it.
    ended: Vec<(u32, u64)>,
    /// Exits seen since they were last asked for.
    exits: usize,
}

impl Discovery {
    pub(crate) fn new(
        run_dir: &Path,
        libvirt_run_dir: &Path,
        restored: &[DomainProcess],
    ) -> std::io::Result<Self> {
        let mut discovery = Self::with(Finder::start(run_dir)?, libvirt_run_dir);
        discovery.hold_again(restored);
        Ok(discovery)
    }

    fn with(finder: Finder, libvirt_run_dir: &Path) -> Self {
        Self {
            files: RunFiles::new(libvirt_run_dir),
            finder,
            processes: Vec::with_capacity(MOST_PROCESSES),
            listed: Vec::with_capacity(MOST_PROCESSES),
            last_change: None,
            last_full: None,
            thorough: false,
            asked_after: None,
            complete: false,
            searched: None,
            written: Vec::with_capacity(MOST_WRITERS),
            writers: Vec::with_capacity(MOST_WRITERS),
            ended: Vec::with_capacity(MOST_PROCESSES),
            exits: 0,
        }
    }

    /// Takes hold of what a fencer before this one listed in the page, by pid and start time.
    pub(crate) fn hold_again(&mut self, listed: &[DomainProcess]) {
        for process in listed {
            let candidate =
                Candidate { domain: process.domain, pid: process.pid, start_time: process.start_time };
            self.hold(candidate);
        }
    }

    /// Looks once: drops what is seen to have exited, reads the directory when it changed or a second has passed.
    /// `thorough` reads it in any case: while there is no lease, a newcomer must not live for a second.
    pub(crate) fn look(&mut self, now: Instant, thorough: bool) {
        // A lease has just ended, and its proof needs a search that begins from now on.
        if thorough && !self.thorough {
            self.finder.ask();
        }
        self.thorough = thorough;
        let before = self.processes.len();
        let ended = &mut self.ended;
        self.processes.retain(|process| {
            let exit_seen = process.exit_seen();
            if exit_seen {
                if ended.len() == MOST_PROCESSES {
                    ended.remove(0);
                }
                ended.push((process.pid, process.start_time));
            }
            !exit_seen
        });
        self.exits += before - self.processes.len();
        let change = self.files.changed();
        let due = self.last_full.is_none_or(|last| now.since_by_faster(last) >= FULL_INTERVAL);
        if thorough || due || !self.complete || change != self.last_change {
            self.read_everything();
            (self.last_change, self.last_full) = (change, Some(now));
        }
        let tells_all = self.note_written();
        self.searched = self.finder.searched(now).filter(|_| tells_all);
        self.listed.clear();
        self.listed.extend(self.processes.iter().map(Process::listed));
    }

    fn read_everything(&mut self) {
        let held = |pid| {
            let held = self.processes.iter().find(|process| process.pid == pid);
            held.map(|process| process.start_time)
        };
        self.complete = self.files.read(held);
        for index in 0..self.files.candidates().len() {
            let candidate = self.files.candidates()[index];
            self.hold(candidate);
        }
        self.finder.take();
        for index in 0..self.finder.last().len() {
            let candidate = self.finder.last()[index];
            self.hold(candidate);
        }
    }

    /// What is a domain's helper by libvirt's files is ended with it. False where there are more writers than can be told of.
    fn note_written(&mut self) -> bool {
        self.written.clear();
        self.writers.clear();
        let Some(writers) = self.finder.writers() else { return false };
        let mut has_ended = false;
        for writer in writers {
            let name = (writer.process.pid, writer.process.start_time);
            let is_held = self.processes.iter().any(|process| (process.pid, process.start_time) == name);
            if is_held || self.ended.contains(&name) {
                continue;
            }
            // The list is as old as the finder's look, and the kill may have ended this one since. It may have left a child with the
            // same files, so that only another look says so.
            has_ended |= self.thorough && process::has_ended(writer.process.pid);
            if !self.written.contains(&writer.device) {
                self.written.push(writer.device);
                self.writers.push(*writer);
            }
        }
        let look = Some(self.finder.looked());
        if has_ended && self.asked_after != look {
            self.asked_after = look;
            self.finder.ask();
        }
        true
    }

    fn hold(&mut self, candidate: Candidate) {
        let same = |process: &&mut Process| {
            process.pid == candidate.pid && process.start_time == candidate.start_time
        };
        if let Some(known) = self.processes.iter_mut().find(same) {
            // The status file may have come after the pid file.
            if known.domain == DomainId::default() {
                known.domain = candidate.domain;
            }
            return;
        }
        if self.processes.len() == MOST_PROCESSES {
            self.complete = false;
            return;
        }
        match Process::hold(candidate.pid, candidate.start_time, candidate.domain) {
            Ok(Some(process)) => self.processes.push(process),
            Ok(None) => {}
            Err(_) => self.complete = false,
        }
    }

    /// Sends SIGKILL to all that the fencer condemns, all of them before anything else is looked at. Returns how many were
    /// signalled for the first time, and how many could not be.
    pub(crate) fn kill_condemned(&mut self, fencer: &Fencer) -> (usize, usize) {
        let (mut killed, mut failed) = (0, 0);
        for process in self.processes.iter_mut().filter(|process| fencer.condemns(&process.listed())) {
            let first = !process.killed;
            match process.kill() {
                Ok(()) => killed += usize::from(first),
                Err(_) => failed += 1,
            }
        }
        (killed, failed)
    }

    /// The processes that the fencer condemns, of those whose exit has not been seen.
    pub(crate) fn condemned(&self, fencer: &Fencer) -> impl Iterator<Item = DomainProcess> {
        self.processes.iter().map(Process::listed).filter(|process| fencer.condemns(process))
    }

    /// The processes whose exit has not been seen.
    pub(crate) fn listed(&self) -> &[DomainProcess] {
        &self.listed
    }

    /// True when the last look could see everything that libvirt's files show, and hold it.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// When the last search began for what those files do not show; none when that is too long ago, or it could not tell of all.
    pub(crate) fn searched(&self) -> Option<Instant> {
        self.searched
    }

    /// The devices that others than the domains' processes have open for writing.
    pub(crate) fn outside_writers(&self) -> &[u64] {
        &self.written
    }

    /// Who has this device open, of those.
    pub(crate) fn outside_writer_of(&self, device: u64) -> Option<&Writer> {
        self.writers.iter().find(|writer| [device, ANY_DEVICE].contains(&writer.device))
    }

    /// What went wrong with the finder, before and now, where that has changed since this was last asked.
    pub(crate) fn take_troubles(&mut self, now: Instant) -> Option<(Troubles, Troubles)> {
        self.finder.news(now)
    }

    /// How many exits were seen since this was last asked.
    pub(crate) fn take_exits(&mut self) -> usize {
        std::mem::take(&mut self.exits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use std::process::{Command, Stdio};

    /// Catches: a host without a receipt in time, since a server of disks that ended with its guest writes until the finder's second
    /// has passed; and a proof over the child that such a server has left behind.
    #[test]
    fn a_writer_that_has_ended_since_the_look_has_another_look_asked_for_and_counts_until_then() {
        let mut child =
            Command::new("sleep").arg("30").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let finder = Finder::that_found(&[(child.id(), 7), (0, 8)]).unwrap();
        let mut discovery = Discovery::with(finder, Path::new("/nonexistent"));
        discovery.thorough = true;
        let mut noted = || {
            assert!(discovery.note_written());
            assert_eq!(discovery.outside_writers(), [7, 8]);
            discovery.finder.was_asked()
        };
        assert!(!noted());
        // Not reaped.
        child.kill().unwrap();
        while !process::has_ended(child.id()) {
            std::thread::yield_now();
        }
        assert!(noted());
        assert!(!noted(), "once for each look");
        child.wait().unwrap();
        discovery.asked_after = None;
        assert!(
            discovery.note_written() && discovery.finder.was_asked(),
            "nor is there such a process any more"
        );
    }
}
