//! What systemd is to a real host: starts services, starts them again when they end, and reaps every orphan. (Libvirt
//! waits for its QEMU probes as long as they are zombies: with a PID 1 that does not reap, a start took minutes.)
//!
//! Standard input is the host's power cord and its console. Each line is `start NAME` or `stop NAME`; its end is the end.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::spec::{HostSpec, Service};

const RESTART_AFTER: Duration = Duration::from_secs(1);

struct Unit {
    service: Service,
    wanted: bool,
    pid: Option<Pid>,
    not_before: Option<Instant>,
}

pub(super) struct Supervisor {
    units: Vec<Unit>,
    log_dir: std::path::PathBuf,
    children_ended: SignalFd,
    console: Console,
}

impl Supervisor {
    pub(super) fn new(spec: &HostSpec) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        fs::create_dir_all(spec.log_dir())?;
        let unit = |service: &Service| Unit {
            service: service.clone(),
            wanted: spec.enabled.contains(&service.name),
            pid: None,
            not_before: None,
        };
        Ok(Self {
            units: spec.services.iter().map(unit).collect(),
            log_dir: spec.log_dir(),
            children_ended: SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
            console: Console::default(),
        })
    }

    /// Returns when the power cord is pulled.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            self.start_what_is_due();
            let readable = self.wait()?;
            self.reap();
            if readable {
                match self.console.read_lines()? {
                    Some(lines) => lines.iter().for_each(|line| self.obey(line)),
                    None => return Ok(()),
                }
            }
        }
    }

    /// Sleeps until a child ends, the console is readable (true) or a restart is due.
    fn wait(&mut self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut sources = [
            PollFd::new(self.children_ended.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, self.next_restart()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let readable = sources[1].any().unwrap_or(false);
        while let Ok(Some(_)) = self.children_ended.read_signal() {}
        Ok(readable)
    }

    fn next_restart(&self) -> PollTimeout {
        let waiting = self.units.iter().filter(|unit| unit.wanted && unit.pid.is_none());
        let Some(due) = waiting.filter_map(|unit| unit.not_before).min() else { return PollTimeout::NONE };
        let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn start_what_is_due(&mut self) {
        let now = Instant::now();
        for unit in &mut self.units {
            if unit.wanted && unit.pid.is_none() && unit.not_before.is_none_or(|due| due <= now) {
                unit.not_before = Some(now + RESTART_AFTER);
                unit.pid = spawn(&unit.service, &self.log_dir)
                    .inspect_err(|error| eprintln!("cannot start {}: {error}", unit.service.name))
                    .ok();
            }
        }
    }

    fn reap(&mut self) {
        let mut ended = HashMap::new();
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else { break };
            ended.insert(pid, status);
        }
        for unit in &mut self.units {
            if let Some(status) = unit.pid.and_then(|pid| ended.get(&pid)) {
                eprintln!("{} ended: {status:?}", unit.service.name);
                unit.pid = None;
                unit.not_before = Some(Instant::now() + RESTART_AFTER);
            }
        }
    }

    fn obey(&mut self, line: &str) {
        let Some((verb, name)) = line.split_once(' ') else { return };
        let Some(unit) = self.units.iter_mut().find(|unit| unit.service.name == name) else { return };
        unit.wanted = verb == "start";
        unit.not_before = None;
        if let (false, Some(pid)) = (unit.wanted, unit.pid) {
            kill(pid, Signal::SIGTERM).ok();
        }
    }
}

fn spawn(service: &Service, log_dir: &std::path::Path) -> io::Result<Pid> {
    let log =
        File::options().create(true).append(true).open(log_dir.join(format!("{}.log", service.name)))?;
    let (program, arguments) = service.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
}

/// Standard input, cut into lines.
#[derive(Default)]
struct Console {
    partial: String,
}

impl Console {
    /// The whole lines that have come, or none at the end of the input.
    fn read_lines(&mut self) -> io::Result<Option<Vec<String>>> {
        let mut bytes = [0; 512];
        let count = nix::unistd::read(io::stdin(), &mut bytes)?;
        if count == 0 {
            return Ok(None);
        }
        self.partial.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let mut lines: Vec<_> = self.partial.split('\n').map(str::to_owned).collect();
        self.partial = lines.pop().unwrap_or_default();
        Ok(Some(lines))
    }
}
