//! Watches from outside, with this machine's own clock: each write that reaches the guest's disk, and each QEMU process
//! that comes or goes. It asks neither agents nor libvirt, so that it can contradict them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crate::disk_watch::DiskWatch;
use crate::process;
use crate::record::Record;
use crate::run_dir::RunDir;

/// How finely it looks: a sight is at most this much late.
const PERIOD: Duration = Duration::from_millis(20);

/// Looking for new processes costs more than looking at a few blocks, so it happens every this many periods.
const PERIODS_PER_PROCESS_SCAN: u32 = 3;

/// Something that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sight {
    /// A record appeared on the disk.
    Write(Record),
    /// A process of the guest appeared on a host.
    Started(String),
    /// It vanished.
    Ended(String),
}

/// A sight and when.
pub type Seen = (SystemTime, Sight);

/// A thread that watches one guest until it is dropped.
#[derive(Debug)]
pub struct Witness {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Begins to watch the guest of this name, whose disk is `disk`, on all hosts of a run.
    ///
    /// # Errors
    /// When the disk cannot be opened.
    pub fn start(run: &RunDir, guest: &str, disk: &Path) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut watch = Watch {
            disk: DiskWatch::open(disk)?,
            run: run.name(),
            guest: format!("guest={guest},"),
            processes: BTreeMap::new(),
            seen: Arc::clone(&seen),
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for period in 0_u32.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                watch.look(period);
                thread::sleep(PERIOD);
            }
        });
        Ok(Self { stop, seen, thread: Some(thread) })
    }

    /// All that was seen since `start`, oldest first.
    #[must_use]
    pub fn since(&self, start: SystemTime) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(at, _)| *at >= start).cloned().collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

struct Watch {
    disk: DiskWatch,
    run: String,
    guest: String,
    processes: BTreeMap<i32, (process::Process, String)>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Watch {
    fn look(&mut self, period: u32) {
        for record in self.disk.look() {
            self.note(Sight::Write(record));
        }
        self.forget_ended();
        if period.is_multiple_of(PERIODS_PER_PROCESS_SCAN) {
            self.look_for_processes();
        }
    }

    fn note(&self, sight: Sight) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((SystemTime::now(), sight));
    }

    fn forget_ended(&mut self) {
        let ended: Vec<_> = self.processes.extract_if(.., |_, (process, _)| !process.is_alive()).collect();
        for (_, (_, host)) in ended {
            self.note(Sight::Ended(host));
        }
    }

    fn look_for_processes(&mut self) {
        for process in process::all_named("qemu-system-x86_64") {
            if self.processes.contains_key(&process.pid) || !self.is_guest(process.pid) {
                continue;
            }
            if let Some(host) = self.host_of(process.pid) {
                self.note(Sight::Started(host.clone()));
                self.processes.insert(process.pid, (process, host));
            }
        }
    }

    fn is_guest(&self, pid: i32) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&self.guest)
    }

    /// The host is in the name of the control group: `leasefence-demo-RUN-HOST`.
    fn host_of(&self, pid: i32) -> Option<String> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let (_, rest) = groups.split_once(&format!("leasefence-demo-{}-", self.run))?;
        Some(rest.split(['/', '\n']).next()?.to_owned())
    }
}
