//! Speaking to a machine's QEMU: one connection a command, a line of JSON each way. And listening to what it says by itself.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

/// How long it is listened before somebody asks whether that is to go on.
const LISTENS: Duration = Duration::from_secs(1);

/// Why QEMU does not do it.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// It does not answer.
    #[error("QEMU does not answer `{0}`: {1}")]
    NoAnswer(String, #[source] io::Error),
    /// It refuses.
    #[error("QEMU refuses `{0}`: {1}")]
    Refused(String, String),
}

/// What QEMU says by itself.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Event {
    /// Its name.
    #[serde(rename = "event")]
    pub name: String,
    /// What comes with it.
    #[serde(default)]
    pub data: Value,
    timestamp: Timestamp,
}

/// This machine's wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
struct Timestamp {
    seconds: u64,
    microseconds: u64,
}

impl Event {
    /// When it happened, by this machine's wall clock.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        let Timestamp { seconds, microseconds } = self.timestamp;
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(microseconds)
    }
}

/// Listens to the monitor at `socket` until QEMU ends, or `is_over` says so.
///
/// # Errors
/// When QEMU does not answer.
pub fn listen(socket: &Path, is_over: impl Fn() -> bool, mut told: impl FnMut(&Event)) -> io::Result<()> {
    let mut qmp = Qmp::connect(socket)?;
    qmp.call("qmp_capabilities", &json!({}))?;
    qmp.stream.set_read_timeout(Some(LISTENS))?;
    let mut line = Vec::new();
    while !is_over() {
        match qmp.lines.read_until(b'\n', &mut line) {
            Ok(0) => break,
            // What was read of a line before the time was over stays there.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                if let Ok(event) = serde_json::from_slice(&line) {
                    told(&event);
                }
                line.clear();
            }
        }
    }
    Ok(())
}

/// A connection.
struct Qmp {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

/// Runs a command on the monitor that listens at `socket`.
///
/// # Errors
/// When QEMU refuses or does not answer within ten seconds.
pub fn execute(socket: &Path, command: &str, arguments: &Value) -> Result<Value, QmpError> {
    let failed = |error| QmpError::NoAnswer(command.to_owned(), error);
    let mut qmp = Qmp::connect(socket).map_err(failed)?;
    qmp.call("qmp_capabilities", &json!({})).map_err(failed)?;
    let answer = qmp.call(command, arguments).map_err(failed)?;
    match answer.get("error") {
        Some(error) => Err(QmpError::Refused(command.to_owned(), error["desc"].to_string())),
        None => Ok(answer["return"].clone()),
    }
}

impl Qmp {
    fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut qmp = Self { lines: BufReader::new(stream.try_clone()?), stream };
        qmp.line()?;
        Ok(qmp)
    }

    /// Sends a command and reads up to its answer; events in between are of no use here.
    fn call(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        writeln!(self.stream, "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let answer = self.line()?;
            if answer.get("event").is_none() {
                return Ok(answer);
            }
        }
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}
