//! Lines for people, stamped with `CLOCK_BOOTTIME`. The fencing thread puts them into a ring of fixed size, and never waits or
//! allocates for it; a thread of its own writes them to stderr, which may be a journal that nobody reads. Then lines are lost,
//! and counted.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const MOST_LINES: usize = 128;
/// A longer line is cut.
const LINE_BYTES: usize = 512;
const STACK_BYTES: usize = 32 * 1024;
/// The longest that the end of the process waits for the writer.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The fencing thread's end.
pub(crate) struct Log {
    ring: Arc<Ring>,
    writer: Thread,
}

/// Slots are filled and emptied in turn: one side never looks at a slot that is the other's, so that no lock is ever waited for.
struct Ring {
    slots: Box<[Mutex<Line>]>,
    filled: AtomicUsize,
    emptied: AtomicUsize,
    lost: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Line {
    len: usize,
    bytes: [u8; LINE_BYTES],
}

impl Log {
    /// Starts the thread that writes.
    pub(crate) fn start() -> io::Result<Self> {
        let empty = || Mutex::new(Line { len: 0, bytes: [0; LINE_BYTES] });
        let ring = Arc::new(Ring {
            slots: (0..MOST_LINES).map(|_| empty()).collect(),
            filled: AtomicUsize::new(0),
            emptied: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        });
        let theirs = Arc::clone(&ring);
        let run = move || theirs.write_for_ever();
        let handle = thread::Builder::new().name("log".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { ring, writer: handle.thread().clone() })
    }

    /// Keeps a line, stamped now. Nothing is written yet.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.ring.fill(|line| {
            let now = leasefence_clock::instant().boot_ns;
            writeln!(line, "{}.{:06} {text}", now / 1_000_000_000, now / 1000 % 1_000_000).ok();
        });
    }

    /// Has what is kept written.
    pub(crate) fn flush(&mut self) {
        if !self.ring.is_empty() {
            self.writer.unpark();
        }
    }

    /// Before the process ends: waits for the writer, as long as that takes the lines.
    pub(crate) fn last_words(&mut self) {
        let begun = Instant::now();
        while !self.ring.is_empty() && begun.elapsed() < LAST_WORDS {
            self.writer.unpark();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Ring {
    fn is_empty(&self) -> bool {
        self.filled.load(Ordering::Acquire) == self.emptied.load(Ordering::Acquire)
    }

    fn fill(&self, write: impl FnOnce(&mut Line)) {
        let filled = self.filled.load(Ordering::Relaxed);
        let is_full = filled - self.emptied.load(Ordering::Acquire) == self.slots.len();
        match self.slots[filled % self.slots.len()].try_lock() {
            Ok(mut line) if !is_full => {
                line.len = 0;
                write(&mut line);
                drop(line);
                self.filled.store(filled + 1, Ordering::Release);
            }
            _ => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes the oldest line.
    fn empty(&self) -> Option<Line> {
        let emptied = self.emptied.load(Ordering::Relaxed);
        if self.filled.load(Ordering::Acquire) == emptied {
            return None;
        }
        self.slots[emptied % self.slots.len()].try_lock().ok().map(|line| *line)
    }

    fn write_for_ever(&self) {
        loop {
            while let Some(line) = self.empty() {
                // Waits for whoever reads, and an error is nobody's business here.
                io::stderr().write_all(&line.bytes[..line.len]).ok();
                self.emptied.fetch_add(1, Ordering::Release);
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                writeln!(io::stderr(), "{lost} lines lost: the log was not read").ok();
            }
            thread::park();
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte is for the end of a line that is cut.
        let room = LINE_BYTES - 1 - self.len.min(LINE_BYTES - 1);
        let fits = text.len().min(room);
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits < text.len() {
            self.bytes[LINE_BYTES - 1] = b'\n';
            self.len = LINE_BYTES;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(slots: usize) -> Ring {
        let empty = || Mutex::new(Line { len: 0, bytes: [0; LINE_BYTES] });
        Ring {
            slots: (0..slots).map(|_| empty()).collect(),
            filled: AtomicUsize::new(0),
            emptied: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }
    }

    #[test]
    fn lines_come_out_in_order_and_a_full_ring_loses_the_new_ones_and_counts_them() {
        let ring = ring(2);
        let fill = |text: &str| ring.fill(|line| line.write_str(text).expect("it takes it"));
        let taken = || {
            let line = ring.empty().expect("a line");
            ring.emptied.fetch_add(1, Ordering::Release);
            String::from_utf8_lossy(&line.bytes[..line.len]).into_owned()
        };
        for text in ["a", "b", "c"] {
            fill(text);
        }
        assert_eq!(ring.lost.load(Ordering::Relaxed), 1);
        assert_eq!(taken(), "a");
        fill("d");
        assert_eq!((taken(), taken()), ("b".to_owned(), "d".to_owned()));
        assert!(ring.empty().is_none() && ring.is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_still_ends() {
        let ring = ring(1);
        ring.fill(|line| write!(line, "{}{}", "x".repeat(400), "y".repeat(400)).expect("it takes it"));
        let line = ring.empty().expect("a line");
        assert_eq!((line.len, line.bytes[LINE_BYTES - 1]), (LINE_BYTES, b'\n'));
    }
}
