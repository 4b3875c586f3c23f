//! The kill on real QEMU, without libvirt: found by command lines and run files. Their processors are halted (`-S`), so that a
//! busy machine is not made busier. Skipped loudly where there is no QEMU, or no room.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Host, Process, SOON, TTL, domain, fencer_half, in_namespace, wait_until};
use leasefence_page::AgentPage;
use rustix::process::{Pid, Signal, kill_process};

const QEMU: &str = "qemu-system-x86_64";
/// What fifty need, in MiB, with a good margin.
const ROOM: u64 = 4096;

fn has_qemu() -> bool {
    let there = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        println!("SKIPPED: {QEMU} is not installed");
    }
    there
}

fn room() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn start(host: &Host, number: u8) -> Process {
    let mut command = Command::new(QEMU);
    command.args(["-machine", "pc", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-S"]);
    command.arg("-uuid").arg(domain(number).to_string()).stdin(Stdio::null());
    let process = Process(command.spawn().unwrap());
    host.write_run_files(number, process.pid());
    process
}

fn wait_for(page: &mut AgentPage, count: usize) {
    wait_until("all found", 3 * TTL, || fencer_half(page).processes.len() == count);
}

#[test]
fn one_twenty_and_fifty_guests_are_killed_at_once() {
    if !in_namespace("one_twenty_and_fifty_guests_are_killed_at_once") || !has_qemu() {
        return;
    }
    for count in [1, 20, 50] {
        if room() < ROOM {
            println!("SKIPPED: {count} guests, {} MiB are free of {ROOM}", room());
            continue;
        }
        let mut host = Host::new();
        let _fencer = host.start_fencer();
        let mut page = host.attach(None).unwrap();
        host.half.covered = (1..=count).map(domain).collect();
        let mut guests: Vec<_> = (1..=count).map(|number| start(&host, number)).collect();
        wait_for(&mut page, count.into());
        // Each has its memory and its threads by then.
        std::thread::sleep(Duration::from_secs(1));
        host.arm(&mut page, SOON);
        let end = host.half.lease_end.0;
        wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
        let took = fencer_half(&mut page).clean.unwrap().at.since_by_faster(end);
        let rungs = page.read_rungs().unwrap();
        assert_eq!((rungs.signalled, rungs.exits, rungs.left), (count.into(), count.into(), 0), "{rungs:?}");
        println!(
            "{count} QEMU: signalled by {} ms, last exit by {} ms, CLEAN after {took:?}",
            rungs.signalled_ms.unwrap(),
            rungs.exits_ms.unwrap()
        );
        guests.iter_mut().for_each(|guest| {
            guest.assert_killed(SOON);
        });
    }
}

/// A memory cgroup of this test's own, in which this process and all that it starts has little room.
struct Scarce(&'static str);

impl Scarce {
    const PARENT: &str = "/sys/fs/cgroup/memory";
    /// Room for a fencer, a few halted guests, and one that eats the rest.
    const BYTES: u32 = 256 << 20;

    /// None where no such cgroup can be made.
    fn enter() -> Option<Self> {
        let group = "/sys/fs/cgroup/memory/leasefence-test-scarce";
        fs::create_dir_all(group).ok()?;
        fs::write(format!("{group}/memory.limit_in_bytes"), Self::BYTES.to_string()).ok()?;
        fs::write(format!("{group}/cgroup.procs"), "0").ok()?;
        Some(Self(group))
    }

    /// How often the kernel has killed for want of memory.
    fn killed(&self) -> u32 {
        let text = fs::read_to_string(format!("{}/memory.oom_control", self.0)).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
    }
}

impl Drop for Scarce {
    fn drop(&mut self) {
        fs::write(format!("{}/cgroup.procs", Self::PARENT), "0").ok();
        // What is left in there was started by what was started here.
        wait_until("an empty cgroup", SOON, || {
            let left = fs::read_to_string(format!("{}/cgroup.procs", self.0)).unwrap_or_default();
            for pid in left.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                kill_process(pid, Signal::KILL).ok();
            }
            fs::remove_dir(self.0).is_ok()
        });
    }
}

/// Catches: a fencer that asks for memory when there is none, and waits for the kernel to find some.
#[test]
fn while_memory_runs_out_again_and_again_guests_are_killed_and_their_exits_seen() {
    let name = "while_memory_runs_out_again_and_again_guests_are_killed_and_their_exits_seen";
    if !in_namespace(name) || !has_qemu() {
        return;
    }
    let Some(scarce) = Scarce::enter() else {
        println!("SKIPPED: no cgroup of v1's memory controller can be made");
        return;
    };
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut guests: Vec<_> = (1..=3).map(|number| start(&host, number)).collect();
    wait_for(&mut page, guests.len());
    // `tail` keeps what it has read until a line ends. The kernel chooses it, and it begins anew.
    let eats = "echo 1000 >/proc/self/oom_score_adj; while :; do tail /dev/zero; done";
    let eater = Command::new("sh").args(["-c", eats]).stderr(Stdio::null()).spawn().unwrap();
    let _eater = Process(eater);
    wait_until("memory runs out", TTL, || scarce.killed() > 1);
    host.arm(&mut page, SOON);
    let end = host.half.lease_end.0;
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    let took = fencer_half(&mut page).clean.unwrap().at.since_by_faster(end);
    println!("CLEAN {took:?} after the end, memory had run out {} times", scarce.killed());
    guests.iter_mut().for_each(|guest| {
        guest.assert_killed(SOON);
    });
}

#[test]
fn a_stopped_guest_and_those_started_by_hand_during_and_after_the_fence_are_killed() {
    if !in_namespace("a_stopped_guest_and_those_started_by_hand_during_and_after_the_fence_are_killed")
        || !has_qemu()
    {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut stopped = start(&host, 1);
    wait_for(&mut page, 1);
    stopped.signal(Signal::STOP);
    wait_until("stopped", SOON, || stopped.state() == 'T');
    host.arm(&mut page, SOON);
    wait_until("latched", TTL, || fencer_half(&mut page).latched.is_some());
    let mut during = start(&host, 2);
    stopped.assert_killed(TTL);
    let lived = during.assert_killed(TTL);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    let mut after = start(&host, 3);
    println!("started during the fence it lived for {lived:?}, after it for {:?}", after.assert_killed(TTL));
    // One that no run file shows is found by its command line.
    let mut unseen = start(&host, 4);
    fs::remove_file(host.path("qemu/d4.pid")).ok();
    unseen.assert_killed(TTL);
}
