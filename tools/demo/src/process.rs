//! Names processes so that a pid which the kernel has given to somebody else is never taken for the old one, and finds
//! the processes of a host from outside its pid namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process: its pid alone may be reused, its pid and start time are not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Process {
    /// The pid in this process's own pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

impl Process {
    /// The process that now has this pid.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_pid(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start_ticks: Stat::read(pid)?.start_ticks })
    }

    /// This very process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn myself() -> io::Result<Self> {
        Self::from_pid(Pid::this().as_raw())
    }

    /// Whether it still runs. A zombie does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid).is_ok_and(|stat| stat.start_ticks == self.start_ticks && stat.state != 'Z')
    }

    /// Sends a signal, unless the process is gone.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than its absence.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The one child of this process, if it has forked by now.
    #[must_use]
    pub fn child(self) -> Option<Self> {
        all()
            .find(|stat| stat.parent == self.pid)
            .map(|stat| Self { pid: stat.pid, start_ticks: stat.start_ticks })
    }

    /// All processes in the pid namespace of this one, whose command's file name is `program`.
    #[must_use]
    pub fn named_in_same_namespace(self, program: &str) -> Vec<Self> {
        let Some(namespace) = pid_namespace(self.pid) else { return Vec::new() };
        all_named(program).filter(|process| pid_namespace(process.pid).as_ref() == Some(&namespace)).collect()
    }
}

/// All processes of this machine whose command's file name is `program`.
pub fn all_named(program: &str) -> impl Iterator<Item = Process> {
    all()
        .filter(move |stat| command(stat.pid) == program)
        .map(|stat| Process { pid: stat.pid, start_ticks: stat.start_ticks })
}

/// The fields of `/proc/PID/stat` that are of use here.
struct Stat {
    pid: i32,
    state: char,
    parent: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(pid, &text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not understood")))
    }

    /// The command's name may hold blanks and parentheses, so the fields are counted from its last `)`.
    fn parse(pid: i32, text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self { pid, state, parent, start_ticks })
    }
}

fn all() -> impl Iterator<Item = Stat> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Stat::read(pid).ok())
}

fn pid_namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// The file name of a process's first argument: `comm` is cut to 15 bytes.
fn command(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    first.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a ) b) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let stat = Stat::parse(7, text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.start_ticks), ('S', 3, 4242));
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let me = Process::myself().unwrap();
        let predecessor = Process { start_ticks: me.start_ticks - 1, ..me };
        assert!(me.is_alive());
        assert!(!predecessor.is_alive());
    }
}
