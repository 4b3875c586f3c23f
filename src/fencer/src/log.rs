//! Lines for people on stderr, stamped with `CLOCK_BOOTTIME`. While a proof is owed they are only kept, and written after
//! it: nothing that could stall stands between the lease's end and CLEAN. A reader that does not read loses lines.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::stderr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};

const MOST_LINES: usize = 256;

/// The log.
#[derive(Default)]
pub(crate) struct Log {
    lines: VecDeque<String>,
    lost: usize,
}

impl Log {
    /// Keeps a line, stamped now. Nothing is written yet.
    pub(crate) fn line(&mut self, text: impl Display) {
        if self.lines.len() == MOST_LINES {
            self.lost += 1;
            return;
        }
        let now = leasefence_clock::instant().boot_ns;
        self.lines.push_back(format!("{}.{:06} {text}\n", now / 1_000_000_000, now / 1000 % 1_000_000));
    }

    /// Writes what is kept, as far as stderr takes it at once.
    pub(crate) fn flush(&mut self) {
        while let Some(line) = self.lines.front() {
            if !write_if_it_takes_it(line.as_bytes()) {
                return;
            }
            self.lines.pop_front();
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.line(format_args!("{lost} lines lost: the log was not read"));
        }
    }
}

/// True when the line was written, or can never be. A journal is a socket, and takes a flag that says not to wait; a pipe or
/// a terminal is asked first.
fn write_if_it_takes_it(line: &[u8]) -> bool {
    match send(stderr(), line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN) => return false,
        Err(Errno::NOTSOCK) => {}
        Ok(_) | Err(_) => return true,
    }
    let stderr = stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(1) {
        return false;
    }
    // A line is shorter than what a pipe that can be written to at all takes at once; an error is nobody's business here.
    !matches!(write(&stderr, line), Err(Errno::AGAIN))
}
