//! A host in a fresh pid namespace: a real fencer, this test as its agent, and `sleep` processes as domains, whose run
//! files lie in a temporary directory. Nothing outside that namespace can be reached, let alone killed.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use leasefence_core::fencing::{AgentHalf, FencerHalf, QuiesceTarget, StorageKind, Wish};
use leasefence_core::ids::{BootId, DomainId, FileId, Generation, Incarnation, Slot};
use leasefence_core::terms::Terms;
use leasefence_core::time::HolderDeadline;
use leasefence_page::link::{Attached, FencerLink};
use leasefence_page::{AgentPage, HalfReading};
use rustix::process::{Pid, Signal, kill_process};

const INNER: &str = "LEASEFENCE_TEST_IN_NAMESPACE";
pub(crate) const FENCER: &str = env!("CARGO_BIN_EXE_leasefence-fencer");
pub(crate) const TTL: Duration = Duration::from_secs(8);
pub(crate) const SOON: Duration = Duration::from_millis(400);

/// Runs the test `name` again in a pid namespace of its own. True in there.
pub(crate) fn in_namespace(name: &str) -> bool {
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let status = command.env(INNER, "1").status().expect("unshare (package util-linux) runs");
    assert!(status.success(), "the test in its namespace: {status}");
    false
}

pub(crate) fn wait_until(what: &str, most: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < most, "{what}: not within {most:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

/// A child that is killed and reaped when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn die(&mut self) {
        self.signal(Signal::KILL);
        wait_until("gone", SOON, || self.ended().is_some());
    }

    pub(crate) fn assert_killed(&mut self, within: Duration) -> Duration {
        let took = wait_until("killed", within, || self.ended().is_some());
        assert_eq!(self.ended().unwrap().signal(), Some(9), "by SIGKILL");
        took
    }

    pub(crate) fn assert_lives(&mut self) {
        assert_eq!(self.ended(), None, "it must live");
    }

    /// State letter in its `stat`, for a child that has not been reaped.
    pub(crate) fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat[stat.rfind(')').unwrap() + 2..].chars().next().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) struct Host {
    dir: tempfile::TempDir,
    pub(crate) link: FencerLink,
    pub(crate) half: AgentHalf,
}

pub(crate) fn domain(number: u8) -> DomainId {
    DomainId([number; 16])
}

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["run", "qemu"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let boot_id = boot_id();
        let link = FencerLink::new(dir.path().join("run/fencer.sock"), boot_id);
        let half = AgentHalf {
            file_id: FileId([7; 16]),
            boot_id,
            incarnation: Incarnation { slot: Slot(3), generation: Generation(5) },
            arm_count: 1,
            terms: Terms {
                lease_ttl: TTL,
                fence_budget: Duration::from_secs(2),
                write_drain: Duration::from_secs(1),
                ..Terms::default()
            },
            quiesce: vec![QuiesceTarget { kind: StorageKind::OneKernel, device: 1 }],
            covered: (1..9).map(domain).collect(),
            ..AgentHalf::default()
        };
        Self { dir, link, half }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What packages are told.
    pub(crate) fn page_layout(&self) -> String {
        fs::read_to_string(self.path("run/page-layout")).unwrap_or_default()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn fencer_command(&self) -> Command {
        let mut command = Command::new(FENCER);
        command.arg("--run-dir").arg(self.path("run")).arg("--libvirt-run-dir").arg(self.path("qemu"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        command.stdin(Stdio::null()).stderr(log);
        command
    }

    pub(crate) fn start_fencer(&self) -> Process {
        Process(self.fencer_command().spawn().unwrap())
    }

    /// Starts it under a service manager, which is this test.
    pub(crate) fn start_managed(&self) -> (UnixDatagram, Process) {
        let manager = UnixDatagram::bind(self.path("notify")).unwrap();
        (manager, self.start_notifying())
    }

    /// Starts it with a service manager's socket, which is there.
    pub(crate) fn start_notifying(&self) -> Process {
        Process(self.fencer_command().env("NOTIFY_SOCKET", self.path("notify")).spawn().unwrap())
    }

    /// Starts it as systemd does again: what was kept is there from descriptor 3 on.
    pub(crate) fn start_kept(&self, kept: Vec<(&str, OwnedFd)>) -> Process {
        let names: Vec<&str> = kept.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new("/bin/sh");
        // The shell's own 3 and 4 are whatever this test has there.
        let takes = ["exec 3<&0 </dev/null;", "exec 3<&0 4>&1 </dev/null >&2;"][kept.len() - 1];
        let script = format!("{takes} export LISTEN_PID=$$; exec \"$0\" \"$@\"");
        command.args(["-c", &script, FENCER, "--run-dir"]).arg(self.path("run"));
        command.arg("--libvirt-run-dir").arg(self.path("qemu"));
        command.env("LISTEN_FDS", kept.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        command.stderr(log);
        let mut kept = kept.into_iter().map(|(_, fd)| fd);
        command.stdin(kept.next().map_or_else(Stdio::null, Stdio::from));
        command.stdout(kept.next().map_or_else(Stdio::null, Stdio::from));
        Process(command.spawn().unwrap())
    }

    /// Attaches as an agent does, again until the fencer answers.
    pub(crate) fn attach(&mut self, held: Option<&AgentPage>) -> Option<AgentPage> {
        let start = Instant::now();
        loop {
            match self.link.attach(held.map(AgentPage::page)) {
                Ok(Attached::Same) => return None,
                Ok(Attached::New(page)) => return Some(AgentPage::new(page)),
                Err(error) if start.elapsed() > Duration::from_secs(5) => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Publishes the half with an end `left` from now.
    pub(crate) fn publish(&mut self, page: &mut AgentPage, wish: Wish, left: Duration) {
        self.half.wish = wish;
        self.half.lease_end = HolderDeadline(leasefence_clock::instant().plus(left));
        page.write(&self.half).unwrap();
    }

    /// Arms with an end `left` from now, and waits for the echo.
    pub(crate) fn arm(&mut self, page: &mut AgentPage, left: Duration) {
        self.publish(page, Wish::Armed, left);
        let half = self.half.clone();
        wait_until("armed", Duration::from_secs(2), || {
            let echo = fencer_half(page);
            echo.armed
                && echo.arm_count == half.arm_count
                && echo.incarnation == half.incarnation
                && echo.latched.is_none()
        });
    }

    /// A domain as libvirt leaves it: a process, NAME.xml and NAME.pid.
    pub(crate) fn start_domain(&self, number: u8) -> Process {
        let process = Process(Command::new("sleep").arg("1000").spawn().unwrap());
        self.write_run_files(number, process.pid());
        process
    }

    pub(crate) fn write_run_files(&self, number: u8, pid: u32) {
        let xml = format!(
            "<domstatus state='running' pid='{pid}'>\n<domain type='qemu' id='1'>\n<name>d{number}</name>\n\
             <uuid>{}</uuid>\n</domain></domstatus>\n",
            domain(number)
        );
        fs::write(self.path(&format!("qemu/d{number}.xml")), xml).unwrap();
        fs::write(self.path(&format!("qemu/d{number}.pid")), format!("{pid}\n")).unwrap();
    }

    pub(crate) fn wait_for_scan_of(&self, page: &mut AgentPage, process: &Process) {
        wait_until("found", Duration::from_secs(3), || {
            fencer_half(page).processes.iter().any(|found| found.pid == process.pid())
        });
    }
}

pub(crate) fn fencer_half(page: &mut AgentPage) -> FencerHalf {
    match page.read_fencer() {
        HalfReading::Good(half) => half,
        HalfReading::Empty => FencerHalf::default(),
        HalfReading::Bad => panic!("the fencer's half is bad"),
    }
}

pub(crate) fn boot_id() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
    let bytes = (0..16).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect::<Vec<_>>();
    BootId(bytes.try_into().unwrap())
}

/// The page's own descriptor, to damage it.
pub(crate) fn overwrite(page: &AgentPage, offset: u64, bytes: &[u8]) {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    let fd: OwnedFd = page.page().as_fd().try_clone_to_owned().unwrap();
    fs::File::from(fd).write_all_at(bytes, offset).unwrap();
}
