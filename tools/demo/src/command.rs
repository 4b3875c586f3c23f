//! Running a program and keeping what it said, for the message when it fails.

use std::io;
use std::process::Command;

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
}

/// Runs it and returns its standard output.
///
/// # Errors
/// When it cannot be started, or ends with a code that is not 0.
pub fn run(command: &mut Command) -> Result<String, CommandError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| CommandError::Start(name, error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(CommandError::Failed {
        command: line(command),
        code: output.status.code().unwrap_or(-1),
        output: format!("{}{}", text(&output.stdout), text(&output.stderr)),
    })
}

/// The command as a person would type it; of what runs on a host, only that.
fn line(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let inner = words.iter().position(|word| *word == "timeout").map_or(0, |at| at + 3);
    let program = (inner == 0).then(|| command.get_program().to_string_lossy());
    program.iter().chain(&words[inner..]).map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}
