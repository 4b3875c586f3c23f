//! The finder: a child of the fencer that looks for what libvirt's files do not show. It may be stopped, killed or lost, and the
//! fencer waits for it nowhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Host, Process, SOON, TTL, domain, fencer_half, in_namespace, wait_until};
use leasefence_core::fencing::Unproven;
use rustix::process::{Pid, Signal, kill_process};

/// A finder that says nothing is ended after 3 s, and another begins at once.
const FOUND_AGAIN: Duration = Duration::from_secs(8);

/// The finder of this fencer, once there is one.
fn finder_of(fencer: &Process) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", fencer.pid())).ok()?;
    tasks.filter_map(Result::ok).find_map(|task| {
        let children = fs::read_to_string(task.path().join("children")).ok()?;
        let pid: u32 = children.split_whitespace().next()?.parse().ok()?;
        // Before it has become one it is the fencer's copy.
        (name_of(pid)? == "leasefence-find").then_some(pid)
    })
}

fn name_of(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

fn wait_for_finder(fencer: &Process) -> u32 {
    wait_until("a finder", FOUND_AGAIN, || finder_of(fencer).is_some());
    finder_of(fencer).unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).ok();
}

/// A guest that no run file shows.
fn start_unlisted(host: &Host, number: u8) -> Process {
    let emulator = host.path("qemu-system-x86_64");
    if !emulator.exists() {
        fs::copy("/bin/sh", &emulator).unwrap();
    }
    let mut command = Command::new(&emulator);
    command.args(["-c", "while :; do sleep 1000; done", "x", "-uuid"]).arg(domain(number).to_string());
    Process(command.spawn().unwrap())
}

#[test]
fn a_guest_that_starts_while_the_finder_is_stopped_or_dead_is_found_and_killed_at_the_end() {
    if !in_namespace("a_guest_that_starts_while_the_finder_is_stopped_or_dead_is_found_and_killed_at_the_end")
    {
        return;
    }
    let mut host = Host::new();
    let fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let first = wait_for_finder(&fencer);
    signal(first, Signal::KILL);
    let mut one = start_unlisted(&host, 1);
    wait_until("found", FOUND_AGAIN, || fencer_half(&mut page).processes.iter().any(|p| p.pid == one.pid()));
    let second = wait_for_finder(&fencer);
    assert_ne!(first, second);
    signal(second, Signal::STOP);
    let mut other = start_unlisted(&host, 2);
    wait_until("found", FOUND_AGAIN, || {
        fencer_half(&mut page).processes.iter().any(|p| p.pid == other.pid())
    });
    assert!(!fs::exists(format!("/proc/{second}")).unwrap(), "it was ended, and reaped");
    assert_eq!(fencer_half(&mut page).processes.len(), 2, "what was found before is held");
    host.arm(&mut page, SOON);
    one.assert_killed(2 * SOON);
    other.assert_killed(2 * SOON);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    let log = host.log();
    assert!(log.contains("1 hung, 1 ended, and 0 could not be started"), "{log}");
}

/// It looks on while the lease ends; what it finds then is killed.
#[test]
fn a_guest_that_is_found_only_after_the_end_is_killed_then() {
    if !in_namespace("a_guest_that_is_found_only_after_the_end_is_killed_then") {
        return;
    }
    let mut host = Host::new();
    let fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let finder = wait_for_finder(&fencer);
    wait_until("looked", TTL, || fencer_half(&mut page).scans > 0);
    signal(finder, Signal::STOP);
    let mut guest = start_unlisted(&host, 1);
    host.arm(&mut page, SOON);
    wait_until("latched", TTL, || fencer_half(&mut page).latched.is_some());
    guest.assert_killed(FOUND_AGAIN);
}

/// Catches: a receipt of a host on which nobody has looked for guests that libvirt does not show (R8).
#[test]
fn while_nobody_has_looked_for_long_nothing_is_proven() {
    if !in_namespace("while_nobody_has_looked_for_long_nothing_is_proven") {
        return;
    }
    let mut host = Host::new();
    // A program of its own, which can be made one that cannot be run.
    let program = host.path("fencer");
    fs::copy(common::FENCER, &program).unwrap();
    let runs = |mode| fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    runs(0o755);
    let mut command = Command::new(&program);
    command.args(host.fencer_command().get_args());
    command.stderr(fs::File::create(host.path("log")).unwrap());
    let fencer = Process(command.spawn().unwrap());
    let mut page = host.attach(None).unwrap();
    wait_until("looked", TTL, || fencer_half(&mut page).scans > 0);
    runs(0o644);
    signal(wait_for_finder(&fencer), Signal::KILL);
    let mut guest = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &guest);
    wait_until("no scan is complete any more", 2 * TTL, || {
        let before = fencer_half(&mut page).scans;
        std::thread::sleep(SOON);
        fencer_half(&mut page).scans == before
    });
    host.arm(&mut page, SOON);
    guest.assert_killed(2 * SOON);
    wait_until("unproven", TTL, || fencer_half(&mut page).unproven_reason == Some(Unproven::ScanFailed));
    assert!(fencer_half(&mut page).clean.is_none());
    runs(0o755);
    wait_until("CLEAN once somebody looks again", TTL, || fencer_half(&mut page).clean.is_some());
    wait_until("both said", TTL, || {
        let log = host.log();
        log.contains("no lease's end is proven until it has") && log.contains("the finder has looked again")
    });
}

/// Catches: a watchdog's descriptor that lives on in a child, or a child that outlives the fencer and keeps its memory.
#[test]
fn the_finder_has_nothing_of_the_fencer_s_and_ends_with_it() {
    if !in_namespace("the_finder_has_nothing_of_the_fencer_s_and_ends_with_it") {
        return;
    }
    let host = Host::new();
    // A descriptor that a service manager passes, and that no fencer knows.
    let mut fencer = host.start_kept(vec![("of-another-time", fs::File::open("/dev/null").unwrap().into())]);
    let finder = wait_for_finder(&fencer);
    let open: Vec<String> = fs::read_dir(format!("/proc/{finder}/fd"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap_or_default();
            format!("{} {}", entry.file_name().to_string_lossy(), target.display())
        })
        // What it is just reading itself.
        .filter(|entry| !entry.contains("/proc") && !entry.contains(" /sys/"))
        .collect();
    assert!(
        open.len() <= 3 && open.iter().all(|entry| entry[..2].trim().parse::<u32>().unwrap() < 3),
        "{open:?}"
    );
    let status = fs::read_to_string(format!("/proc/{finder}/status")).unwrap();
    assert!(status.lines().any(|line| line.starts_with("VmLck:") && line.ends_with(" 0 kB")), "{status}");
    let rss = status.lines().find(|line| line.starts_with("VmRSS:"));
    println!("the finder: {rss:?}");
    signal(finder, Signal::STOP);
    fencer.die();
    // Nobody may be there to reap it.
    wait_until("gone", SOON, || {
        let stat = fs::read_to_string(format!("/proc/{finder}/stat"));
        stat.is_err() || stat.unwrap().contains(") Z ")
    });
}

/// A cgroup of libvirt's kind in a hierarchy of v1, where one can be made.
struct DomainGroup(std::path::PathBuf);

impl DomainGroup {
    fn new() -> Option<Self> {
        let hierarchy = std::path::Path::new("/sys/fs/cgroup/pids");
        if !hierarchy.join("cgroup.procs").exists() {
            return None;
        }
        let machine = hierarchy.join("machine");
        let name = format!("qemu-1-leasefence-{}.libvirt-qemu", leasefence_clock::instant().boot_ns);
        let group = Self(machine.join(name));
        match fs::create_dir_all(&group.0) {
            Ok(()) if group.0.join("cgroup.procs").exists() => Some(group),
            _ => None,
        }
    }
}

impl Drop for DomainGroup {
    fn drop(&mut self) {
        let begun = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && begun.elapsed() < TTL {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Another's may be in it.
        fs::remove_dir(self.0.parent().unwrap()).ok();
    }
}

#[test]
fn a_guest_of_an_unknown_name_is_found_by_its_cgroup_of_v1_and_killed() {
    if !in_namespace("a_guest_of_an_unknown_name_is_found_by_its_cgroup_of_v1_and_killed") {
        return;
    }
    let Some(group) = DomainGroup::new() else {
        println!("SKIPPED: no cgroup of v1 can be made here");
        return;
    };
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let start = |args: &[String]| {
        let mut command = Command::new("sh");
        // It waits for what never comes, without a child of its own.
        command.args(["-c", "read line", "x"]).args(args).stdin(Stdio::piped());
        let process = Process(command.spawn().unwrap());
        fs::write(group.0.join("cgroup.procs"), process.pid().to_string()).unwrap();
        process
    };
    let mut guest = start(&["-uuid".to_owned(), domain(1).to_string()]);
    let mut helper = start(&[]);
    host.wait_for_scan_of(&mut page, &guest);
    assert_eq!(fencer_half(&mut page).processes[0].domain, domain(1));
    host.arm(&mut page, SOON);
    guest.assert_killed(2 * SOON);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    helper.assert_lives();
}

/// Catches: a finder that a service manager's or an administrator's SIGTERM does not end, as it was started with it blocked.
#[test]
fn a_finder_ends_by_a_signal_to_stop() {
    if !in_namespace("a_finder_ends_by_a_signal_to_stop") {
        return;
    }
    let host = Host::new();
    let fencer = host.start_fencer();
    let first = wait_for_finder(&fencer);
    signal(first, Signal::TERM);
    wait_until("ended and reaped", Duration::from_secs(2), || !fs::exists(format!("/proc/{first}")).unwrap());
}

/// A proof needs a look that began after the end: the finder is asked for one then, and does not wait for its second to pass.
#[test]
fn a_proof_does_not_wait_for_the_finder_s_next_second() {
    if !in_namespace("a_proof_does_not_wait_for_the_finder_s_next_second") {
        return;
    }
    // The phase of its second is anything: several hosts, one after the other.
    for _ in 0..4 {
        let mut host = Host::new();
        let _fencer = host.start_fencer();
        let mut page = host.attach(None).unwrap();
        wait_until("looked", TTL, || fencer_half(&mut page).scans > 0);
        host.arm(&mut page, SOON);
        wait_until("latched", TTL, || fencer_half(&mut page).latched.is_some());
        wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
        let half = fencer_half(&mut page);
        let (latched, clean) = (half.latched.unwrap().0, half.clean.unwrap().at);
        let after = clean.since_by_faster(latched);
        assert!(after < Duration::from_millis(300), "{after:?}");
    }
}
