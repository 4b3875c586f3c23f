//! How a command ends: its exit code, or an error whose sentence says what to do.

use std::process::ExitCode;

use leasefence_api::{ApiError, VerdictClass};

/// A command's end.
pub(crate) type Outcome = Result<Exit, CliError>;

/// How a command that was carried out ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// It could not be done, and said so already.
    Failed,
    /// What a verdict says.
    Verdict(VerdictClass),
    /// Its own, said already.
    Code(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Verdict(class) => Self::from(class.exit_code()),
            Exit::Code(code) => Self::from(code),
        }
    }
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The agent could not be asked, or refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Anything else, in a sentence.
    #[error("{0}")]
    Other(String),
}

impl CliError {
    /// An error out of another module's own.
    pub(crate) fn from_display(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}
