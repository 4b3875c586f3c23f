//! A command whose reader has gone before it prints its first line.

use std::process::{Command, Output};

/// Runs it to its end, its standard output a pipe that nobody reads.
///
/// # Panics
/// When it cannot be run, or a word of it is of a panic.
pub(crate) fn run_unread(program: &str, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe is made");
    drop(reader);
    let output = Command::new(program).args(arguments).stdout(writer).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{program} {arguments:?}: {said}");
    output
}
