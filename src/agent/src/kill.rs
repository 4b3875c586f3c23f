//! Signals to domain processes that the fencer has found: by pidfd, after the start time has shown that the pid is still
//! theirs. It waits for nothing and asks libvirt nothing.

use std::fs;
use std::io;

use leasefence_core::fencing::DomainProcess;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Sends SIGKILL to one process. A process that is gone already, or whose pid belongs to another by now, is no error.
///
/// # Errors
/// The kernel's error when the signal could not be sent.
pub(crate) fn kill(process: &DomainProcess) -> io::Result<()> {
    signal(process, Signal::KILL)
}

/// Stops one process (SIGSTOP), as [`kill`]. False where it is stopped, or gone, already.
///
/// # Errors
/// As for [`kill`].
pub(crate) fn halt(process: &DomainProcess) -> io::Result<bool> {
    let runs = stat_word(process.pid, STATE).is_some_and(|state| state != STOPPED);
    if runs { signal(process, Signal::STOP).map(|()| true) } else { Ok(false) }
}

/// Lets one process go on that is stopped (SIGCONT); any other is left alone: false then.
///
/// # Errors
/// As for [`kill`].
pub(crate) fn go_on(process: &DomainProcess) -> io::Result<bool> {
    let stands = stat_word(process.pid, STATE).is_some_and(|state| state == STOPPED);
    if stands { signal(process, Signal::CONT).map(|()| true) } else { Ok(false) }
}

fn signal(process: &DomainProcess, signal: Signal) -> io::Result<()> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    // The descriptor now names one process for good; its start time says whether it is the one that was meant.
    if start_time(process.pid) != Some(process.start_time) {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Places in `/proc/PID/stat`, counted after the command, which may hold spaces and parentheses: fields 3 and 22.
const STATE: usize = 0;
const START_TIME: usize = 19;

/// The state of a process that was stopped by a signal.
const STOPPED: &str = "T";

/// When a process was started, in clock ticks; none when there is none.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    stat_word(pid, START_TIME)?.parse().ok()
}

fn stat_word(pid: u32, place: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(place).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, DomainProcess) {
        let child = Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let start_time = start_time(child.id()).expect("it has a start time");
        let process = DomainProcess { pid: child.id(), start_time, ..DomainProcess::default() };
        (child, process)
    }

    #[test]
    fn the_process_that_was_meant_is_killed_and_one_that_is_gone_is_no_error() {
        let (mut child, process) = sleeper();
        kill(&process).expect("it can be killed");
        assert!(!child.wait().expect("it ends").success());
        kill(&process).expect("gone is what was asked for");
    }

    /// Catches: a guest that stands still for ever, and one that a signal for another reaches.
    #[test]
    fn a_process_is_stopped_and_goes_on_and_one_that_is_not_stopped_is_left_alone() {
        let (mut child, process) = sleeper();
        let becomes = |wanted: &str| {
            for _ in 0..500 {
                if stat_word(process.pid, STATE).as_deref() == Some(wanted) {
                    return true;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            false
        };
        assert!(halt(&process).expect("it can be stopped"));
        assert!(becomes("T"));
        assert!(!halt(&process).expect("it is stopped"));
        go_on(&DomainProcess { start_time: process.start_time + 1, ..process }).expect("nothing to do");
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(becomes("T"), "another's");
        assert!(go_on(&process).expect("it goes on"));
        assert!(becomes("S"));
        assert!(!go_on(&process).expect("nothing to do"));
        kill(&process).expect("it can be killed");
        child.wait().expect("it ends");
        halt(&process).expect("gone is no error");
        go_on(&process).expect("gone is no error");
    }

    #[test]
    fn a_reused_pid_is_left_alone() {
        let (mut child, process) = sleeper();
        kill(&DomainProcess { start_time: process.start_time + 1, ..process }).expect("nothing to do");
        // A signal would need a moment to end it.
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(child.try_wait().expect("it can be asked").is_none(), "it still runs");
        kill(&process).expect("it can be killed");
        child.wait().expect("it ends");
    }
}
