//! The thread that keeps a finder running: starts it, hears it, ends one that hangs, and starts another. It may wait for a
//! finder; the fencing thread waits for neither.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use leasefence_core::fencing::ANY_DEVICE;
use leasefence_core::ids::DomainId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::record::{ProcessName, Record};
use super::{ARGUMENT, Found, HANGS, MOST, MOST_WRITERS, Shared, Writer, writers_file};
use crate::run_files::Candidate;

/// All of it is locked in memory.
const STACK_BYTES: usize = 64 * 1024;
/// Before a finder is started again: the first time, and at the most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// One that has lived for so long was well: whatever ended it, the next begins with the first pause.
const WELL: Duration = Duration::from_secs(10);
/// So long a finder that was killed is waited for. One that hangs in the kernel is left behind, and reaped when it has gone.
const DYING: Duration = Duration::from_millis(200);
/// So many may be left behind; with more of them none is started until one has gone.
const MOST_LEFT: usize = 3;
/// So many that a finder has hung over are kept in mind; the oldest is tried again.
const MOST_SKIPPED: usize = 32;

/// Starts it.
pub(super) fn start(shared: Arc<Shared>, asks: OwnedFd, run_dir: &Path) -> io::Result<()> {
    let keeper = Keeper::new(shared, asks, run_dir);
    let run = move || keeper.keep_for_ever(&this_program);
    thread::Builder::new().name("finder".into()).stack_size(STACK_BYTES).spawn(run).map(|_| ())
}

/// The one that runs, also where an upgrade has put another in its place.
fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("leasefence-finder").arg(ARGUMENT).env_clear();
    command
}

struct Keeper {
    shared: Arc<Shared>,
    /// Readable where the fencing thread wants a look at once.
    asks: OwnedFd,
    /// What finders have hung over, as the next one is told of it.
    skipped: Vec<Record>,
    left_behind: Vec<Child>,
    /// What the last look found, and those after it that did not end.
    found: Found,
    /// Where writers are written down, for the agent, and which stand there.
    run_dir: PathBuf,
    written: Option<Vec<Writer>>,
}

/// How a finder came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// It said nothing for too long; the next one is to leave this alone, where it is known over what.
    Hung(Option<Record>),
    /// Its socket was closed, or it said what is no record.
    Ended,
}

impl Keeper {
    fn new(shared: Arc<Shared>, asks: OwnedFd, run_dir: &Path) -> Self {
        Self {
            shared,
            asks,
            skipped: Vec::new(),
            left_behind: Vec::new(),
            found: Found::default(),
            run_dir: run_dir.to_owned(),
            written: None,
        }
    }

    fn keep_for_ever(mut self, program: &dyn Fn() -> Command) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = std::time::Instant::now();
            self.reap();
            self.keep_one(program);
            pause = if begun.elapsed() >= WELL { FIRST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
            thread::sleep(pause);
        }
    }

    /// Starts one, and hears it to its end.
    fn keep_one(&mut self, program: &dyn Fn() -> Command) {
        let started = if self.left_behind.len() < MOST_LEFT { self.start_one(program).ok() } else { None };
        let Some((child, socket)) = started else {
            self.shared.not_started.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let ending = self.hear(&socket);
        drop(socket);
        self.end(child);
        match ending {
            Ending::Hung(over) => {
                self.shared.hung.fetch_add(1, Ordering::Relaxed);
                over.into_iter().for_each(|record| self.skip(record));
            }
            Ending::Ended => {
                self.shared.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn start_one(&self, program: &dyn Fn() -> Command) -> io::Result<(Child, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = program();
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        // The other end lives in the command too: without this its end would not be seen.
        drop(command);
        let told = self.skipped.iter().try_for_each(|record| record.send(&ours));
        // One that has ended already is seen to have.
        told.and_then(|()| Record::Go.send(&ours)).ok();
        Ok((child, ours))
    }

    /// Hears a finder until it ends or hangs.
    fn hear(&mut self, socket: &OwnedFd) -> Ending {
        let mut look = Look::default();
        loop {
            if !self.speaks(socket) {
                let over = look.hung_over();
                self.add(&look.found);
                return Ending::Hung(over);
            }
            // What `speaks` says may be a signal's doing: it must be asked again then, and not waited here.
            match Record::receive_now(socket) {
                Ok(Record::Begin(at)) => {
                    look = Look::default();
                    look.found.looked = at;
                }
                Ok(record @ (Record::Reading(_) | Record::ReadingFiles(..))) => look.reading = Some(record),
                // More than the fencing thread takes need not be kept.
                Ok(Record::Domain(process, domain)) if look.found.domains.len() < MOST => {
                    look.found.domains.push(candidate(process, domain));
                }
                Ok(Record::Writer(process, device, name)) if look.found.writers.len() <= MOST_WRITERS => {
                    look.found.writers.push(Writer { process, device, name });
                }
                Ok(Record::Domain(..) | Record::Writer(..)) | Err(Errno::AGAIN) => {}
                Ok(Record::Unlocked) => self.shared.unlocked.store(true, Ordering::Relaxed),
                Ok(Record::End) => {
                    self.found = look.found;
                    self.shared.tell(&self.found);
                    self.write_down();
                    look = Look::default();
                }
                Ok(Record::Skip(_) | Record::SkipFiles(_) | Record::Go) | Err(_) => {
                    self.add(&look.found);
                    return Ending::Ended;
                }
            }
        }
    }

    /// False once it has said nothing for too long. In two halves: where this process and the finder were both kept from running,
    /// the first has passed before the finder's turn comes.
    fn speaks(&self, socket: &OwnedFd) -> bool {
        let half = HANGS / 2;
        let half = Timespec { tv_sec: half.as_secs().cast_signed(), tv_nsec: half.subsec_nanos().into() };
        let mut silent = 0;
        while silent < 2 {
            let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&self.asks, PollFlags::IN)];
            match poll(&mut fds, Some(&half)) {
                Ok(0) => silent += 1,
                Ok(_) if fds[0].revents().is_empty() => self.pass_on(socket),
                _ => return true,
            }
        }
        false
    }

    /// That a look is wanted at once. A finder that is in the middle of one makes another after it.
    fn pass_on(&self, socket: &OwnedFd) {
        rustix::io::read(&self.asks, &mut [0; 8]).ok();
        // One that takes nothing more has ended, or been asked often enough.
        Record::Go.send_now(socket).ok();
    }

    /// A look that did not end takes nothing away, and what it found counts all the same.
    fn add(&mut self, found: &Found) {
        add(&mut self.found.domains, &found.domains);
        add(&mut self.found.writers, &found.writers);
        self.shared.tell(&self.found);
    }

    /// Where they have changed, or could not be written down.
    fn write_down(&mut self) {
        if self.written.as_ref() != Some(&self.found.writers) {
            let written = writers_file::write(&self.run_dir, &self.found.writers);
            self.written = written.is_ok().then(|| self.found.writers.clone());
        }
    }

    fn skip(&mut self, record: Record) {
        self.skipped.retain(|known| *known != record);
        if self.skipped.len() == MOST_SKIPPED {
            self.skipped.remove(0);
        }
        self.skipped.push(record);
    }

    fn end(&mut self, mut child: Child) {
        child.kill().ok();
        let begun = std::time::Instant::now();
        while begun.elapsed() < DYING {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.left_behind.push(child);
    }

    fn reap(&mut self) {
        self.left_behind.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
    }
}

fn add<T: Copy + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if list.len() < MOST && !list.contains(item) {
            list.push(*item);
        }
    }
}

/// A look under way.
#[derive(Default)]
struct Look {
    /// And when it began.
    found: Found,
    /// What it said last that it reads.
    reading: Option<Record>,
}

impl Look {
    /// What the next finder is told of that over which this one hung: its process is an unknown domain's, or writes to everything.
    fn hung_over(&mut self) -> Option<Record> {
        match self.reading? {
            Record::Reading(process) if process.start_time != 0 => {
                self.found.domains.push(unknown(process));
                Some(Record::Skip(process))
            }
            Record::ReadingFiles(process, name) => {
                self.found.writers.push(Writer { process, device: ANY_DEVICE, name });
                Some(Record::SkipFiles(process))
            }
            _ => None,
        }
    }
}

fn candidate(process: ProcessName, domain: DomainId) -> Candidate {
    Candidate { domain, pid: process.pid, start_time: process.start_time }
}

fn unknown(process: ProcessName) -> Candidate {
    candidate(process, DomainId::default())
}
