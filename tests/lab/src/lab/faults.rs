//! What goes wrong with machines, their networks and their disks, and how it is undone.

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Lab, LabError};
use crate::machine::{Network, STORAGE};
use crate::qmp;
use crate::switch::{Effect, Request, Rule};

impl Lab {
    /// Presses its reset button and does not wait.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn reset(&self, machine: &'static str) -> Result<(), LabError> {
        self.monitor(machine, "system_reset", &json!({}))?;
        self.ssh(machine).forget();
        Ok(())
    }

    /// Runs a command on a machine's monitor.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn monitor(
        &self,
        machine: &str,
        command: &str,
        arguments: &serde_json::Value,
    ) -> Result<serde_json::Value, LabError> {
        Ok(qmp::execute(&self.run.file(machine, "monitor.sock"), command, arguments)?)
    }

    /// Stops all of a machine, while its clocks run on: as a host that hangs in its firmware.
    ///
    /// # Errors
    /// When it is off.
    pub fn freeze(&self, machine: &str) -> Result<(), LabError> {
        self.signal(machine, Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is off.
    pub fn thaw(&self, machine: &str) -> Result<(), LabError> {
        self.signal(machine, Signal::SIGCONT)
    }

    fn signal(&self, machine: &str, signal: Signal) -> Result<(), LabError> {
        let process = self.run.process(machine).ok_or_else(|| LabError::Off(machine.into()))?;
        process.signal(signal).map_err(|error| LabError::Io(format!("/proc/{}", process.pid).into(), error))
    }

    /// From now on frames of a network from and to a machine meet `effect`.
    ///
    /// # Errors
    /// When the switch does not answer.
    pub fn impair(
        &self,
        machine: &str,
        network: Network,
        directions: Directions,
        effect: Effect,
    ) -> Result<(), LabError> {
        let mut rules = Vec::new();
        let name = || Some(machine.to_owned());
        if directions != Directions::In {
            rules.push(Rule { network, from: name(), to: None, effect });
        }
        if directions != Directions::Out {
            rules.push(Rule { network, from: None, to: name(), effect });
        }
        self.switch().ask(&Request::Add(rules))?;
        Ok(())
    }

    /// Takes back what was done to a machine's frames, or to all.
    ///
    /// # Errors
    /// When the switch does not answer.
    pub fn heal(&self, machine: Option<&str>, network: Option<Network>) -> Result<(), LabError> {
        self.switch().ask(&Request::Heal { machine: machine.map(str::to_owned), network })?;
        Ok(())
    }

    /// From now on no such request to a disk of the storage machine ends, beyond the first.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn hang(&self, drive: &str, which: Io) -> Result<(), LabError> {
        match which {
            Io::Reads => self.throttle(drive, 1, 0),
            Io::Writes => self.throttle(drive, 0, 1),
        }
    }

    /// Takes that back: what hangs, goes on.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn let_go(&self, drive: &str) -> Result<(), LabError> {
        self.throttle(drive, 0, 0)
    }

    /// Bytes a second; 0 is without a limit.
    fn throttle(&self, drive: &str, reads: u64, writes: u64) -> Result<(), LabError> {
        let limits = json!({
            "device": drive, "bps": 0, "bps_rd": reads, "bps_wr": writes, "iops": 0, "iops_rd": 0, "iops_wr": 0
        });
        self.monitor(STORAGE, "block_set_io_throttle", &limits).map(drop)
    }
}

/// Which frames of a machine are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Directions {
    /// All.
    Both,
    /// Those that it receives.
    In,
    /// Those that it sends.
    Out,
}

/// Which requests to a disk are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Io {
    /// Those that read.
    Reads,
    /// Those that write.
    Writes,
}
