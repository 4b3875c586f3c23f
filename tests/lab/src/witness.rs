//! Watches from outside, with this machine's own clock: each write that reaches the guest's disk, each process of the guest
//! that comes or goes, and each reset of a hypervisor. A watcher in each machine looks (see [`crate::inside`]) and prints over the
//! management card, which no cut of the lab's networks touches; resets are QEMU's to tell.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use leasefence_demo::witness::{Seen, Sight};

use crate::cluster::Cluster;
use crate::guest;
use crate::inside::Line;
use crate::lab::Lab;
use crate::machine::{STORAGE, hypervisors};
use crate::qmp;
use crate::resets::{By, Reset, Resets};
use crate::waits::{self, LongestWait, Waited, Waits};

/// Until a watcher that ended is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// The ssh that reads a watcher's lines, while there is one.
type Watched = Arc<Mutex<Option<Child>>>;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Witness {
    shared: Arc<Shared>,
    watchers: Vec<(Watched, JoinHandle<()>)>,
    listeners: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    resets: Mutex<Vec<Reset>>,
    waits: Mutex<Vec<Waited>>,
}

impl Witness {
    /// Begins to watch a cluster's guest and its disk.
    #[must_use]
    pub fn start(cluster: &Cluster) -> Self {
        let mut witness = Self { shared: Arc::default(), watchers: Vec::new(), listeners: Vec::new() };
        let disk = cluster.storage().guest_disk_at_home();
        let (mut waits, shared) = (Waits::of(cluster.lab()), Arc::clone(&witness.shared));
        witness.listeners.push(thread::spawn(move || {
            while !shared.stop.load(Ordering::Relaxed) {
                thread::sleep(waits::PERIOD);
                lock(&shared.waits).push(waits.look());
            }
        }));
        witness.watch(cluster.lab(), STORAGE, format!("/lab/leasefence-lab inside writes {disk}"));
        for host in hypervisors() {
            let command = format!("/lab/leasefence-lab inside processes {}", guest::NAME);
            witness.watch(cluster.lab(), host, command);
            let (lab, shared) = (cluster.lab().clone(), Arc::clone(&witness.shared));
            witness.listeners.push(thread::spawn(move || listen(&lab, host, &shared)));
        }
        witness
    }

    fn watch(&mut self, lab: &Lab, machine: &'static str, command: String) {
        let child = Arc::new(Mutex::new(None));
        let watcher = Watcher {
            lab: lab.clone(),
            machine,
            command,
            shared: Arc::clone(&self.shared),
            child: Arc::clone(&child),
            running: false,
        };
        self.watchers.push((child, thread::spawn(move || watcher.run())));
    }

    /// All that was seen since `start`, oldest first.
    #[must_use]
    pub fn since(&self, start: SystemTime) -> Vec<Seen> {
        lock(&self.shared.seen).iter().filter(|(at, _)| *at >= start).cloned().collect()
    }

    /// All resets since `start`, oldest first.
    #[must_use]
    pub fn resets_since(&self, start: SystemTime) -> Vec<Reset> {
        lock(&self.shared.resets).iter().filter(|reset| reset.at >= start).copied().collect()
    }

    /// The longest that a machine has waited for a processor since `start`.
    #[must_use]
    pub fn longest_wait_since(&self, start: SystemTime) -> Option<LongestWait> {
        LongestWait::among(&lock(&self.shared.waits), start)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for (child, thread) in self.watchers.drain(..) {
            if let Some(child) = lock(&child).as_mut() {
                child.kill().ok();
            }
            thread.join().ok();
        }
        for thread in self.listeners.drain(..) {
            thread.join().ok();
        }
    }
}

/// Listens to what a machine's QEMU says of its resets.
fn listen(lab: &Lab, host: &'static str, shared: &Shared) {
    let is_over = || shared.stop.load(Ordering::Relaxed);
    let socket = lab.run_dir().file(host, "events.sock");
    while !is_over() {
        let mut resets = Resets::of(host);
        let told = |event: &qmp::Event| {
            let Some(reset) = resets.next(event) else { return };
            lock(&shared.resets).push(reset);
            // Nobody has told the kept connection that its other end is gone. Whoever presses the button does.
            if reset.by != By::Button {
                lab.ssh(host).forget();
            }
        };
        qmp::listen(&socket, is_over, told).ok();
        thread::sleep(PAUSE);
    }
}

/// One machine's watcher.
struct Watcher {
    lab: Lab,
    machine: &'static str,
    command: String,
    shared: Arc<Shared>,
    child: Watched,
    /// Whether the guest has a process here, as last seen.
    running: bool,
}

impl Watcher {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if self.lab.is_on(self.machine)
                && let Some(output) = self.start()
            {
                BufReader::new(output).lines().map_while(Result::ok).for_each(|line| self.note(&line));
                lock(&self.child).take().map(|mut child| child.wait()).transpose().ok();
                self.lost();
            }
            thread::sleep(PAUSE);
        }
    }

    fn start(&self) -> Option<ChildStdout> {
        let ssh = self.lab.ssh(self.machine);
        let mut command = ssh.command(&mut Command::new("ssh"), &self.command);
        // Under the lock, as whoever ends it looks for the child after it has said so.
        let mut slot = lock(&self.child);
        if self.shared.stop.load(Ordering::Relaxed) {
            return None;
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let output = child.stdout.take();
        *slot = Some(child);
        output
    }

    fn note(&mut self, line: &str) {
        let sight = match serde_json::from_str(line) {
            Ok(Line::Write(record)) => Sight::Write(record),
            Ok(Line::Started) => Sight::Started(self.machine.into()),
            Ok(Line::Ended) => Sight::Ended(self.machine.into()),
            Err(_) => return,
        };
        self.running = match sight {
            Sight::Started(_) => true,
            Sight::Ended(_) => false,
            Sight::Write(_) => self.running,
        };
        lock(&self.shared.seen).push((SystemTime::now(), sight));
    }

    /// The machine went, and the guest with it. One that only lost its watcher shows the guest again at once.
    fn lost(&mut self) {
        if std::mem::take(&mut self.running) && !self.shared.stop.load(Ordering::Relaxed) {
            lock(&self.shared.seen).push((SystemTime::now(), Sight::Ended(self.machine.into())));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
