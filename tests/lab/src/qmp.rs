//! Speaking to a machine's QEMU: one connection a command, a line of JSON each way.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

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
