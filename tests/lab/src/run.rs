//! The directory of a lab that is up: its machines' disks, sockets, consoles and processes. A lab outlives the command that
//! started it, so everything that a later command must know is a file in here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use leasefence_demo::process::Process;
use leasefence_demo::run_dir;

use crate::machine::Network;

/// The longest path that a Unix socket may have.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where a lab runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The directory at this path; it need not exist.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory, and one for each of `machines` and the switch.
    ///
    /// # Errors
    /// When it cannot be written, or its path is too long for the sockets in it.
    pub fn create(&self, machines: impl Iterator<Item = &'static str>) -> io::Result<()> {
        let longest = self.card_socket("host-1", Network::Storage);
        if longest.as_os_str().len() > LONGEST_SOCKET_PATH {
            let text = format!("{} is too long for a Unix socket: choose a shorter --dir", longest.display());
            return Err(io::Error::other(text));
        }
        machines.chain(["switch"]).try_for_each(|name| fs::create_dir_all(self.of(name)))
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn of(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where a machine's card is plugged into a network.
    #[must_use]
    pub fn card_socket(&self, machine: &str, network: Network) -> PathBuf {
        self.of(machine).join(format!("{}.sock", network.word()))
    }

    /// Where the switch is asked.
    #[must_use]
    pub fn switch_socket(&self) -> PathBuf {
        self.of("switch").join("control.sock")
    }

    /// A file of a machine, or of the switch.
    #[must_use]
    pub fn file(&self, name: &str, file: &str) -> PathBuf {
        self.of(name).join(file)
    }

    /// The file system that all machines see read-only at `/lab`.
    #[must_use]
    pub fn supplies(&self) -> PathBuf {
        self.0.join("supplies.raw")
    }

    /// Writes down which process is a machine, or the switch.
    ///
    /// # Errors
    /// When the file cannot be written, or there is no such process.
    pub fn record(&self, name: &str, pid: u32) -> io::Result<Process> {
        let process = Process::from_pid(i32::try_from(pid).map_err(io::Error::other)?)?;
        run_dir::record(&self.of(name), process)?;
        Ok(process)
    }

    /// The process of a machine, or of the switch, if it runs.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<Process> {
        let text = fs::read(self.file(name, "process.json")).ok()?;
        serde_json::from_slice(&text).ok().filter(|process: &Process| process.is_alive())
    }

    /// What a machine wrote to its serial console since it was switched on.
    #[must_use]
    pub fn console(&self, machine: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.file(machine, "console")).unwrap_or_default()).into_owned()
    }
}
