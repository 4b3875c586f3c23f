//! The host's own reset: what stands in the place of `/proc/sysrq-trigger` is a plain file, and shows when it was written.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/fake_watchdog.rs"]
mod fake_watchdog;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Host, Process, SOON, TTL, fencer_half, in_namespace, wait_until};
use fake_watchdog::FakeWatchdog;
use leasefence_core::fencing::{StorageKind, Wish};
use leasefence_core::time::Instant;
use leasefence_page::{AgentPage, LAYOUT_VERSION, ResetReport, ResetWish};
use rustix::process::Signal;

const HUNG_BY: &str = "LEASEFENCE_TEST_HUNG_BY";
const RESET_LATENCY: Duration = Duration::from_millis(500);
/// So much sooner the beat itself resets than its thread would.
const LEAD: Duration = leasefence_core::fencing::BEAT;

fn start(host: &Host) -> Process {
    if !host.path("sysrq").exists() {
        fs::write(host.path("sysrq"), "").unwrap();
    }
    let mut command = host.fencer_command();
    Process(command.arg("--sysrq-trigger").arg(host.path("sysrq")).spawn().unwrap())
}

fn pulled(host: &Host) -> usize {
    fs::read_to_string(host.path("sysrq")).unwrap().len()
}

fn report(page: &mut AgentPage) -> ResetReport {
    page.read_reset_report().unwrap_or_default()
}

/// Asks for it, and waits for the answer.
fn ask(page: &mut AgentPage, on: bool) -> ResetReport {
    let wish = ResetWish { on };
    page.write_reset_wish(&wish);
    wait_until("answered", SOON, || page.read_reset_report().is_some_and(|report| report.wish == wish));
    report(page)
}

/// When the trigger was pulled first.
fn wait_for_reset(host: &Host, most: Duration) -> Instant {
    wait_until("reset", most, || pulled(host) > 0);
    leasefence_clock::instant()
}

/// The guest: its call into a driver never ends, and neither does the process, whatever is sent to it.
#[test]
fn hung_in_a_call_that_never_ends() {
    let Some(path) = std::env::var_os(HUNG_BY) else { return };
    let file = fs::File::open(path).unwrap();
    // SAFETY: WDIOC_KEEPALIVE takes no argument; the descriptor is open.
    unsafe { nix::libc::ioctl(file.as_raw_fd(), 0x8004_5705, &mut 0) };
}

/// A guest and what it hangs in, which goes first.
struct Unkillable {
    device: FakeWatchdog,
    process: Process,
}

impl Unkillable {
    fn start(host: &Host, number: u8) -> Self {
        let device = FakeWatchdog::at(&host.path(&format!("disk{number}")));
        device.behaves(|manners| manners.hangs = true);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "hung_in_a_call_that_never_ends"]).env(HUNG_BY, device.path());
        let process = Process(command.stdout(Stdio::null()).spawn().unwrap());
        host.write_run_files(number, process.pid());
        Self { device, process }
    }
}

#[test]
fn a_guest_that_cannot_be_killed_has_the_host_reset_in_time_and_not_sooner() {
    if !in_namespace("a_guest_that_cannot_be_killed_has_the_host_reset_in_time_and_not_sooner") {
        return;
    }
    let mut host = Host::new();
    let _fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    let mut guest = Unkillable::start(&host, 1);
    host.wait_for_scan_of(&mut page, &guest.process);
    let said = ask(&mut page, true);
    assert!(said.on && said.note.is_empty(), "{said:?}");
    wait_until("told to packages", SOON, || host.page_layout() == format!("{LAYOUT_VERSION}r\n"));
    host.arm(&mut page, SOON);
    let end = host.half.lease_end.0;
    let due = end.plus(host.half.terms.fence_budget);
    let at = wait_for_reset(&host, TTL);
    let early = due.since_by_faster(at);
    // Its first thread is a zombie, and the one that hangs is not.
    guest.process.assert_lives();
    assert!(early > Duration::ZERO, "the machine must have been reset by the end of the budget");
    assert!(
        early <= RESET_LATENCY + LEAD,
        "kill and quiescence have their time: {early:?} before the budget's end"
    );
    println!("lease end to sysrq: {:?}, {early:?} before the end of the budget", at.since_by_faster(end));
    // A kernel that does not do it is asked again, and people are told.
    wait_until("again", TTL, || pulled(&host) > 1);
    assert!(report(&mut page).note.as_str().contains("has not done it"));
    // Its call ends at last, and so does it.
    guest.device.behaves(|manners| manners.hangs = false);
    drop(guest.device);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    let times = pulled(&host);
    std::thread::sleep(2 * RESET_LATENCY);
    assert_eq!(pulled(&host), times, "a host that is clean is left alone");
    println!("{}", host.log());
}

/// Catches: a reboot that an operator asks for meanwhile, which stops the fencer and takes the reset away that a record promises.
#[test]
fn a_fencer_that_is_told_to_stop_before_its_reset_is_due_still_resets() {
    if !in_namespace("a_fencer_that_is_told_to_stop_before_its_reset_is_due_still_resets") {
        return;
    }
    let mut host = Host::new();
    let fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    let guest = Unkillable::start(&host, 1);
    host.wait_for_scan_of(&mut page, &guest.process);
    assert!(ask(&mut page, true).on);
    host.arm(&mut page, SOON);
    wait_until("latched", TTL, || fencer_half(&mut page).latched.is_some());
    fencer.signal(Signal::TERM);
    wait_for_reset(&host, TTL);
    guest.device.behaves(|manners| manners.hangs = false);
}

/// A file in libvirt's run directory that whoever opens it waits for, for ever: so does the fencing thread, in the middle of a
/// beat. What it stands for is a wait in the kernel that nobody thought of.
struct Trap(FakeWatchdog);

impl Trap {
    fn set(host: &Host) -> Self {
        let trap = Self(FakeWatchdog::at(&host.path("qemu/trap.pid")));
        trap.0.behaves(|manners| manners.opening_hangs = true);
        trap
    }

    /// Waits until the fencer beats no more.
    fn wait_for_catch(page: &mut AgentPage) {
        let mut last = fencer_half(page).beat;
        wait_until("stuck", TTL, || {
            std::thread::sleep(SOON);
            let beat = fencer_half(page).beat;
            std::mem::replace(&mut last, beat) == beat
        });
    }
}

/// Judges a reset of a host whose fencing thread is stuck, of the end that it accepted last.
fn assert_reset_of_a_stuck_one(host: &Host, page: &mut AgentPage) {
    let due = host.half.lease_end.0.plus(host.half.terms.fence_budget);
    let at = wait_for_reset(host, 2 * TTL);
    let early = due.since_by_faster(at);
    assert!(early > Duration::ZERO, "the machine must have been reset by the end of the budget");
    assert!(early <= RESET_LATENCY, "kill and quiescence have their time: {early:?} before the budget's end");
    println!("the trigger was pulled {early:?} before the end of the budget");
    assert!(fencer_half(page).clean.is_none());
}

/// Catches: a reset that waits behind whatever holds up the thread that beats.
#[test]
fn a_fencing_thread_that_is_stuck_before_the_end_has_the_host_reset_in_time() {
    if !in_namespace("a_fencing_thread_that_is_stuck_before_the_end_has_the_host_reset_in_time") {
        return;
    }
    let mut host = Host::new();
    let _fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    assert!(ask(&mut page, true).on);
    host.arm(&mut page, TTL / 2);
    let _trap = Trap::set(&host);
    Trap::wait_for_catch(&mut page);
    assert_eq!(pulled(&host), 0, "its end has not come");
    assert_reset_of_a_stuck_one(&host, &mut page);
    assert!(fencer_half(&mut page).latched.is_none(), "nobody latched it");
}

#[test]
fn a_fencing_thread_that_is_stuck_after_the_kill_has_the_host_reset_in_time() {
    if !in_namespace("a_fencing_thread_that_is_stuck_after_the_kill_has_the_host_reset_in_time") {
        return;
    }
    let mut host = Host::new();
    let _fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    let mut guest = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &guest);
    // A guest that cannot be killed keeps CLEAN away until the trap is there.
    let left = Unkillable::start(&host, 2);
    host.wait_for_scan_of(&mut page, &left.process);
    assert!(ask(&mut page, true).on);
    host.arm(&mut page, SOON);
    guest.assert_killed(TTL);
    let _trap = Trap::set(&host);
    assert_reset_of_a_stuck_one(&host, &mut page);
    left.device.behaves(|manners| manners.hangs = false);
}

/// A cgroup of this test's own, where one can be made.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let path = root.join(format!("leasefence-rungs-{}-{name}", boot_id_and_time()));
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        group.0.join("cgroup.kill").exists().then_some(group)
    }

    fn enter(&self, process: &Process) {
        fs::write(self.0.join("cgroup.procs"), process.pid().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let begun = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && begun.elapsed() < TTL {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Pids are those of a namespace, and name nobody's cgroup.
fn boot_id_and_time() -> u64 {
    leasefence_clock::instant().boot_ns
}

#[test]
fn the_cgroup_of_a_survivor_is_killed_too_unless_somebody_else_is_in_it() {
    if !in_namespace("the_cgroup_of_a_survivor_is_killed_too_unless_somebody_else_is_in_it") {
        return;
    }
    let groups = Group::new("guest").and_then(|guest| Some((guest, Group::new("mixed")?)));
    let Some((lone, mixed)) = groups else {
        println!("SKIPPED: no cgroup with cgroup.kill can be made here");
        return;
    };
    let mut host = Host::new();
    let _fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    let guests = [Unkillable::start(&host, 1), Unkillable::start(&host, 2)];
    let mut stranger = Process(Command::new("sleep").arg("1000").spawn().unwrap());
    lone.enter(&guests[0].process);
    mixed.enter(&guests[1].process);
    mixed.enter(&stranger);
    guests.iter().for_each(|guest| host.wait_for_scan_of(&mut page, &guest.process));
    host.arm(&mut page, SOON);
    let counts = |page: &mut AgentPage| page.read_rungs().map(|rungs| (rungs.cgroups, rungs.cgroups_left));
    wait_until("both looked at", TTL, || counts(&mut page) == Some((1, 1)));
    std::thread::sleep(SOON);
    stranger.assert_lives();
    assert_eq!(counts(&mut page), Some((1, 1)));
    drop(guests);
    stranger.die();
}

#[test]
fn a_host_that_is_clean_in_time_or_has_reset_off_is_never_reset() {
    if !in_namespace("a_host_that_is_clean_in_time_or_has_reset_off_is_never_reset") {
        return;
    }
    let mut host = Host::new();
    let _fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    assert!(ask(&mut page, true).on);
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, SOON);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    domain.assert_killed(SOON);
    std::thread::sleep(host.half.terms.fence_budget + SOON);
    assert_eq!(pulled(&host), 0);

    let mut host = Host::new();
    let _fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    host.half.quiesce[0].kind = StorageKind::Unprovable;
    let domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, SOON);
    wait_until("unproven", TTL, || fencer_half(&mut page).unproven);
    std::thread::sleep(host.half.terms.fence_budget + SOON);
    assert_eq!(pulled(&host), 0, "nobody asked for it");
}

/// Its record says "reset on": whoever takes its place must keep that, with the page or without it.
#[test]
fn a_fencer_that_is_started_again_without_its_page_still_resets() {
    if !in_namespace("a_fencer_that_is_started_again_without_its_page_still_resets") {
        return;
    }
    let mut host = Host::new();
    let mut fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    assert!(ask(&mut page, true).on);
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, TTL);
    fencer.die();
    let _fencer = start(&host);
    // No agent offers its copy: nobody knows which starts were permitted, and no proof can come.
    domain.assert_killed(TTL);
    wait_for_reset(&host, Duration::from_secs(4));
}

#[test]
fn while_armed_it_is_not_turned_off() {
    if !in_namespace("while_armed_it_is_not_turned_off") {
        return;
    }
    let mut host = Host::new();
    let _fencer = start(&host);
    let mut page = host.attach(None).unwrap();
    assert!(ask(&mut page, true).on);
    host.arm(&mut page, TTL);
    let said = ask(&mut page, false);
    assert!(said.on && said.deferred, "{said:?}");
    host.publish(&mut page, Wish::Disarm, TTL);
    wait_until("off", TTL, || !report(&mut page).on);
    assert!(!report(&mut page).deferred && !host.path("run/reset").exists());
    wait_until("told to packages", SOON, || host.page_layout() == format!("{LAYOUT_VERSION}\n"));
}

/// No fencer of these tests was given leave, and this is another pid namespace: the kernel's own trigger is not opened.
#[test]
fn without_leave_it_says_why_there_is_none() {
    if !in_namespace("without_leave_it_says_why_there_is_none") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let said = ask(&mut page, true);
    assert!(!said.on && said.note.as_str().contains("--allow-reset"), "{said:?}");
}
