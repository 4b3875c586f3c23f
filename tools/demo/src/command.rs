//! Running a program and keeping what it said, for the message when it fails.

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::Process;
use crate::wait::{self, WaitError};

/// A command that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run {0}: {1}")]
    Start(String, #[source] io::Error),
    /// It ended with an error.
    #[error("`{command}` ended with {code}: {output}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit code, 124 on a time-out, or -1 after a signal.
        code: i32,
        /// What it printed.
        output: String,
    },
    /// It was given up.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

impl CommandError {
    /// What the command printed, if it ended with this code.
    #[must_use]
    pub fn output_with_code(&self, wanted: i32) -> Option<&str> {
        match self {
            Self::Failed { code, output, .. } if *code == wanted => Some(output),
            _ => None,
        }
    }
}

/// Runs it and returns its standard output.
///
/// # Errors
/// When it cannot be started, or ends with a code that is not 0.
pub fn run(command: &mut Command) -> Result<String, CommandError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = output(command, &name)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    // An interrupt of the whole group of processes ends the command, too: then that is the reason.
    wait::check_interrupt()?;
    Err(CommandError::Failed {
        command: line(command),
        code: output.status.code().unwrap_or(-1),
        output: format!("{}{}", text(&output.stdout), text(&output.stderr)),
    })
}

/// Collects the output in a thread, so that an interrupt need not wait for the command's end.
fn output(command: &mut Command, name: &str) -> Result<Output, CommandError> {
    let start_error = |error| CommandError::Start(name.to_owned(), error);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(start_error)?;
    let process = i32::try_from(child.id()).map_err(io::Error::other).and_then(Process::from_pid);
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    loop {
        match outcome.recv_timeout(Duration::from_millis(20)) {
            Ok(output) => return output.map_err(start_error),
            Err(_) => wait::check_interrupt().inspect_err(|_| {
                process.as_ref().map(|process| process.signal(Signal::SIGTERM)).ok();
            })?,
        }
    }
}

/// The command as a person would type it; of what runs on a host, only that.
fn line(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let inner = words.iter().position(|word| *word == "timeout").map_or(0, |at| at + 3);
    let program = (inner == 0).then(|| command.get_program().to_string_lossy());
    program.iter().chain(&words[inner..]).map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}
