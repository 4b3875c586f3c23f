//! What the fencer does to real processes at the lease's end (ARCHITECTURE: the fencer).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
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

/// Each rung's outcome is in the page, for the journal and the status.
#[test]
fn what_was_done_at_the_end_is_told_rung_by_rung() {
    if !in_namespace("what_was_done_at_the_end_is_told_rung_by_rung") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut domains = [host.start_domain(1), host.start_domain(2)];
    host.wait_for_scan_of(&mut page, &domains[1]);
    assert_eq!(page.read_rungs(), None, "no lease has ended");
    host.arm(&mut page, SOON);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    domains.iter_mut().for_each(|domain| {
        domain.assert_killed(SOON);
    });
    let rungs = page.read_rungs().unwrap();
    assert_eq!(rungs.incarnation, host.half.incarnation);
    assert_eq!((rungs.signalled, rungs.not_signalled, rungs.exits, rungs.left), (2, 0, 2, 0), "{rungs:?}");
    assert!(rungs.signalled_ms.is_some() && rungs.exits_ms >= rungs.signalled_ms, "{rungs:?}");
    assert_eq!((rungs.reset_ms, rungs.storages), (None, 0), "{rungs:?}");
    println!("{rungs:?}");
    // A guest that starts without a lease is one more.
    host.start_domain(3).assert_killed(TTL);
    wait_until("told", SOON, || page.read_rungs().is_some_and(|rungs| rungs.exits == 3));
}

/// How long it takes, by how many there are: printed. What a real guest needs to end is its own.
#[test]
fn fifty_are_killed_as_one_is() {
    if !in_namespace("fifty_are_killed_as_one_is") {
        return;
    }
    for count in [1, 20, 50] {
        let mut host = Host::new();
        let _fencer = host.start_fencer();
        let mut page = host.attach(None).unwrap();
        host.half.covered = (1..=count).map(domain).collect();
        let mut domains: Vec<_> = (1..=count).map(|number| host.start_domain(number)).collect();
        wait_until("all found", TTL, || fencer_half(&mut page).processes.len() == usize::from(count));
        host.arm(&mut page, SOON);
        let end = host.half.lease_end.0;
        wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
        let took = fencer_half(&mut page).clean.unwrap().at.since_by_faster(end);
        let rungs = page.read_rungs().unwrap();
        assert_eq!((rungs.signalled, rungs.exits), (count.into(), count.into()), "{rungs:?}");
        println!(
            "{count} domains: signalled by {:?} ms, last exit by {:?} ms, CLEAN after {took:?}",
            rungs.signalled_ms, rungs.exits_ms
        );
        domains.iter_mut().for_each(|domain| {
            domain.assert_killed(SOON);
        });
    }
}

/// The fencing thread puts lines into a ring; who writes them may wait for ever.
#[test]
fn a_journal_that_nobody_reads_holds_up_neither_kill_nor_proof_nor_beat() {
    if !in_namespace("a_journal_that_nobody_reads_holds_up_neither_kill_nor_proof_nor_beat") {
        return;
    }
    let (mut theirs, _never_read) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    while theirs.write(&[b'x'; 4096]).is_ok() {}
    while theirs.write(b"x").is_ok() {}
    theirs.set_nonblocking(false).unwrap();
    let mut host = Host::new();
    let mut fencer = Process(host.fencer_command().stderr(OwnedFd::from(theirs)).spawn().unwrap());
    let mut page = host.attach(None).unwrap();
    let mut guest = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &guest);
    host.arm(&mut page, SOON);
    guest.assert_killed(2 * SOON);
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
    // Many more lines than it keeps.
    for number in 0..150 {
        host.start_domain(number % 8 + 1).assert_killed(SOON);
    }
    let before = fencer_half(&mut page).beat;
    wait_until("beats", SOON, || fencer_half(&mut page).beat != before);
    fencer.assert_lives();
}
