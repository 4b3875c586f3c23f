//! Hosts for tests: each a pid namespace of its own with a fencer and an agent, all on one lease file. Nothing else of
//! this machine is in their sight, so that nothing else can be killed.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use leasefence_api::{Client, Status, VerdictAnswer};
use leasefence_core::format::init::InitParameters;
use leasefence_core::format::{LONGEST_VERDICT_AFTER_DEFAULT, Policy};
use leasefence_core::ids::{ClusterId, FileId};
use tempfile::TempDir;

/// A lease file and the place for its hosts.
pub(crate) struct Cluster {
    lease_dir: TempDir,
    hosts: TempDir,
}

impl Cluster {
    /// A cluster that is a test and accepts hosts without a watchdog, or with one that is software.
    pub(crate) fn new() -> Self {
        // The lease file must lie where O_DIRECT works, the sockets where paths are short.
        let lease_dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let hosts = TempDir::new().expect("a directory");
        write_lease_file(&lease_dir.path().join("lease"));
        Self { lease_dir, hosts }
    }

    /// The lease file.
    pub(crate) fn lease(&self) -> PathBuf {
        self.lease_dir.path().join("lease")
    }

    /// A host that is not running yet.
    pub(crate) fn host(&self, name: &str) -> Host {
        let dir = self.hosts.path().join(name);
        for inside in ["qemu", "run"] {
            fs::create_dir_all(dir.join(inside)).expect("a directory");
        }
        let config = dir.join("leasefence.toml");
        let text = format!(
            "cluster = \"lab\"\nlease = {lease:?}\nhost_name = {name:?}\npreset = \"fast\"\nstorage = \"one-kernel\"\n\
             watchdog = \"none\"\nexpire_without_hardware = true\nunknown_hold = \"2s\"\nrun_dir = {run:?}\nstate_dir = {state:?}\n\
             [libvirt]\nuri = \"qemu+unix:///system?socket={nowhere}\"\n",
            lease = self.lease(),
            run = dir.join("run"),
            state = dir.join("state"),
            nowhere = dir.join("no-libvirt").display(),
        );
        fs::write(&config, text).expect("a configuration");
        Host { name: name.to_owned(), dir, config, machine: None, fencer_args: String::new() }
    }
}

/// Both headers and nothing else, as `leasefence init --accept none --test` writes it.
fn write_lease_file(path: &Path) {
    let parameters = InitParameters {
        file_id: FileId(*b"lease file tests"),
        cluster_id: ClusterId(*b"cluster of tests"),
        cluster_name: "lab".to_owned(),
        sector_size: 4096,
        max_hosts: 8,
        pages: 4,
        policy: Policy::TEST.with(Policy::ACCEPT_NONE).with(Policy::ACCEPT_SOFT),
        min_write_drain: Duration::from_secs(1),
        longest_verdict_after: LONGEST_VERDICT_AFTER_DEFAULT,
    };
    let header = parameters.header().expect("the parameters are sound");
    let mut file = fs::File::create(path).expect("a file");
    file.set_len(header.layout.total_size()).expect("room");
    for place in [header.layout.first_header(), header.layout.last_header()] {
        file.seek(SeekFrom::Start(place.offset)).expect("seek");
        file.write_all(&header.encode(&place)).expect("write");
    }
    file.sync_all().expect("sync");
}

/// A "machine": one pid namespace with a fencer and an agent.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) config: PathBuf,
    machine: Option<Child>,
    /// What its fencer is told beside that.
    pub(crate) fencer_args: String,
}

impl Host {
    /// Powers it on.
    pub(crate) fn start(&mut self) {
        let script = format!(
            "{fencer} --run-dir {dir}/run --libvirt-run-dir {dir}/qemu {more} 2>>{dir}/fencer.log & \
             echo $! >{dir}/fencer.pid; \
             while :; do {agent} --config {config} 2>>{dir}/agent.log & echo $! >{dir}/agent.pid; \
             wait $!; sleep 0.2; done",
            fencer = fencer().display(),
            more = self.fencer_args,
            agent = env!("CARGO_BIN_EXE_leasefence-agent"),
            dir = self.dir.display(),
            config = self.config.display(),
        );
        let machine = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare runs");
        self.machine = Some(machine);
    }

    /// Cuts its power: every process of it dies at once.
    pub(crate) fn power_off(&mut self) {
        if let Some(mut machine) = self.machine.take() {
            machine.kill().expect("it can be killed");
            machine.wait().expect("it ends");
        }
        // A machine that boots again has an empty /run.
        let run = self.dir.join("run");
        fs::remove_dir_all(&run).and_then(|()| fs::create_dir(&run)).expect("an empty directory");
    }

    /// Sends a signal to its agent or fencer (`agent`, `fencer`), from inside its pid namespace.
    pub(crate) fn signal(&self, who: &str, signal: &str) {
        let machine = self.machine.as_ref().expect("it runs").id();
        let children =
            fs::read_to_string(format!("/proc/{machine}/task/{machine}/children")).expect("it has children");
        let init = children.split_whitespace().next().expect("its first process");
        let pid = fs::read_to_string(self.dir.join(format!("{who}.pid"))).expect("a pid");
        let sent = Command::new("nsenter")
            .args(["--target", init, "--pid", "--mount", "kill", &format!("-{signal}"), pid.trim()])
            .status()
            .expect("nsenter runs");
        assert!(sent.success(), "signal {signal} to the {who} of {}", self.name);
    }

    /// Asks its agent.
    pub(crate) fn status(&self) -> Result<Status, String> {
        let client = self.client();
        block_on(async { client.status().await }).map_err(|error| error.to_string())
    }

    /// What its agent says of another host.
    pub(crate) fn verdict(&self, host: &str) -> Result<VerdictAnswer, String> {
        let client = self.client();
        block_on(async { client.verdict(host).await }).map_err(|error| error.to_string())
    }

    /// Its agent's socket.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.dir.join("run")).with_deadline(Duration::from_secs(20))
    }

    /// Waits until its own record is in this state.
    pub(crate) fn wait_state(&self, state: &str, longest: Duration) -> Status {
        wait_for(longest, || match self.status() {
            Ok(status) if status.own.state == state => Ok(status),
            Ok(status) => Err(format!(
                "{} is {} ({}); warnings {:?}",
                self.name, status.own.state, status.agent.summary, status.warnings
            )),
            Err(error) => Err(error),
        })
    }

    /// Both logs, for a failed assertion.
    pub(crate) fn logs(&self) -> String {
        let read = |name: &str| {
            let mut text = String::new();
            if let Ok(mut file) = fs::File::open(self.dir.join(name)) {
                file.read_to_string(&mut text).ok();
            }
            format!("--- {} {name}\n{text}", self.name)
        };
        read("agent.log") + &read("fencer.log")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.power_off();
    }
}

/// Tries until it is so; the last reason why not is the failure's.
pub(crate) fn wait_for<T>(longest: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(begun.elapsed() < longest, "not within {longest:?}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// True when this machine lets us make hosts; says so loudly when not.
pub(crate) fn can_make_hosts() -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        eprintln!("SKIPPED: hosts in pid namespaces need root");
    }
    root
}

/// The fencer, built beside the agent by the same cargo.
fn fencer() -> PathBuf {
    static BUILD: std::sync::Once = std::sync::Once::new();
    let directory = Path::new(env!("CARGO_BIN_EXE_leasefence-agent")).parent().expect("a directory");
    BUILD.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "leasefence-fencer"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.env("CARGO_TARGET_DIR", directory.parent().expect("a directory"));
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "building the fencer");
    });
    directory.join("leasefence-fencer")
}
