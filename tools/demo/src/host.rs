//! One simulated hypervisor: a set of namespaces with its own PID 1, clocks, devices, libvirtd, fencer and agent, and a
//! disk of its own that survives its power cuts. All that runs on it is this machine's child, and nothing else's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::binaries::Binaries;
use crate::command::{self, CommandError};
use crate::process::Process;
use crate::run_dir;
use crate::spec::{HostSpec, Service};
use crate::wait::{self, WaitError};
use crate::{cgroups, libvirt};

/// The services of a host, in the order in which they start.
pub const LIBVIRTD: &str = "libvirtd";
/// The program that kills.
pub const FENCER: &str = "leasefence-fencer";
/// The program that holds the lease.
pub const AGENT: &str = "leasefence-agent";

/// What went wrong with a host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its files.
    #[error("cannot prepare {0}: {1}")]
    Prepare(String, #[source] io::Error),
    /// It did not come up.
    #[error("{host} did not boot: {why}; see {log}")]
    Boot {
        /// Its name.
        host: String,
        /// What happened.
        why: String,
        /// Its console's log.
        log: PathBuf,
    },
    /// It is switched off.
    #[error("{0} is off")]
    Off(String),
    /// A program that should run on it does not.
    #[error("{1} does not run on {0}")]
    NotRunning(String, String),
    /// A signal could not be sent.
    #[error("cannot signal {1} on {0}: {2}")]
    Signal(String, String, #[source] io::Error),
    /// Waiting.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A command on the host.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// The part of a host that exists only while it is on.
#[derive(Debug)]
struct Power {
    unshare: Child,
    init: Process,
}

/// A host, on or off.
#[derive(Debug)]
pub struct Host {
    directory: PathBuf,
    spec: HostSpec,
    bin: PathBuf,
    boots: u32,
    power: Option<Power>,
}

impl Host {
    /// Prepares host number `number` (from 1) of a run; it is off.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn create(run: &run_dir::RunDir, binaries: &Binaries, number: u32) -> Result<Self, HostError> {
        let name = format!("host-{number}");
        let directory = run.path().join(&name);
        let disk = directory.join("disk");
        let machine_id = random_uuid().map_err(|error| HostError::Prepare(name.clone(), error))?;
        libvirt::configure(&disk, &machine_id, &binaries.path("leasefence-hook"))
            .map_err(|error| HostError::Prepare(name.clone(), error))?;
        let service = |name: &str, command: &[&str]| Service {
            name: name.into(),
            command: command.iter().map(ToString::to_string).collect(),
        };
        let program = |name: &str| binaries.path(name).display().to_string();
        let spec = HostSpec {
            machine_id: machine_id.replace('-', ""),
            boot_id: String::new(),
            cgroup: run_dir::cgroup_name(&run.name(), &name),
            shared: run.shared(),
            monotonic_offset_s: 0,
            boottime_offset_s: 0,
            services: vec![
                service(LIBVIRTD, &["libvirtd"]),
                service(FENCER, &[&program(FENCER)]),
                service(AGENT, &[&program(AGENT)]),
            ],
            enabled: vec![LIBVIRTD.into()],
            name,
            disk,
        };
        Ok(Self { directory, spec, bin: binaries.directory().into(), boots: number * 100, power: None })
    }

    /// From its next boot on its libvirtd listens on TCP, without asking who is there: for guests that migrate.
    ///
    /// # Errors
    /// When its configuration cannot be changed.
    pub fn listen(&mut self) -> Result<(), HostError> {
        libvirt::listen(&self.spec.disk)
            .map_err(|error| HostError::Prepare(self.spec.name.clone(), error))?;
        let libvirtd = self.spec.services.iter_mut().filter(|service| service.name == LIBVIRTD);
        libvirtd.for_each(|service| service.command.push("-l".into()));
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// A place on its own disk, as seen from this machine.
    #[must_use]
    pub fn on_disk(&self, path: &str) -> PathBuf {
        self.spec.disk.join(path.trim_start_matches('/'))
    }

    /// The log of one of its services, over all its boots.
    #[must_use]
    pub fn log(&self, service: &str) -> PathBuf {
        self.spec.log_dir().join(format!("{service}.log"))
    }

    /// One of the programs under test, as this host runs it.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.power.is_some()
    }

    /// Switches it on, and waits until it has booted: until its file systems stand (not until its services answer).
    ///
    /// # Errors
    /// When the machine refuses namespaces, control groups or mounts.
    pub fn power_on(&mut self) -> Result<(), HostError> {
        if self.is_on() {
            return Ok(());
        }
        self.boots += 1;
        self.prepare_boot().map_err(|error| HostError::Prepare(self.spec.name.clone(), error))?;
        let power = self.boot().map_err(|error| HostError::Boot {
            host: self.spec.name.clone(),
            why: error.to_string(),
            log: self.console_log(),
        })?;
        self.power = Some(power);
        Ok(())
    }

    /// When this fails, the pipe to the half-booted host is dropped, and that ends it.
    fn boot(&self) -> io::Result<Power> {
        let log = File::options().create(true).append(true).open(self.console_log())?;
        let mut unshare = Command::new(self.bin.join("leasefence-demo"))
            .arg("host-enter")
            .arg(self.spec_path())
            .env("PATH", self.path_variable())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let init = self.wait_for_init(&mut unshare)?;
        run_dir::record(&self.directory, init)?;
        Ok(Power { unshare, init })
    }

    /// `unshare` forks once: its child becomes PID 1 in the new namespaces, and says so when it has booted.
    fn wait_for_init(&self, unshare: &mut Child) -> io::Result<Process> {
        let parent = Process::from_pid(i32::try_from(unshare.id()).map_err(io::Error::other)?)?;
        let init = || match unshare.try_wait() {
            Ok(None) => parent.child().filter(|_| self.spec.has_booted()).map(Ok),
            Ok(Some(status)) => Some(Err(io::Error::other(format!("unshare ended with {status}")))),
            Err(error) => Some(Err(error)),
        };
        wait::until("its PID 1", Duration::from_secs(10), init).map_err(io::Error::other)?
    }

    /// A new boot has a new boot id, and clocks that have nothing to do with those of other hosts or of its last boot.
    fn prepare_boot(&mut self) -> io::Result<()> {
        self.spec.boot_id = random_uuid()?;
        self.spec.monotonic_offset_s = i64::from(self.boots) * 1000;
        self.spec.boottime_offset_s = i64::from(self.boots) * 1700;
        fs::write(self.spec_path(), serde_json::to_vec_pretty(&self.spec)?)
    }

    fn spec_path(&self) -> PathBuf {
        self.directory.join("host.json")
    }

    fn console_log(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// Cuts its power: SIGKILL to its PID 1 ends all that runs on it at once. Returns when nothing of it runs any more.
    pub fn power_off(&mut self) {
        if let Some(Power { mut unshare, init }) = self.power.take() {
            init.signal(Signal::SIGKILL).ok();
            // `unshare` ends when the kernel has emptied the whole pid namespace, not before.
            unshare.wait().ok();
            cgroups::remove(&self.spec.cgroup);
        }
    }

    /// Starts a service now and at each boot.
    ///
    /// # Errors
    /// When the host's console is gone.
    pub fn enable(&mut self, service: &str) -> Result<(), HostError> {
        if !self.spec.enabled.iter().any(|name| name == service) {
            self.spec.enabled.push(service.into());
        }
        self.console("start", service)
    }

    /// Stops a service, and starts it no more.
    ///
    /// # Errors
    /// When the host's console is gone.
    pub fn disable(&mut self, service: &str) -> Result<(), HostError> {
        self.spec.enabled.retain(|name| name != service);
        self.console("stop", service)
    }

    fn console(&mut self, verb: &str, service: &str) -> Result<(), HostError> {
        let Some(console) = self.power.as_mut().and_then(|power| power.unshare.stdin.as_mut()) else {
            return Ok(());
        };
        writeln!(console, "{verb} {service}")
            .map_err(|error| HostError::Signal(self.spec.name.clone(), "the console".into(), error))
    }

    /// Runs a command on the host and returns what it printed.
    ///
    /// # Errors
    /// When the host is off, or the command fails or takes longer than 30 s.
    pub fn exec(&self, command: &[&str]) -> Result<String, HostError> {
        Ok(command::run(&mut self.command(command, Duration::from_secs(30))?)?)
    }

    /// A command that will run on the host, for at most `limit`.
    ///
    /// # Errors
    /// When the host is off.
    pub fn command(&self, command: &[&str], limit: Duration) -> Result<Command, HostError> {
        let mut enter = Command::new("nsenter");
        enter
            .args(["--mount", "--pid", "--net", "--uts", "--cgroup", "--time"])
            .arg(format!("--target={}", self.init()?.pid))
            .args(["--", "timeout", "--kill-after=1"])
            .arg(limit.as_secs_f32().to_string())
            .args(command)
            .env("PATH", self.path_variable())
            .stdin(Stdio::null());
        Ok(enter)
    }

    /// Runs virsh on the host.
    ///
    /// # Errors
    /// As [`Host::exec`].
    pub fn virsh(&self, arguments: &[&str]) -> Result<String, HostError> {
        let command = [&["virsh", "--quiet", "--connect", "qemu:///system"], arguments].concat();
        self.exec(&command)
    }

    /// Waits until libvirtd answers.
    ///
    /// # Errors
    /// When it does not within 30 s.
    pub fn wait_for_libvirt(&self) -> Result<(), HostError> {
        let what = format!("libvirtd on {}", self.name());
        Ok(wait::until(&what, Duration::from_secs(30), || self.virsh(&["list"]).ok().map(drop))?)
    }

    /// The names of the domains that run on it.
    ///
    /// # Errors
    /// As [`Host::exec`].
    pub fn running_domains(&self) -> Result<Vec<String>, HostError> {
        let list = self.virsh(&["list", "--name"])?;
        Ok(list.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Its PID 1, as this machine numbers it.
    ///
    /// # Errors
    /// When it is off.
    pub fn init(&self) -> Result<Process, HostError> {
        self.power.as_ref().map(|power| power.init).ok_or_else(|| HostError::Off(self.spec.name.clone()))
    }

    /// A program on it (by file name), as this machine numbers it.
    ///
    /// # Errors
    /// When the host is off or the program does not run.
    pub fn process(&self, program: &str) -> Result<Process, HostError> {
        let found = self.init()?.named_in_same_namespace(program);
        found.first().copied().ok_or_else(|| HostError::NotRunning(self.spec.name.clone(), program.into()))
    }

    /// Sends a signal to a program on it.
    ///
    /// # Errors
    /// When the program does not run.
    pub fn signal(&self, program: &str, signal: Signal) -> Result<(), HostError> {
        let sent = self.process(program)?.signal(signal);
        sent.map_err(|error| HostError::Signal(self.spec.name.clone(), program.into(), error))
    }

    fn path_variable(&self) -> String {
        format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.bin.display())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// A random uuid, drawn by the kernel.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn random_uuid() -> io::Result<String> {
    fs::read_to_string(Path::new("/proc/sys/kernel/random/uuid")).map(|text| text.trim().to_owned())
}
