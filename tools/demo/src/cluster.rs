//! Some hosts, the storage they share, and Leasefence on it: the same steps that an operator would take by hand.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use leasefence_api::{LeaseList, Status, VerdictAnswer};

use crate::binaries::{Binaries, BinariesError};
use crate::command::{self, CommandError};
use crate::host::{AGENT, FENCER, Host, HostError};
use crate::run_dir::{RunDir, RunDirError};
use crate::spec::SHARED;
use crate::wait::{self, WaitError};

/// Longest that a step of a healthy cluster may take; a rejoin watches for a clone of the machine for a whole verdict.
const PATIENCE: Duration = Duration::from_secs(60);

/// What went wrong with the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The place.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The programs.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// A host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file of a host.
    #[error("cannot write {0}: {1}")]
    Config(String, #[source] io::Error),
    /// An answer of the command line tool.
    #[error("`leasefence {0} --json` on {1} printed what is not understood: {2}")]
    Answer(String, String, #[source] serde_json::Error),
    /// Waiting.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// The hosts and their storage. Dropping it ends and removes everything.
#[derive(Debug)]
pub struct Cluster {
    /// The hosts; they are dropped before the directory that they run in.
    pub hosts: Vec<Host>,
    run: RunDir,
}

impl Cluster {
    /// Prepares `count` hosts in a new directory below `base`; they are off.
    ///
    /// # Errors
    /// When the directory is unfit or the programs cannot be copied into it.
    pub fn create(base: &Path, binaries: &Binaries, count: u32) -> Result<Self, ClusterError> {
        let run = RunDir::create(base)?;
        let binaries = binaries.copy_to(&run.path().join("bin"))?;
        let hosts =
            (1..=count).map(|number| Host::create(&run, &binaries, number)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, run })
    }

    /// The directory of this run.
    pub fn run_dir(&mut self) -> &mut RunDir {
        &mut self.run
    }

    /// The shared storage, as seen from this machine.
    #[must_use]
    pub fn shared(&self) -> std::path::PathBuf {
        self.run.shared()
    }

    /// Switches all hosts on and waits for their libvirtds.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn power_on(&mut self) -> Result<(), ClusterError> {
        self.hosts.iter_mut().try_for_each(Host::power_on)?;
        self.hosts.iter().try_for_each(Host::wait_for_libvirt)?;
        Ok(())
    }

    /// Makes the lease file: a test cluster whose hosts need no watchdog.
    ///
    /// # Errors
    /// When `leasefence init` refuses.
    pub fn init_lease(&self) -> Result<String, ClusterError> {
        let init = ["leasefence", "init", &lease_path(), "--cluster", "demo", "--accept", "none", "--test"];
        Ok(self.hosts[0].exec(&init)?)
    }

    /// Configures every host, and starts fencer and agent there.
    ///
    /// # Errors
    /// When a configuration cannot be written or a host is off.
    pub fn start_leasefence(&mut self) -> Result<(), ClusterError> {
        for host in &mut self.hosts {
            configure(host, &default_config())?;
            host.enable(FENCER)?;
            host.enable(AGENT)?;
        }
        Ok(())
    }

    /// What the agent of a host knows.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, host: usize) -> Result<Status, ClusterError> {
        let host = &self.hosts[host];
        let text = host.exec(&["leasefence", "status", "--json"])?;
        serde_json::from_str(&text)
            .map_err(|error| ClusterError::Answer("status".into(), host.name().into(), error))
    }

    /// Waits until a host holds its lease, and returns its status then.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn wait_until_held(&self, host: usize) -> Result<Status, ClusterError> {
        let what = format!(
            "the lease of {}; see {}",
            self.hosts[host].name(),
            self.hosts[host].log(AGENT).display()
        );
        let held = || self.status(host).ok().filter(|status| status.own.state == "held");
        Ok(wait::until(&what, PATIENCE, held)?)
    }

    /// Waits until the agent of a host holds the lease of a running domain that is restarted elsewhere.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn wait_until_protected(&self, host: usize, domain: &str) -> Result<(), ClusterError> {
        let what = format!("the lease of {domain} on {}", self.hosts[host].name());
        let owned = |status: Status| {
            status.domains.iter().any(|d| d.name == domain && d.running && d.ha && d.lease == "own")
        };
        Ok(wait::until(&what, PATIENCE, || self.status(host).ok().is_some_and(owned).then_some(()))?)
    }

    /// Lets a domain be restarted again that was put on hold, or soon would be, because hosts kept dying under it; waits
    /// until its lease says so.
    ///
    /// # Errors
    /// When the host that runs it refuses, or its lease does not change within a minute.
    pub fn resume(&self, host: usize, domain: &str) -> Result<String, ClusterError> {
        let said = self.hosts[host].exec(&["leasefence", "ha", "resume", domain])?;
        let forgiven = || {
            let text = self.hosts[host].exec(&["leasefence", "lease", "show", domain, "--json"]).ok()?;
            let list: LeaseList = serde_json::from_str(&text).ok()?;
            list.entries.iter().any(|entry| entry.top && entry.deaths == 0).then_some(())
        };
        wait::until("the domain's lease to forget the deaths", PATIENCE, forgiven)?;
        Ok(said)
    }

    /// What a host says of another, waiting until the other is provably gone.
    ///
    /// # Errors
    /// When there is no such verdict within a minute.
    pub fn wait_for_verdict(&self, observer: usize, victim: usize) -> Result<VerdictAnswer, ClusterError> {
        let victim = self.hosts[victim].name();
        let words = ["leasefence", "verdict", victim, "--wait", "--timeout", "60s", "--json"];
        let mut command = self.hosts[observer].command(&words, PATIENCE * 2)?;
        let text = command::run(&mut command).map_err(HostError::Command)?;
        serde_json::from_str(&text).map_err(|error| {
            ClusterError::Answer("verdict".into(), self.hosts[observer].name().into(), error)
        })
    }

    /// The host that runs a domain, if just one does.
    #[must_use]
    pub fn runner(&self, domain: &str) -> Option<usize> {
        let runs = |host: &Host| {
            host.is_on() && host.running_domains().is_ok_and(|all| all.iter().any(|d| d == domain))
        };
        let mut runners = (0..self.hosts.len()).filter(|index| runs(&self.hosts[*index]));
        runners.next().filter(|_| runners.next().is_none())
    }
}

/// The lease file, as the hosts see it.
#[must_use]
pub fn lease_path() -> String {
    format!("{SHARED}/demo.lease")
}

/// A host's configuration in this demo. Each line that weakens something says so.
#[must_use]
pub fn default_config() -> String {
    format!(
        r#"cluster = "demo"
lease = "{}"
preset = "fast"

# The hosts are namespaces on one kernel: when a guest's process has ended, no write of it is left anywhere.
storage = "one-kernel"

# There is no watchdog in a namespace. The lease file was made with `--accept none --test`, which allows this in tests.
watchdog = "none"
expire_without_hardware = true

# `leasefence drill` may end a host's lease: that is what these hosts are for.
drill = "allowed"

[log]
level = "info"
"#,
        lease_path()
    )
}

/// Writes a host's `leasefence.toml`.
///
/// # Errors
/// When the host's disk cannot be written.
pub fn configure(host: &Host, text: &str) -> Result<(), ClusterError> {
    let path = host.on_disk("/etc/leasefence/leasefence.toml");
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, text)
    };
    write().map_err(|error| ClusterError::Config(path.display().to_string(), error))
}

impl From<CommandError> for ClusterError {
    fn from(error: CommandError) -> Self {
        Self::Host(HostError::Command(error))
    }
}
