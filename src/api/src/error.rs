//! Why an agent could not be asked, in words that say what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why an agent could not be asked, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nothing listens on the socket.
    #[error(
        "no agent is running here: connecting to {}: {source}; see `systemctl status leasefence-agent`, or name the \
         run directory if it is not the default one",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket may not be opened by this user.
    #[error(
        "the agent's socket {} may not be opened by this user: run this as root, or as a member of the socket's group \
         to read only",
        path.display()
    )]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The agent took the connection, but did not answer in time.
    #[error(
        "the agent at {} did not answer within {}: it may be stopped or busy; see `systemctl status leasefence-agent` \
         (its fencer goes on without it)",
        path.display(),
        seconds(*deadline)
    )]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        deadline: Duration,
    },
    /// The connection broke, or what came back was no HTTP.
    #[error("asking the agent for {what}: {detail}")]
    Protocol {
        /// The request's path.
        what: String,
        /// What went wrong.
        detail: String,
    },
    /// The agent refused, or failed, in its own words.
    #[error("{text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The agent's words.
        text: String,
    },
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
