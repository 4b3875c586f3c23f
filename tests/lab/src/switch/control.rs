//! Asking the switch: a line of JSON each way.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rules::Rule;
use crate::machine::Network;

/// Why the switch does not do it.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// It does not answer.
    #[error("the lab's switch does not answer at {0}: {1}; is the lab up?")]
    NoAnswer(PathBuf, #[source] io::Error),
}

/// What it can be asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// Rules to add.
    Add(Vec<Rule>),
    /// Rules to take back: those of a machine, or all; on a network, or on both.
    Heal {
        /// The machine.
        machine: Option<String>,
        /// The network.
        network: Option<Network>,
    },
    /// Only its state.
    Show,
}

/// Its state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The rules in force.
    pub rules: Vec<Rule>,
    /// Frames that it has passed on.
    pub frames: u64,
    /// Frames that it has dropped.
    pub dropped: u64,
    /// The cards that are plugged in.
    pub cards: Vec<Plugged>,
}

/// A card that is plugged in, and what has passed it since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plugged {
    /// Whose it is.
    pub machine: String,
    /// The network that it is on.
    pub network: Network,
    /// Frames that it has sent.
    pub sent: u64,
    /// Frames for it, those that are on their way and those that were lost since it did not read among them.
    pub for_it: u64,
    /// Frames for it that were lost since it did not read.
    pub lost: u64,
    /// Bytes that it has not read yet.
    pub waiting: usize,
}

/// Whoever asks the switch.
#[derive(Clone, Debug)]
pub struct SwitchClient {
    socket: PathBuf,
}

impl SwitchClient {
    /// The switch that listens at this socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask(&self, request: &Request) -> Result<Answer, SwitchError> {
        self.exchange(request).map_err(|error| SwitchError::NoAnswer(self.socket.clone(), error))
    }

    fn exchange(&self, request: &Request) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        writeln!(stream, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}
