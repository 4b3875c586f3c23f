//! What the integration tests share: programs that are built once, clusters in a directory of their own, and a loud word
//! where a test cannot run. The hosts themselves are the demo's (`tools/demo`).

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use leasefence_demo::binaries::BinariesError;
use leasefence_demo::{AGENT, Binaries, Cluster, FENCER, Host, LIBVIRTD, configure, deps, wait};

/// Where hosts have their files: on a disk, since leases need direct I/O.
pub const BASE: &str = "/var/tmp/leasefence-tests";

/// Whether hosts can run here. If not, says so: a test that did not run must not look like one that passed.
#[must_use]
pub fn can_run_hosts(test: &str) -> bool {
    match deps::check() {
        Ok(()) => true,
        Err(why) => {
            eprintln!("\n*** {test} DID NOT RUN: {why} ***\n");
            false
        }
    }
}

/// One failover at a time, also under plain `cargo test`: they are measured against real deadlines.
pub fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hosts that are off.
///
/// # Panics
/// When the programs cannot be built or the hosts not be prepared.
#[must_use]
pub fn cluster(hosts: u32) -> Cluster {
    static BINARIES: OnceLock<Result<Binaries, BinariesError>> = OnceLock::new();
    let binaries = BINARIES.get_or_init(Binaries::build).as_ref().expect("the programs are built");
    Cluster::create(Path::new(BASE), binaries, hosts).expect("hosts are prepared")
}

/// Hosts without libvirt that are on, and a lease file: enough for all that no guest takes part in.
///
/// # Panics
/// When they do not come up.
#[must_use]
pub fn bare_cluster(hosts: u32) -> Cluster {
    let mut cluster = cluster(hosts);
    for host in &mut cluster.hosts {
        host.disable(LIBVIRTD).expect("libvirtd stays off");
        host.power_on().expect("a host is switched on");
    }
    cluster.init_lease().expect("a lease file is made");
    cluster
}

/// Starts fencer and agent with this configuration, and leaves them running.
///
/// # Panics
/// When the host is off.
pub fn start_agent(host: &mut Host, config: &str) {
    configure(host, config).expect("the configuration is written");
    host.enable(FENCER).expect("the fencer is started");
    host.enable(AGENT).expect("the agent is started");
}

/// What an agent that should refuse has done.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit code; 124 when it still ran after 40 s.
    pub code: i32,
    /// What it said.
    pub said: String,
}

impl Refusal {
    /// Asserts that it ended with an error, and that the error has all these words.
    ///
    /// # Panics
    /// When not.
    pub fn assert_says(&self, words: &[&str]) {
        assert!(self.code != 0 && self.code != 124, "it did not refuse: {self:?}");
        for word in words {
            assert!(self.said.contains(word), "no {word:?} in what it said:\n{}", self.said);
        }
    }
}

/// Runs the agent with this configuration until it ends by itself. A fencer runs beside it.
///
/// # Panics
/// When the host is off.
#[must_use]
pub fn agent_run(host: &mut Host, config: &str) -> Refusal {
    configure(host, config).expect("the configuration is written");
    host.enable(FENCER).expect("the fencer is started");
    run(&mut host.command(&[AGENT], Duration::from_secs(40)).expect("the host is on"))
}

/// Runs a command to its end, whatever it be.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(command: &mut Command) -> Refusal {
    let output = command.output().expect("the command starts");
    let said = [output.stdout, output.stderr].concat();
    Refusal { code: output.status.code().unwrap_or(-1), said: String::from_utf8_lossy(&said).into_owned() }
}

/// Waits until no host has a lease of the guest that keeps the others from it.
///
/// # Panics
/// When one still has after a minute, or an agent does not answer.
pub fn wait_until_free(cluster: &Cluster, guest: &str) {
    let owned = |host: usize| {
        let domains = cluster.status(host).expect("the agent answers").domains;
        domains.iter().any(|d| d.name == guest && ["own", "acquiring"].contains(&d.lease.as_str()))
    };
    let free = || (!(0..cluster.hosts.len()).any(owned)).then_some(());
    wait::until("the guest's lease to end", Duration::from_secs(60), free).expect("it ends");
}
