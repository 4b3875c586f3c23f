//! Libvirt, by the commands that an operator would type: the command line needs no library of it. Each has a deadline.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The longest that one command may take, a start included.
const DEADLINE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub enum VirshError {
    /// There is none.
    #[error("virsh cannot be run ({0}): install libvirt-clients (Debian) or libvirt-client (Fedora)")]
    Missing(#[source] std::io::Error),
    /// It did not end.
    #[error("`virsh {0}` did not end within {deadline} s: libvirtd may hang", deadline = DEADLINE.as_secs())]
    TimedOut(String),
    /// It refused.
    #[error("`virsh {0}`: {1}")]
    Failed(String, String),
}

/// Runs it against this libvirt.
#[derive(Clone, Debug)]
pub struct Virsh {
    uri: String,
}

impl Virsh {
    /// Of the libvirt at this URI.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        Self { uri: uri.to_owned() }
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// [`VirshError`].
    pub fn run(&self, words: &[&str]) -> Result<String, VirshError> {
        let mut child = Command::new("virsh")
            .args(["--quiet", "--connect", &self.uri])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("LC_ALL", "C")
            .spawn()
            .map_err(VirshError::Missing)?;
        let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let begun = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                _ if begun.elapsed() >= DEADLINE => {
                    child.kill().ok();
                    child.wait().ok();
                    return Err(VirshError::TimedOut(words.join(" ")));
                }
                _ => thread::sleep(STEP),
            }
        };
        let text = |thread: thread::JoinHandle<String>| thread.join().unwrap_or_default();
        if status.success() {
            return Ok(text(out));
        }
        Err(VirshError::Failed(words.join(" "), text(err).trim().to_owned()))
    }

    /// Whether a domain of this name runs here.
    ///
    /// # Errors
    /// [`VirshError`].
    pub fn runs(&self, name: &str) -> Result<bool, VirshError> {
        Ok(self.run(&["list", "--name"])?.lines().any(|line| line.trim() == name))
    }

    /// The names of all domains that do not run.
    ///
    /// # Errors
    /// [`VirshError`].
    pub fn shut_off(&self) -> Result<Vec<String>, VirshError> {
        let list = self.run(&["list", "--inactive", "--name"])?;
        Ok(list.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_string(&mut text).ok();
        }
        text
    })
}
