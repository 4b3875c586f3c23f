//! Processes of this host, by descriptors that cannot come to mean another one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    program: String,
    fd: OwnedFd,
}

impl Process {
    /// The process with this number, if it runs a program of this name.
    ///
    /// # Errors
    /// When there is none, or it is another program's.
    pub fn open(pid: u32, program: &str) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(number, PidfdFlags::empty())?;
        // Looked at after it was opened: what is read now is of the process that the descriptor means, or that one has ended.
        let comm = comm(pid)?;
        if comm != shortened(program) {
            return Err(io::Error::other(format!("process {pid} is {comm:?}, not {program}")));
        }
        Ok(Self { pid, program: comm, fd })
    }

    /// The same, by the file that holds its number.
    ///
    /// # Errors
    /// As [`Self::open`], and when the file cannot be read.
    pub fn of_file(file: &Path, program: &str) -> io::Result<Self> {
        let text = fs::read_to_string(file)?;
        Self::open(text.trim().parse().map_err(io::Error::other)?, program)
    }

    /// The QEMU that runs a domain, by the file in which libvirt keeps its number.
    ///
    /// # Errors
    /// As [`Self::open`], and when there is no such file.
    pub fn of_domain(name: &str) -> io::Result<Self> {
        let file = Path::new("/run/libvirt/qemu").join(format!("{name}.pid"));
        let pid = fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)?;
        let program = comm(pid)?;
        if !program.starts_with("qemu") {
            return Err(io::Error::other(format!("process {pid} is {program:?}, not QEMU")));
        }
        Self::open(pid, &program)
    }

    /// The one process that runs a program.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only(program: &str) -> io::Result<Self> {
        let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let found: Vec<u32> =
            pids.filter(|pid| comm(*pid).is_ok_and(|name| name == shortened(program))).collect();
        match found[..] {
            [pid] => Self::open(pid, program),
            [] => Err(io::Error::other(format!("no {program} runs here"))),
            _ => Err(io::Error::other(format!("{} processes named {program} run here", found.len()))),
        }
    }

    /// The name of the program that it ran when it was opened, as the kernel shortens it.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone, or not ours to signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.fd, signal)?)
    }

    /// Waits until it is gone; false when that cannot be waited for.
    #[must_use]
    pub fn wait_gone(&self) -> bool {
        loop {
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Whether it is gone by now.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

/// What the kernel keeps of a program's name.
fn shortened(program: &str) -> &str {
    program.get(..15).unwrap_or(program)
}

fn comm(pid: u32) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_found_by_number_and_name_together_and_seen_to_end() {
        let mut child =
            Command::new("sleep").arg("1000").stdout(std::process::Stdio::null()).spawn().expect("sleep");
        assert!(Process::open(child.id(), "leasefence-agent").is_err(), "it is another program");
        // Until it has become `sleep` it is still this one.
        let process = loop {
            if let Ok(process) = Process::open(child.id(), "sleep") {
                break process;
            }
        };
        assert!(!process.is_gone());
        process.signal(Signal::KILL).expect("it is ours");
        assert!(process.wait_gone());
        child.wait().expect("it has ended");
    }
}
