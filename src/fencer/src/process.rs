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
        // A zombie that nobody has reaped yet keeps its pid, and is no process any more.
        if has_exited(&pidfd) {
            return Ok(None);
        }
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

    /// True once its exit is *seen*: the pidfd is readable. The kernel says so of the whole thread group, once the leader has
    /// an exit state and no other thread is left (`pidfd_poll`: `!task || (task->exit_state && thread_group_empty(task))`,
    /// kernel/fork.c since 5.3, `thread_group_exited` since 5.9, fs/pidfs.c since 6.9), and each thread gets that far only
    /// after `exit_mm`, `exit_files` and its task work (`do_exit`). That says nothing of AIO: `exit_mm` gives up a reference, and whoever
    /// has the last one to that memory runs `exit_aio`, later than this where it is another (a reader of /proc). The proof of each
    /// storage holds the file, and does not rest on it. A leader that is a zombie while a thread hangs in the kernel
    /// has not exited. `stat` could add nothing, since a `Z` there is the leader's exit state alone, and reading it takes a
    /// reference to the memory of one that is dying: the reader may be left to free it, and to wait for its AIO (`do_task_stat`).
    pub(crate) fn exit_seen(&self) -> bool {
        has_exited(&self.pidfd)
    }

    /// As it stands in the fencer's half of the page.
    pub(crate) fn listed(&self) -> DomainProcess {
        DomainProcess { domain: self.domain, pid: self.pid, start_time: self.start_time, scan: 0 }
    }
}

/// True where no process has this pid any more, or the exit of the one that has it is seen. Whose it is nobody asks: reading a
/// `stat` for that may hold the reader up while it dies.
pub(crate) fn has_ended(pid: u32) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => has_exited(&pidfd),
        Err(error) => error == Errno::SRCH,
    }
}

fn has_exited(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
        && fds[0].revents().contains(PollFlags::IN)
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
