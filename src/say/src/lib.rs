//! What a command line prints, for a reader who may go at any time, as in `leasefence status | head`. `println!` panics
//! then, in the middle of whatever is under way, and SIGPIPE would end the command there: a drill that holds a process, a lab
//! with machines of its own, a pipe to a child. So what nobody reads is dropped, and a command goes on to its end, whose exit
//! code says what came of it. One that does nothing but tell asks [`nobody_reads`], and ends.
//!
//! Standard output alone is written, and nothing is read. Not for what never ends (agent, fencer), nor for the hook.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first text that found no reader, for good: a pipe without one gets no other.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Prints a line, as `println!` does. One that nobody reads is dropped.
#[macro_export]
macro_rules! say {
    () => { $crate::print(::core::format_args!("\n")) };
    ($($text:tt)+) => { $crate::print(::core::format_args!("{}\n", ::core::format_args!($($text)+))) };
}

/// Prints a text as it is, as `print!` does, and at once. One that nobody reads is dropped.
pub fn text(text: &str) {
    print(format_args!("{text}"));
}

/// What [`say!`] is made of.
pub fn print(text: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_fmt(text).and_then(|()| stdout.flush());
    if printed.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        UNREAD.store(true, Ordering::Relaxed);
    }
}

/// Whether whoever read has gone, as the last text that was printed has shown.
#[must_use]
pub fn nobody_reads() -> bool {
    UNREAD.load(Ordering::Relaxed)
}
