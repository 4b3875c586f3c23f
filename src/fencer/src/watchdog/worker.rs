//! The thread that holds the device: it opens it, pets it when it is told to, and lets it go. A driver that makes a call
//! wait (a slow management controller) makes this thread wait, and never the one that kills (R7).

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use leasefence_core::format::WatchdogClass;
use leasefence_core::time::Instant;
use leasefence_page::{Text, WatchdogDevice, WatchdogReport, WatchdogWish};
use nix::libc::ENODEV;
use rustix::io::Errno;

use super::device::Device;
use super::host::Host;
use super::opening;
use crate::hardening;
use crate::manager::Manager;

/// Enough for paths, sysfs and one record of the kernel's log; all of it is locked in memory.
const STACK_BYTES: usize = 128 * 1024;
/// How often a device is tried to be opened after one was let go.
const TRIES: u32 = 20;
/// How often the service manager is told to close its descriptor: it may have too many notes to read.
const TELLINGS: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// What the worker is asked to do beside petting.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and nothing is to be allocated")]
pub(super) enum Task {
    /// Take this wish in the place of the one before.
    Take(WatchdogWish),
    /// Go on with a device that a page says is open. Where nobody kept it, it is opened again, but not after `until`.
    GoOn { known: WatchdogReport, until: Instant },
    /// Let the device go: nothing is promised.
    LetGo,
}

/// What the two threads share. The main thread never waits for it.
#[derive(Default)]
pub(super) struct Shared {
    task: Mutex<Option<Task>>,
    /// True from a task's asking to its end.
    busy: AtomicBool,
    /// Pets asked for, and until when the last of them may be made.
    asked: AtomicU64,
    until: [AtomicU64; 2],
    /// Pets done or let be.
    done: AtomicU64,
    report: Mutex<WatchdogReport>,
    /// Counts reports.
    version: AtomicU64,
}

impl Shared {
    /// True while a task is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Leaves a task. Not while another is under way.
    pub(super) fn leave(&self, task: &Task) {
        self.busy.store(true, Ordering::Release);
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(*task);
    }

    /// True while a pet was asked for and has not ended.
    pub(super) fn is_petting(&self) -> bool {
        self.asked.load(Ordering::Relaxed) != self.done.load(Ordering::Acquire)
    }

    /// Asks for a pet that may be made until then, and not later.
    pub(super) fn ask_pet(&self, until: Instant) {
        self.until[0].store(until.boot_ns, Ordering::Relaxed);
        self.until[1].store(until.raw_ns, Ordering::Relaxed);
        self.asked.fetch_add(1, Ordering::Release);
    }

    /// True when there is a newer report than `seen`.
    pub(super) fn has_news(&self, seen: u64) -> bool {
        self.version.load(Ordering::Acquire) != seen
    }

    /// The newest report, where it is another than `seen` and can be had at once.
    pub(super) fn news(&self, seen: &mut u64) -> Option<WatchdogReport> {
        let version = self.version.load(Ordering::Acquire);
        if version == *seen {
            return None;
        }
        let report = self.report.try_lock().ok()?;
        *seen = version;
        Some(*report)
    }

    fn tell(&self, report: &WatchdogReport) {
        let mut told = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        *told = *report;
        self.version.fetch_add(1, Ordering::Release);
        drop(told);
    }

    fn pet_is_asked_for(&self) -> Option<Instant> {
        let asked = self.asked.load(Ordering::Acquire);
        (asked != self.done.load(Ordering::Relaxed)).then(|| Instant {
            boot_ns: self.until[0].load(Ordering::Relaxed),
            raw_ns: self.until[1].load(Ordering::Relaxed),
        })
    }
}

/// Starts the thread. `restored` is the device that the service manager kept.
pub(super) fn start(shared: Arc<Shared>, restored: Option<OwnedFd>) -> std::io::Result<Thread> {
    let worker = Worker {
        shared,
        host: Host::default(),
        manager: Manager::from_env(),
        device: restored.map(Device::restored),
        report: WatchdogReport::default(),
    };
    let handle =
        thread::Builder::new().name("watchdog".into()).stack_size(STACK_BYTES).spawn(move || worker.run())?;
    Ok(handle.thread().clone())
}

/// True when the moment that the core was asked about has passed: then it decides anew.
pub(super) fn is_past(now: Instant, until: Instant) -> bool {
    now.boot_ns > until.boot_ns || now.raw_ns > until.raw_ns
}

struct Worker {
    shared: Arc<Shared>,
    host: Host,
    manager: Manager,
    device: Option<Device>,
    report: WatchdogReport,
}

impl Worker {
    fn run(mut self) {
        // Where it is refused the main thread has said so.
        hardening::raise_own_priority().ok();
        loop {
            let task = self.shared.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task {
                // It looks through /proc and the kernel's log, and waits: nothing that others have to stand back for.
                hardening::lower_own_priority().ok();
                match task {
                    Task::Take(wish) => self.take(&wish),
                    Task::GoOn { known, until } => self.go_on(&known, until),
                    Task::LetGo => self.let_go(),
                }
                hardening::raise_own_priority().ok();
                self.shared.tell(&self.report);
                self.shared.busy.store(false, Ordering::Release);
            } else if let Some(until) = self.shared.pet_is_asked_for() {
                self.pet(until);
                self.shared.tell(&self.report);
                self.shared.done.fetch_add(1, Ordering::Release);
            } else {
                thread::park();
            }
        }
    }

    /// A device that was kept goes on as it was. One that was open and was not kept is running out: it is opened again,
    /// whatever is armed, since peers may have been told of it.
    fn go_on(&mut self, known: &WatchdogReport, until: Instant) {
        match &self.device {
            Some(_) if known.open => self.report = *known,
            Some(device) => match opening::look_again(&self.host, device) {
                Ok(report) => self.report = report,
                Err(why) => self.note(&why),
            },
            None if known.open => {
                (self.device, self.report) = opening::open_again(&self.host, known, until);
            }
            None => self.report = *known,
        }
        self.keep();
    }

    /// The device that is open is set anew where it is still what is wanted. Another is opened once it was let go: until the
    /// service manager has closed its descriptor too, the same device is busy. One that cannot be stopped is never let go for
    /// another: it would reset a host that is well.
    fn take(&mut self, wish: &WatchdogWish) {
        if let Some(device) = &self.device
            && opening::is_wanted(&self.host, device, wish)
            && let Ok(report) = opening::set_anew(device, wish, &self.report)
        {
            self.report = report;
            return;
        }
        if self.device.is_some() && self.report.nowayout {
            (self.report.wish, self.report.deferred) = (*wish, true);
            self.note(opening::KEPT);
            return;
        }
        let had_one = self.device.is_some();
        self.let_go();
        if self.device.is_some() {
            (self.report.wish, self.report.deferred) = (*wish, true);
            return;
        }
        let tries = if had_one { TRIES } else { 1 };
        for attempt in 1..=tries {
            self.open(wish);
            if self.device.is_some() || wish.device == WatchdogDevice::None || attempt == tries {
                break;
            }
            thread::sleep(BETWEEN_TRIES);
        }
        self.keep();
    }

    fn open(&mut self, wish: &WatchdogWish) {
        (self.device, self.report) = opening::open(&self.host, wish);
    }

    /// Asks the service manager to keep the device over a restart.
    fn keep(&self) {
        if let Some(device) = &self.device {
            self.manager.store_watchdog(device).ok();
        }
    }

    /// Lets the device go, but not where the service manager was not told to close its descriptor: after the magic letter the
    /// device would stop at that one's close, whenever that is, and whatever is armed by then.
    fn let_go(&mut self) {
        let Some(device) = self.device.take() else { return };
        if let Err(error) = self.forget() {
            self.device = Some(device);
            self.note(&format!(
                "it is kept, since the service manager does not take the note to close it: {error}"
            ));
            return;
        }
        let nowayout = self.report.nowayout;
        let said = opening::let_go(device, nowayout);
        // It answers no wish: whoever comes next takes the one in the page again.
        self.report = WatchdogReport::default();
        if let Err(why) = said {
            self.note(&why);
        } else if nowayout {
            self.note(opening::RUNS_ON);
        }
    }

    fn forget(&self) -> Result<(), Errno> {
        let mut told = self.manager.forget_watchdog();
        for _ in 1..TELLINGS {
            if told.is_ok() {
                break;
            }
            thread::sleep(BETWEEN_TRIES);
            told = self.manager.forget_watchdog();
        }
        told
    }

    /// One pet, unless its moment has passed: then the core decides anew.
    fn pet(&mut self, until: Instant) {
        let Some(device) = &self.device else { return };
        let now = leasefence_clock::instant();
        if is_past(now, until) {
            return;
        }
        match device.pet() {
            Ok(()) => self.report.last_pet = leasefence_clock::instant(),
            Err(error) => self.pet_failed(&error),
        }
    }

    /// A device that is gone resets nothing any more. Any other may still bite.
    fn pet_failed(&mut self, error: &std::io::Error) {
        self.note(&format!("petting it fails: {error}"));
        if error.raw_os_error() == Some(ENODEV) {
            self.report.class = WatchdogClass::None;
            self.report.open = false;
            self.device = None;
            self.manager.forget_watchdog().ok();
        }
    }

    fn note(&mut self, text: &str) {
        self.report.note = Text::cut(text);
    }
}
