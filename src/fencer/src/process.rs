//! One domain process, held by a pidfd that was opened ahead of need: a pid may be given to another process, a pidfd never
//! is. All signals go through it.

use std::os::fd::OwnedFd;

use leasefence_core::fencing::DomainProcess;
use leasefence_core::ids::DomainId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::proc_stat;

/// A process that was a domain's when it was found.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) domain: DomainId,
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    /// True once SIGKILL was sent and accepted.
    pub(crate) killed: bool,
    pidfd: OwnedFd,
}

impl Process {
    /// Takes hold of the process `pid` that started at `start_time`; none when it has ended, or the pid is another's now.
    pub(crate) fn hold(pid: u32, start_time: u64, domain: DomainId) -> std::io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Only now does the start time say whose pidfd this is.
        let same = proc_stat::read(pid)?.is_some_and(|stat| stat.start_time == start_time);
        Ok(same.then_some(Self { domain, pid, start_time, killed: false, pidfd }))
    }

    /// Sends SIGKILL. A process that has ended already is no error.
    pub(crate) fn kill(&mut self) -> Result<(), Errno> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {
                self.killed = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// True once its exit is *seen*: the pidfd is readable, which it becomes when the last thread has exited, and `stat` is
    /// gone, another process's, or says so too. A leader that is a zombie while a thread hangs in the kernel has not exited.
    pub(crate) fn exit_seen(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let readable = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
            && fds[0].revents().contains(PollFlags::IN);
        readable
            && match proc_stat::read(self.pid) {
                Ok(None) => true,
                Ok(Some(stat)) => stat.start_time != self.start_time || matches!(stat.state, b'Z' | b'X'),
                Err(_) => false,
            }
    }

    /// As it stands in the fencer's half of the page.
    pub(crate) fn listed(&self) -> DomainProcess {
        DomainProcess { domain: self.domain, pid: self.pid, start_time: self.start_time, scan: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// Without a hold on this process's output, which a failed test would leave open.
    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("30")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sleep runs")
    }

    #[test]
    fn signalled_is_not_gone_and_a_zombie_is() {
        let mut child = sleeper();
        let stat = proc_stat::read(child.id()).expect("readable").expect("it runs");
        let held = Process::hold(child.id(), stat.start_time, DomainId::default());
        let mut process = held.expect("a pidfd").expect("the same process");
        // As if the kernel could not deliver it yet: a process that hangs in an uninterruptible call.
        process.killed = true;
        assert!(!process.exit_seen());
        process.kill().expect("signalled");
        while !process.exit_seen() {
            std::thread::yield_now();
        }
        let zombie = proc_stat::read(child.id()).expect("readable").expect("not reaped");
        assert_eq!(zombie.state, b'Z');
        child.wait().expect("reaped");
        assert!(process.exit_seen());
        process.kill().expect("a process that has ended is no error");
    }

    #[test]
    fn a_process_with_another_start_time_is_not_held() {
        let mut child = sleeper();
        let stat = proc_stat::read(child.id()).expect("readable").expect("it runs");
        let held = Process::hold(child.id(), stat.start_time - 1, DomainId::default());
        assert!(held.expect("readable").is_none());
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
