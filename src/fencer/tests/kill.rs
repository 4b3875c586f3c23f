//! What the fencer does to real processes at the lease's end (ARCHITECTURE: the fencer).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{Host, Process, SOON, TTL, domain, fencer_half, in_namespace, wait_until};
use leasefence_core::fencing::{Unproven, Wish};
use rustix::process::Signal;

#[test]
fn at_the_end_every_domain_process_is_killed_and_its_exit_seen() {
    if !in_namespace("at_the_end_every_domain_process_is_killed_and_its_exit_seen") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut domains = [host.start_domain(1), host.start_domain(2), host.start_domain(3)];
    host.wait_for_scan_of(&mut page, &domains[2]);
    host.arm(&mut page, SOON);
    domains.iter_mut().for_each(Process::assert_lives);
    let end = host.half.lease_end.0;

    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    let half = fencer_half(&mut page);
    let clean = half.clean.unwrap();
    assert_eq!(clean.generation, host.half.incarnation.generation);
    assert_eq!(half.latched, Some(host.half.lease_end));
    assert!(half.processes.is_empty() && !clean.forced && !half.unproven);
    // Nobody has reaped them yet: a zombie is an exit that is seen.
    assert!(domains.iter().all(|domain| domain.state() == 'Z'));
    for domain in &mut domains {
        domain.assert_killed(SOON);
    }
    println!("lease end to CLEAN: {:?}", clean.at.since_by_faster(end));
    println!("{}", host.log());
}

#[test]
fn a_planned_fence_is_an_earlier_end() {
    if !in_namespace("a_planned_fence_is_an_earlier_end") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, TTL);

    host.publish(&mut page, Wish::Armed, Duration::ZERO);
    let took = domain.assert_killed(Duration::from_millis(300));
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
    println!("published to killed: {took:?}");
}

#[test]
fn never_armed_since_boot_it_kills_nothing() {
    if !in_namespace("never_armed_since_boot_it_kills_nothing") {
        return;
    }
    let mut host = Host::new();
    let mut fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.publish(&mut page, Wish::Joining, Duration::ZERO);
    std::thread::sleep(SOON);
    domain.assert_lives();
    // Nor does one that is restarted and finds no page.
    fencer.die();
    let _fencer = host.start_fencer();
    std::thread::sleep(2 * SOON);
    domain.assert_lives();
}

#[test]
fn a_newcomer_without_a_lease_is_killed() {
    if !in_namespace("a_newcomer_without_a_lease_is_killed") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    host.arm(&mut page, SOON);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    for number in 1..5 {
        let took = host.start_domain(number).assert_killed(Duration::from_millis(300));
        println!("newcomer lived for {took:?}");
    }
}

#[test]
fn a_stopped_victim_is_killed() {
    if !in_namespace("a_stopped_victim_is_killed") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    domain.signal(Signal::STOP);
    wait_until("stopped", SOON, || domain.state() == 'T');
    host.arm(&mut page, SOON);
    domain.assert_killed(2 * SOON);
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
}

#[test]
fn an_exempt_domain_is_left_alone_and_an_unknown_one_is_protected() {
    if !in_namespace("an_exempt_domain_is_left_alone_and_an_unknown_one_is_protected") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut exempt = host.start_domain(1);
    let mut unknown = host.start_domain(2);
    fs::write(host.path("qemu/d2.xml"), "<nothing/>").unwrap();
    host.wait_for_scan_of(&mut page, &unknown);
    host.half.exempt = vec![domain(1)];
    host.arm(&mut page, SOON);
    unknown.assert_killed(2 * SOON);
    // On which storage it was nobody can say.
    wait_until("unproven", SOON, || fencer_half(&mut page).unproven_reason == Some(Unproven::StorageUnknown));
    exempt.assert_lives();
}

#[test]
fn a_process_that_was_given_a_dead_domains_pid_is_not_killed() {
    if !in_namespace("a_process_that_was_given_a_dead_domains_pid_is_not_killed") {
        return;
    }
    let mut host = Host::new();
    // Left over by a domain that ended an hour ago, its pid is now another process's.
    let mut stranger = host.start_domain(1);
    let file = fs::File::options().write(true).open(host.path("qemu/d1.pid")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();

    // And one that dies under the fencer's eyes, whose pid is given away at once.
    let mut domain = host.start_domain(2);
    host.wait_for_scan_of(&mut page, &domain);
    let pid = domain.pid();
    domain.0.kill().unwrap();
    domain.0.wait().unwrap();
    // Start times count in ticks of 10 ms.
    std::thread::sleep(Duration::from_millis(30));
    fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
    let mut heir = Process(Command::new("sleep").arg("1000").spawn().unwrap());
    assert_eq!(heir.pid(), pid, "the kernel gave the pid again");

    host.arm(&mut page, SOON);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    std::thread::sleep(SOON);
    stranger.assert_lives();
    heir.assert_lives();
}

#[test]
fn a_domain_that_libvirt_does_not_show_is_found_by_its_command_line() {
    if !in_namespace("a_domain_that_libvirt_does_not_show_is_found_by_its_command_line") {
        return;
    }
    let mut host = Host::new();
    let emulator = host.path("qemu-system-x86_64");
    fs::copy("/bin/sh", &emulator).unwrap();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut command = Command::new(&emulator);
    command.args(["-c", "while :; do sleep 1000; done", "x", "-uuid"]).arg(domain(9).to_string());
    let mut process = Process(command.spawn().unwrap());
    host.wait_for_scan_of(&mut page, &process);
    host.arm(&mut page, SOON);
    process.assert_killed(2 * SOON);
}
