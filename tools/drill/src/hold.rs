//! A process that is stopped for a while, and let on whatever becomes of the drill.
//!
//! The one who stops it is a child in a session of its own: it lets the process on when its standard input ends, which it does when
//! the drill lets go or dies, or when the time is over. The drill does the same once the child has ended. Only both killed by force at
//! once would leave the process stopped.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as Blocked};
use rustix::process::Signal;

use crate::process::Process;

/// What the child says once the process is stopped.
const HELD: &str = "held";

/// This very program.
pub const SELF: &str = "/proc/self/exe";

/// A process that is stopped.
#[derive(Debug)]
pub struct Hold {
    child: Child,
    process: Process,
    released: bool,
}

impl Hold {
    /// Has a child stop the process, for `limit` at most. `program` is what the child runs: [`SELF`].
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn start(program: &Path, process: Process, limit: Duration) -> io::Result<Self> {
        let limit_ms = limit.as_millis().to_string();
        let mut child = Command::new(program)
            .args(["drill", "hold", &process.pid().to_string(), &limit_ms, process.program()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut said));
        let hold = Self { child, process, released: false };
        match read {
            Some(Ok(_)) if said.trim_end() == HELD => Ok(hold),
            _ => Err(io::Error::other(format!(
                "the process that should stop {} could not",
                hold.process.pid()
            ))),
        }
    }

    /// Whether the process has ended all the same.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.process.is_gone()
    }

    /// Lets the process on.
    pub fn release(mut self) {
        self.let_go();
    }

    fn let_go(&mut self) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        drop(self.child.stdin.take());
        self.child.wait().ok();
        // The child has done so, unless it was killed.
        self.process.signal(Signal::CONT).ok();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The child: stops a process, and lets it on when standard input ends, a signal asks for an end, or the time is over.
/// `program` is what the process must run: its number may have come to mean another one.
///
/// # Errors
/// When the process cannot be stopped.
pub fn run(pid: u32, program: &str, limit: Duration) -> io::Result<()> {
    // In another session, so that what ends the drill by its terminal or its process group does not end this, too.
    nix::unistd::setsid().ok();
    // Signals that would end this process wait; the drill's end is seen by standard input.
    let mut blocked = SigSet::empty();
    for signal in [Blocked::SIGINT, Blocked::SIGTERM, Blocked::SIGHUP, Blocked::SIGQUIT, Blocked::SIGPIPE] {
        blocked.add(signal);
    }
    blocked.thread_block()?;
    let process = Process::open(pid, program)?;
    process.signal(Signal::STOP)?;
    let said = writeln!(io::stdout(), "{HELD}").and_then(|()| io::stdout().flush());
    if said.is_ok() {
        wait_for_end(limit, &process);
    }
    process.signal(Signal::CONT)
}

fn wait_for_end(limit: Duration, process: &Process) {
    let begun = Instant::now();
    let stdin = io::stdin();
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() || process.is_gone() {
            return;
        }
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let step = PollTimeout::try_from(left.min(Duration::from_secs(1))).unwrap_or(PollTimeout::ZERO);
        // Nobody writes there: what can be read is the end.
        if poll(&mut fds, step).is_ok_and(|ready| ready > 0) {
            return;
        }
    }
}
