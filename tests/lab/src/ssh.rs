//! Commands in a machine, over its management card: a cut of the lab's networks does not cut these.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use leasefence_demo::command::{self, CommandError};

use crate::run::RunDir;

/// A command in a machine that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It ended with an error.
    #[error("{machine}: `{command}` ended with {code}: {output}")]
    Failed {
        /// Where.
        machine: String,
        /// The shell command.
        command: String,
        /// Its exit code; 124: it took too long, 255: the machine does not answer.
        code: i32,
        /// What it printed.
        output: String,
    },
    /// It could not be run, or was interrupted.
    #[error(transparent)]
    Other(CommandError),
}

impl ExecError {
    /// What it printed, if it ended with this code.
    #[must_use]
    pub fn output_with_code(&self, wanted: i32) -> Option<&str> {
        match self {
            Self::Failed { code, output, .. } if *code == wanted => Some(output),
            _ => None,
        }
    }
}

/// The way into one machine.
#[derive(Clone, Debug)]
pub struct Ssh {
    machine: &'static str,
    run: RunDir,
    key: PathBuf,
}

impl Ssh {
    /// The way into a machine of this run, with the image's key.
    #[must_use]
    pub fn to(machine: &'static str, run: &RunDir, key: PathBuf) -> Self {
        Self { machine, run: run.clone(), key }
    }

    /// A command in the machine, not yet started.
    #[must_use]
    pub fn command(&self, program: &mut Command, command: &str) -> Command {
        let mut ssh = Command::new(program.get_program());
        ssh.args(program.get_args()).args(self.options()).arg("127.0.0.1").arg(command).stdin(Stdio::null());
        ssh
    }

    /// One connection is kept for all commands: a new one takes an emulated machine most of a second.
    fn options(&self) -> Vec<String> {
        let port = fs::read_to_string(self.run.file(self.machine, "port")).unwrap_or_default();
        let socket = self.run.file(self.machine, "ssh.sock");
        let mut options = vec!["-q".to_owned(), "-F".into(), "none".into(), "-l".into(), "root".into()];
        let mut option = |text: String| options.extend(["-o".to_owned(), text]);
        option(format!("Port={port}"));
        option(format!("IdentityFile={}", self.key.display()));
        option(format!("ControlPath={}", socket.display()));
        for fixed in [
            "ControlMaster=auto",
            "ControlPersist=600",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "PreferredAuthentications=publickey",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ConnectTimeout=90",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=60",
            "Ciphers=aes128-gcm@openssh.com",
            "KexAlgorithms=curve25519-sha256",
        ] {
            option(fixed.into());
        }
        options
    }

    /// Runs a shell command and returns what it printed.
    ///
    /// # Errors
    /// When it fails or takes longer than `limit`.
    pub fn exec(&self, command: &str, limit: Duration) -> Result<String, ExecError> {
        let mut timeout = Command::new("timeout");
        timeout.arg("--kill-after=2").arg(limit.as_secs_f32().to_string()).arg("ssh");
        command::run(&mut self.command(&mut timeout, command)).map_err(|error| match error {
            CommandError::Failed { code, output, .. } => {
                ExecError::Failed { machine: self.machine.into(), command: command.into(), code, output }
            }
            other => ExecError::Other(other),
        })
    }

    /// A shell for a person.
    ///
    /// # Errors
    /// When ssh cannot be started.
    pub fn interactive(&self, command: &[String]) -> std::io::Result<std::process::ExitStatus> {
        let mut ssh = Command::new("ssh");
        ssh.args(self.options());
        if command.is_empty() {
            ssh.arg("-t");
        }
        ssh.arg("127.0.0.1").args(command).status()
    }

    /// Forgets the kept connection: the machine's side of it is gone.
    pub fn forget(&self) {
        let socket = self.run.file(self.machine, "ssh.sock");
        if socket.exists() {
            let mut exit = Command::new("ssh");
            exit.args(["-q", "-F", "none", "-O", "exit", "-o"]);
            exit.arg(format!("ControlPath={}", socket.display())).arg("127.0.0.1");
            command::run(&mut exit).ok();
            fs::remove_file(socket).ok();
        }
    }
}
