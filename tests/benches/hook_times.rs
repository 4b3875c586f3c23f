//! What libvirt's hook costs a start: the wall time of the hook program, from before its exec to its exit, as a real libvirtd
//! runs it against a real agent, for starts that are permitted and for ones that are denied. Nothing is asserted.
//!
//! `cargo bench -p leasefence-tests --bench hook_times -- [RUNS] [--bin-dir DIR]`. In libvirt's place for hooks stands a copy of
//! this program, which runs the hook in its own place and notes how long that took.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use leasefence_demo::guest::Guest;
use leasefence_demo::{Binaries, Cluster, Host};
use leasefence_tests::{BASE, can_run_hosts, wait_until_free};

const UUID: &str = "6c656173-6566-4e63-a000-000000000007";
const RUNS: usize = 50;
/// Where libvirt looks for hooks, and, beside it, where the hook itself lies meanwhile.
const ASKED: &str = "/etc/libvirt/hooks/qemu.d/leasefence";
const HOOK: &str = "/etc/libvirt/hooks/leasefence-hook";
const NOTES: &str = "/etc/libvirt/hooks/times";

fn main() -> ExitCode {
    if env::current_exe().is_ok_and(|own| own.ends_with(ASKED.trim_start_matches('/'))) {
        return stopwatch();
    }
    if can_run_hosts("the hook's measurement") {
        measure();
    }
    ExitCode::SUCCESS
}

/// Runs the hook as libvirt would have, and notes how long it took.
fn stopwatch() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let words: Vec<_> = arguments.iter().skip(1).take(2).map(|word| word.to_string_lossy()).collect();
    let begun = Instant::now();
    let status = Command::new(HOOK).args(&arguments).status();
    let took = begun.elapsed();
    let mut notes = File::options().create(true).append(true).open(NOTES).expect("its notes can be written");
    writeln!(notes, "{} {}", took.as_micros(), words.join(" ")).expect("a note is written");
    let code = status.ok().and_then(|status| status.code().or_else(|| status.signal().map(|_| 1)));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn measure() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runs = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(RUNS);
    let directory =
        arguments.iter().position(|word| word == "--bin-dir").and_then(|at| arguments.get(at + 1));
    let binaries = directory.map_or_else(Binaries::build, |directory| Binaries::at(Path::new(directory)));
    let mut cluster = Cluster::create(Path::new(BASE), &binaries.unwrap(), 2).unwrap();
    for host in &cluster.hosts {
        put_in_between(host);
    }
    cluster.power_on().unwrap();
    cluster.init_lease().unwrap();
    cluster.start_leasefence().unwrap();
    let guest = Guest::create(&cluster.shared(), "guest", UUID).unwrap();
    for host in 0..2 {
        cluster.wait_until_held(host).unwrap();
        cluster.hosts[host].virsh(&["define", &format!("/mnt/shared/guests/{}.xml", guest.name())]).unwrap();
    }
    let mut permitted = Times::default();
    let mut denied = Times::default();
    for _ in 0..runs {
        let (owner, other) = (&cluster.hosts[0], &cluster.hosts[1]);
        permitted.add(owner, true);
        denied.add(other, false);
        owner.virsh(&["destroy", guest.name()]).unwrap();
        // The next start acquires the lease as if it had never been here.
        wait_until_free(&cluster, guest.name());
    }
    println!("wall time of the hook program, {runs} runs of each; preset fast, two hosts on this machine");
    permitted.tell("a start that is permitted");
    denied.tell("a start that is denied: the guest runs on the other host");
}

fn put_in_between(host: &Host) {
    let asked = host.on_disk(ASKED);
    fs::rename(&asked, host.on_disk(HOOK)).unwrap();
    fs::copy(env::current_exe().unwrap(), asked).unwrap();
}

/// How long each run of the hook took, by what libvirt asked, in its order; then all of a start, and `virsh start` with them.
#[derive(Default)]
struct Times {
    times: Vec<(String, Vec<Duration>)>,
}

impl Times {
    fn add(&mut self, host: &Host, permitted: bool) {
        let notes = host.on_disk(NOTES);
        fs::write(&notes, "").unwrap();
        let begun = Instant::now();
        let said = host.virsh(&["start", "guest"]);
        let virsh = begun.elapsed();
        assert_eq!(said.is_ok(), permitted, "{said:?}");
        let mut all = Duration::ZERO;
        for (micros, asked) in
            fs::read_to_string(&notes).unwrap().lines().filter_map(|line| line.split_once(' '))
        {
            let took = Duration::from_micros(micros.parse().unwrap());
            self.note(asked, took);
            all += took;
        }
        self.note("all of these", all);
        self.note("virsh start", virsh);
    }

    fn note(&mut self, what: &str, took: Duration) {
        match self.times.iter_mut().find(|(known, _)| known == what) {
            Some((_, times)) => times.push(took),
            None => self.times.push((what.into(), vec![took])),
        }
    }

    fn tell(&mut self, title: &str) {
        println!("{title}");
        for (what, times) in &mut self.times {
            times.sort_unstable();
            let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
            let (median, worst) = (ms(times.get(times.len() / 2)), ms(times.last()));
            println!("  {what:<14} median {median:7.1} ms   worst {worst:7.1} ms   ({} times)", times.len());
        }
    }
}
