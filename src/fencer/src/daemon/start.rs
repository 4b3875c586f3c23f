//! The set-up, before anything is guarded: what must be there, the lock, the page that was kept, the helper threads.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use leasefence_core::fencing::{Fencer, FencerHalf, RestoredPage};
use leasefence_core::ids::BootId;
use leasefence_page::link::LinkServer;
use leasefence_page::{FencerPage, Page, WatchdogReport};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use super::Daemon;
use super::start_error::{StartError, file};
use super::tending::MOST_SAID;
use crate::cgroups::Cgroups;
use crate::discovery::Discovery;
use crate::hardening::{self, PidNamespace};
use crate::layout_file::{Held, LayoutFile};
use crate::log::Log;
use crate::manager::{Manager, Restored};
use crate::options::Options;
use crate::quiesce::Quiescence;
use crate::real_hands::RealHands;
use crate::reset::HostReset;
use crate::state_file::StateFile;
use crate::watchdog::Watchdog;

impl Daemon {
    pub(super) fn start(
        options: &Options,
        namespace: &PidNamespace,
        restored: Restored,
    ) -> Result<Self, StartError> {
        let boot_id = boot_id()?;
        // Before the helper threads, so that they inherit the blocked signals and not the priority.
        let signals = blocked_stop_signals()?;
        let mut log = Log::start().map_err(StartError::LogThread)?;
        let run_dir = &options.run_dir;
        fs::create_dir_all(run_dir).map_err(file("making the run directory", run_dir))?;
        let lock = lock(&run_dir.join("fencer.lock"))?;
        let state = StateFile::in_dir(run_dir);
        let Restored { page: restored, watchdog: device } = restored;
        let restored = restored.and_then(|fd| match Page::from_fd(fd) {
            Ok(page) => Some(page),
            Err(error) => {
                log.line(format_args!("error: the page in the service manager's store: {error}"));
                None
            }
        });
        log.line(match restored {
            Some(_) => "page restored from the service manager's store",
            None => "no page in the service manager's store, a new one",
        });
        let has_page = restored.is_some();
        let mut page = FencerPage::new(restored.map_or_else(Page::create, Ok)?);
        let known = if has_page { page.read_watchdog_report() } else { None };
        let mut layout_file = LayoutFile::in_dir(run_dir);
        // One that was kept is open, also where nothing is known of it.
        let held = known.unwrap_or_default();
        let held = Held::new(device.is_some() || held.open, held.nowayout);
        let wish = if has_page { page.read_reset_wish() } else { None };
        let reset = HostReset::start(options, namespace, boot_id, wish).map_err(StartError::ResetThread)?;
        if let Err(error) = layout_file.write(held, reset.is_on()) {
            log.line(format_args!("warning: writing page-layout: {error}"));
        }
        let watchdog = Watchdog::start(device, known.as_ref()).map_err(StartError::WatchdogThread)?;
        let (fencer, own) = begin(boot_id, &state, has_page.then_some(&mut page));
        let discovery = Discovery::new(run_dir, &options.libvirt_run_dir, &own.processes)
            .map_err(StartError::FinderThread)?;
        let cgroups = Cgroups::start().map_err(StartError::CgroupsThread)?;
        let server = LinkServer::bind(&run_dir.join("fencer.sock"))?;
        for line in hardening::harden() {
            log.line(line);
        }
        Ok(Self {
            fencer,
            hands: RealHands::new(page, state, discovery, log, reset, cgroups),
            server,
            signals,
            manager: Manager::from_env(),
            quiescence: (!options.no_quiesce).then(Quiescence::new),
            said: Vec::with_capacity(MOST_SAID),
            writer_said: None,
            #[cfg(debug_assertions)]
            allocations: crate::allocations::Watch::default(),
            watchdog,
            told_of_watchdog: WatchdogReport::default(),
            layout_file,
            _lock: lock,
        })
    }
}

pub(super) fn check_namespace(options: &Options) -> Result<PidNamespace, StartError> {
    let proc_self = Path::new("/proc/self");
    match hardening::pid_namespace().map_err(file("examining", proc_self))? {
        PidNamespace::Initial if !options.allow_initial_pid_namespace => Err(StartError::InitialPidNamespace),
        PidNamespace::ForeignProc => Err(StartError::ForeignProc),
        namespace @ (PidNamespace::Initial | PidNamespace::Other) => Ok(namespace),
    }
}

fn boot_id() -> Result<BootId, StartError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(file("reading", path))?;
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32);
    let number = number.ok_or_else(|| StartError::BootId { path: path.to_owned() })?;
    let mut bytes = number.to_le_bytes();
    bytes.reverse();
    Ok(BootId(bytes))
}

/// A second fencer would find itself without the page, take the lease for expired, and kill: it must not start. The lock is the
/// process's (`F_SETLK`): one of `flock` is the open file's, and a child that has not become another program yet would hold it on
/// after the fencer's death. Nobody in this process may open and close the file again: that gives it up.
fn lock(path: &Path) -> Result<File, StartError> {
    let mut options = File::options();
    let opened = options.write(true).create(true).truncate(false).mode(0o600).open(path);
    let lock = opened.map_err(file("opening", path))?;
    match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => Err(StartError::Another { path: path.to_owned() }),
        Err(error) => Err(file("locking", path)(error.into())),
    }
}

/// The fencer as the marker and the halves of `page` say, and what its predecessor had published.
fn begin(boot_id: BootId, state: &StateFile, page: Option<&mut FencerPage>) -> (Fencer, FencerHalf) {
    let now = leasefence_clock::now();
    let Some(page) = page else {
        let fencer = Fencer::start(&now, boot_id, state.read(), &RestoredPage::default());
        return (fencer, FencerHalf::default());
    };
    let own = page.read_own();
    let restored = RestoredPage::read(own.as_ref(), page.read_agent());
    let fencer = Fencer::start(&now, boot_id, state.read(), &restored);
    (fencer, own.good().unwrap_or_default())
}

/// Those that stop the fencer.
pub(crate) fn stop_signals() -> SigSet {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask
}

fn blocked_stop_signals() -> Result<SignalFd, StartError> {
    let mask = stop_signals();
    mask.thread_block().map_err(StartError::Signals)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(StartError::Signals)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use std::process::{Command, Stdio};

    /// Catches: a fencer that is killed while it starts a child, and whose successor finds the lock held.
    #[test]
    fn a_child_that_has_the_file_open_still_holds_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fencer.lock");
        let held = lock(&path).unwrap();
        let output = Stdio::from(held.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("30").stdout(output).stderr(Stdio::null()).spawn().unwrap();
        drop(held);
        let again = lock(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        again.unwrap();
    }
}
