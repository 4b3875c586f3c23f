//! A lab: its switch and its machines, what they are told, and in `faults` what is done to them.

mod faults;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use leasefence_demo::command::CommandError;
use leasefence_demo::process::Process;
use leasefence_demo::wait::{self, WaitError};
use nix::sys::signal::Signal;
use serde_json::json;

pub use self::faults::{Directions, Io};
use crate::capabilities;
use crate::image::{Image, ImageError, Suite};
use crate::machine::{MACHINES, Machine};
use crate::qemu::{self, PrepareError};
use crate::qmp::{self, QmpError};
use crate::run::RunDir;
use crate::ssh::{ExecError, Ssh};
use crate::supplies::{self, SuppliesError};
use crate::switch::{Request, SwitchClient, SwitchError};

/// Longest that a machine may take to boot. Idle it takes some 15 s; a busy machine stretches everything.
const LONGEST_BOOT: Duration = Duration::from_secs(600);

/// What a machine writes to its console when it is up.
const READY: &str = "lab: ready";

/// What went wrong with the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Supplies.
    #[error(transparent)]
    Supplies(#[from] SuppliesError),
    /// Disks and files.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The run directory.
    #[error("cannot use {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// A process does not start.
    #[error("{0} does not start: {1}; see {2}")]
    Start(String, String, PathBuf),
    /// A machine that should be on is off.
    #[error("{0} is off; the lab is started with `leasefence-lab up`, one machine with `poweron`")]
    Off(String),
    /// QEMU.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The switch.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// A command in a machine.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A command on this machine.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Waiting.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// A lab, up or down.
#[derive(Clone, Debug)]
pub struct Lab {
    run: RunDir,
    image: Image,
}

impl Lab {
    /// The lab of this directory; images lie beside its run directory.
    #[must_use]
    pub fn at(directory: &Path, suite: Suite) -> Self {
        Self { run: RunDir::at(&directory.join("run")), image: Image::of(suite, directory) }
    }

    /// Its run directory.
    #[must_use]
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// Where the last run's report lies.
    #[must_use]
    pub fn report_dir(&self) -> PathBuf {
        self.run.path().with_file_name("report")
    }

    /// Its image.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Whether a machine is on.
    #[must_use]
    pub fn is_on(&self, machine: &str) -> bool {
        self.run.process(machine).is_some()
    }

    /// Starts all of it: makes the image if need be, begins with fresh disks if nothing runs, and waits until all machines
    /// are up.
    ///
    /// # Errors
    /// When a part of it does not come up.
    pub fn up(&self, package: Option<&Path>) -> Result<(), LabError> {
        self.image.ensure()?;
        if !MACHINES.iter().any(|machine| self.is_on(machine.name)) {
            self.down()?;
            let io = |error| LabError::Io(self.run.path().into(), error);
            self.run.remove().map_err(io)?;
            self.run.create(MACHINES.iter().map(|machine| machine.name)).map_err(io)?;
            supplies::make(&self.run, &self.image, package)?;
        }
        self.start_switch()?;
        let off = MACHINES.iter().filter(|machine| !self.is_on(machine.name)).collect::<Vec<_>>();
        off.iter().try_for_each(|machine| self.start(machine))?;
        off.iter().try_for_each(|machine| self.wait_for_boot(machine.name, 1))?;
        capabilities::keep(self)
    }

    fn start_switch(&self) -> Result<(), LabError> {
        if self.run.process("switch").is_some() {
            return Ok(());
        }
        let program =
            std::env::current_exe().map_err(|error| LabError::Io("/proc/self/exe".into(), error))?;
        self.spawn("switch", Command::new(program).arg("switch").arg(self.run.path()))?;
        let answers = || self.switch().ask(&Request::Show).is_ok().then_some(());
        Ok(wait::until("the lab's switch", Duration::from_secs(10), answers)?)
    }

    /// Starts a process that outlives this command, in a session of its own, and writes down who it is. By sessions the kernel shares
    /// the processors out (autogroup): in one, four machines would get no more together than a compiler in another.
    fn spawn(&self, name: &str, program: &Command) -> Result<Process, LabError> {
        let log = self.run.file(name, "log");
        let mut command = Command::new("setsid");
        command.arg(program.get_program()).args(program.get_args());
        let failed = |error: io::Error| LabError::Start(name.into(), error.to_string(), log.clone());
        let output = File::options().create(true).append(true).open(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        let child = command.spawn().map_err(failed)?;
        self.run.record(name, child.id()).map_err(failed)
    }

    fn start(&self, machine: &Machine) -> Result<(), LabError> {
        let qemu = qemu::prepare(*machine, &self.run, &self.image)?;
        let process = self.spawn(machine.name, &qemu)?;
        let monitor = self.run.file(machine.name, "monitor.sock");
        let answers = || {
            let answer =
                qmp::execute(&monitor, "query-status", &json!({})).map_err(|error| error.to_string());
            if process.is_alive() { answer.ok().map(Ok) } else { Some(Err("it ended at once".to_owned())) }
        };
        let started = wait::until("QEMU", Duration::from_secs(20), answers)?;
        started.map(drop).map_err(|why| {
            LabError::Start(format!("the QEMU of {}", machine.name), why, self.run.file(machine.name, "log"))
        })
    }

    /// How often a machine has come up since it was switched on.
    #[must_use]
    pub fn boots(&self, machine: &str) -> usize {
        self.run.console(machine).matches(READY).count()
    }

    /// Waits until it has come up this often since it was switched on.
    ///
    /// # Errors
    /// When it does not, or goes off.
    pub fn wait_for_boot(&self, machine: &'static str, boots: usize) -> Result<(), LabError> {
        let what = format!("{machine} to boot; see {}", self.run.file(machine, "console").display());
        let booted = wait::until(&what, LONGEST_BOOT, || {
            thread::sleep(Duration::from_millis(100));
            if self.is_on(machine) { (self.boots(machine) >= boots).then_some(true) } else { Some(false) }
        })?;
        if !booted {
            return Err(LabError::Off(machine.into()));
        }
        self.ssh(machine).forget();
        Ok(())
    }

    /// Ends everything that runs. Disks and logs stay until the next [`Self::up`].
    ///
    /// # Errors
    /// When a process does not end.
    pub fn down(&self) -> Result<(), LabError> {
        // One that does not end keeps none of the others up.
        let ends = MACHINES.iter().map(|machine| self.power_off(machine.name)).collect::<Vec<_>>();
        let switch = self.run.process("switch").map_or(Ok(()), end);
        ends.into_iter().chain([switch]).collect()
    }

    /// Pulls a machine's plug. QEMU ends in order: killed outright it would lose tables of its own, and with them what the
    /// machine had flushed long ago, which a power cut does not do.
    ///
    /// # Errors
    /// When its QEMU does not end.
    pub fn power_off(&self, machine: &'static str) -> Result<(), LabError> {
        if let Some(process) = self.run.process(machine) {
            process.signal(Signal::SIGCONT).ok();
            qmp::execute(&self.run.file(machine, "monitor.sock"), "quit", &json!({})).ok();
            let gone = || (!process.is_alive()).then_some(());
            if wait::until("QEMU's end", Duration::from_secs(5), gone).is_err() {
                end(process)?;
            }
        }
        self.ssh(machine).forget();
        Ok(())
    }

    /// Switches a machine on and waits until it is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn power_on(&self, machine: Machine) -> Result<(), LabError> {
        if !self.is_on(machine.name) {
            self.start(&machine)?;
            self.wait_for_boot(machine.name, 1)?;
        }
        Ok(())
    }

    /// The switch.
    #[must_use]
    pub fn switch(&self) -> SwitchClient {
        SwitchClient::at(&self.run.switch_socket())
    }

    /// The way into a machine.
    #[must_use]
    pub fn ssh(&self, machine: &'static str) -> Ssh {
        Ssh::to(machine, &self.run, self.image.ssh_key())
    }

    /// Runs a shell command in a machine, for at most a minute.
    ///
    /// # Errors
    /// When the machine is off or the command fails.
    pub fn exec(&self, machine: &'static str, command: &str) -> Result<String, LabError> {
        self.exec_for(machine, command, Duration::from_secs(60))
    }

    /// Runs a shell command in a machine, for at most `limit`.
    ///
    /// # Errors
    /// When the machine is off or the command fails.
    pub fn exec_for(
        &self,
        machine: &'static str,
        command: &str,
        limit: Duration,
    ) -> Result<String, LabError> {
        if !self.is_on(machine) {
            return Err(LabError::Off(machine.into()));
        }
        Ok(self.ssh(machine).exec(command, limit)?)
    }
}

/// Ends a process of the lab for good.
fn end(process: Process) -> Result<(), LabError> {
    let failed = |error| LabError::Io(format!("/proc/{}", process.pid).into(), error);
    process.signal(Signal::SIGCONT).map_err(failed)?;
    process.signal(Signal::SIGKILL).map_err(failed)?;
    // Interrupted or not: what was started is ended.
    for _ in 0..500 {
        if !process.is_alive() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(failed(io::Error::other("it does not end after SIGKILL")))
}
