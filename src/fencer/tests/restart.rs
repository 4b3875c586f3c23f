//! What outlives a fencer, and what does not: restarts with and without its page, damage, disarming, stopping.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/notes.rs"]
mod notes;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{FENCER, Host, Process, SOON, TTL, fencer_half, in_namespace, overwrite, wait_until};
use leasefence_core::fencing::{Unproven, Wish};
use leasefence_page::AgentPage;
use rustix::process::Signal;

/// A guarded host with one domain, and an end 8 s away.
fn guarded() -> (Host, Process, AgentPage, Process) {
    let mut host = Host::new();
    let fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, TTL);
    (host, fencer, page, domain)
}

#[test]
fn a_restarted_fencer_takes_the_agents_copy_and_goes_on() {
    if !in_namespace("a_restarted_fencer_takes_the_agents_copy_and_goes_on") {
        return;
    }
    let (mut host, mut fencer, mut page, mut domain) = guarded();
    assert!(host.link.is_alive());
    fencer.die();
    wait_until("the agent sees the end of the link", SOON, || !host.link.is_alive());
    let _fencer = host.start_fencer();
    assert!(host.attach(Some(&page)).is_none(), "the same page");
    std::thread::sleep(2 * SOON);
    domain.assert_lives();
    host.publish(&mut page, Wish::Armed, SOON);
    domain.assert_killed(2 * SOON);
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
}

#[test]
fn without_a_copy_within_one_pet_interval_the_lease_is_over() {
    if !in_namespace("without_a_copy_within_one_pet_interval_the_lease_is_over") {
        return;
    }
    let (mut host, mut fencer, page, mut domain) = guarded();
    fencer.die();
    let _fencer = host.start_fencer();
    let took = domain.assert_killed(Duration::from_millis(600));
    assert!(took >= Duration::from_millis(250), "{took:?}");
    // Too late: the lease stays ended, and what the copy says of tokens makes the proof.
    assert!(host.attach(Some(&page)).is_none(), "the copy is taken all the same");
    let mut page = page;
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
    host.publish(&mut page, Wish::Armed, TTL);
    std::thread::sleep(SOON);
    assert!(fencer_half(&mut page).latched.is_some());
}

#[test]
fn with_agent_and_page_lost_there_is_no_proof() {
    if !in_namespace("with_agent_and_page_lost_there_is_no_proof") {
        return;
    }
    let (mut host, mut fencer, page, mut domain) = guarded();
    drop(page);
    fencer.die();
    let _fencer = host.start_fencer();
    domain.assert_killed(Duration::from_millis(600));
    let mut page = host.attach(None).unwrap();
    wait_until("unproven", TTL, || fencer_half(&mut page).unproven_reason == Some(Unproven::TokensUnknown));
    let half = fencer_half(&mut page);
    assert_eq!((half.incarnation, half.clean), (host.half.incarnation, None));
    host.start_domain(2).assert_killed(SOON);
}

#[test]
fn an_end_that_passed_while_the_fencer_was_down_stays_passed() {
    if !in_namespace("an_end_that_passed_while_the_fencer_was_down_stays_passed") {
        return;
    }
    let (mut host, mut fencer, mut page, mut domain) = guarded();
    host.publish(&mut page, Wish::Armed, Duration::from_millis(300));
    wait_until("taken", SOON, || fencer_half(&mut page).lease_end == host.half.lease_end);
    fencer.die();
    std::thread::sleep(SOON);
    // An agent that breaks its own rule.
    host.publish(&mut page, Wish::Armed, TTL);
    let _fencer = host.start_fencer();
    assert!(host.attach(Some(&page)).is_none());
    domain.assert_killed(SOON);
}

#[test]
fn both_slots_bad_is_an_end_after_one_pet_interval() {
    if !in_namespace("both_slots_bad_is_an_end_after_one_pet_interval") {
        return;
    }
    let (mut host, _fencer, mut page, mut domain) = guarded();
    // The second write went to slot 0. One torn slot is what a killed writer leaves: nothing happens.
    host.publish(&mut page, Wish::Armed, TTL);
    wait_until("taken", SOON, || fencer_half(&mut page).lease_end == host.half.lease_end);
    let slots = [4096, 4096 + 24 * 4096];
    overwrite(&page, slots[1] + 20, &[0x5a; 64]);
    std::thread::sleep(SOON);
    domain.assert_lives();
    overwrite(&page, slots[0] + 20, &[0x5a; 64]);
    let took = domain.assert_killed(Duration::from_millis(600));
    assert!(took >= Duration::from_millis(200), "{took:?}");
}

#[test]
fn disarmed_it_kills_nothing_after_its_restart() {
    if !in_namespace("disarmed_it_kills_nothing_after_its_restart") {
        return;
    }
    let (mut host, mut fencer, mut page, mut domain) = guarded();
    host.publish(&mut page, Wish::Disarm, SOON);
    wait_until("disarmed", SOON, || !fencer_half(&mut page).armed);
    fencer.die();
    let mut fencer = host.start_fencer();
    std::thread::sleep(2 * SOON);
    domain.assert_lives();
    fencer.signal(Signal::TERM);
    wait_until("stopped", SOON, || fencer.ended().is_some());
    assert_eq!(fencer.ended().unwrap().code(), Some(0));
}

#[test]
fn told_to_stop_while_armed_it_lets_nothing_go() {
    if !in_namespace("told_to_stop_while_armed_it_lets_nothing_go") {
        return;
    }
    let (host, mut fencer, _page, mut domain) = guarded();
    fencer.signal(Signal::TERM);
    wait_until("stopped", SOON, || fencer.ended().is_some());
    assert_eq!(fencer.ended().unwrap().code(), Some(3));
    assert!(fs::read_to_string(host.path("run/state")).unwrap().starts_with("armed "));
    domain.assert_lives();
    assert!(host.log().contains("stopped while it guards a lease"));
}

#[test]
fn the_service_manager_keeps_the_page() {
    if !in_namespace("the_service_manager_keeps_the_page") {
        return;
    }
    let mut host = Host::new();
    let (manager, mut fencer) = host.start_managed();
    let kept = notes::until(&manager, "READY=1");
    let mut page = host.attach(None).unwrap();
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, TTL);
    fencer.die();

    let _fencer = host.start_kept(vec![("page", kept)]);
    assert!(host.attach(Some(&page)).is_none());
    std::thread::sleep(2 * SOON);
    domain.assert_lives();
    assert!(fencer_half(&mut page).armed);
    host.publish(&mut page, Wish::Armed, Duration::ZERO);
    domain.assert_killed(SOON);
}

#[test]
fn a_service_manager_that_does_not_read_stops_nothing() {
    if !in_namespace("a_service_manager_that_does_not_read_stops_nothing") {
        return;
    }
    let mut host = Host::new();
    let manager = UnixDatagram::bind(host.path("notify")).unwrap();
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"x", host.path("notify")).is_ok() {}
    let _fencer = host.start_notifying();
    let mut page = host.attach(None).unwrap();
    host.arm(&mut page, SOON);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    drop(manager);
}

/// Not a test: the agent that the next one stops. Renews every 100 ms for 1 s each time, never looking at its own clock.
#[test]
fn agent_process() {
    let Some(socket) = std::env::var_os("LEASEFENCE_TEST_AGENT") else { return };
    let mut host = Host::new();
    host.link = leasefence_page::link::FencerLink::new(socket, common::boot_id());
    let mut page = host.attach(None).unwrap();
    host.arm(&mut page, Duration::from_secs(1));
    loop {
        host.publish(&mut page, Wish::Armed, Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_stopped_agents_lease_ends_and_its_renewals_afterwards_revive_nothing() {
    if !in_namespace("a_stopped_agents_lease_ends_and_its_renewals_afterwards_revive_nothing") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    // A second reader of the page, that writes nothing.
    let mut page = host.attach(None).unwrap();
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "agent_process"]).env("LEASEFENCE_TEST_AGENT", host.path("run/fencer.sock"));
    let agent = Process(command.stdout(Stdio::null()).spawn().unwrap());
    wait_until("armed", TTL, || fencer_half(&mut page).armed);
    std::thread::sleep(Duration::from_secs(2));
    domain.assert_lives();
    agent.signal(Signal::STOP);
    let took = domain.assert_killed(Duration::from_millis(1300));
    println!("agent stopped to domain killed: {took:?}");
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
    agent.signal(Signal::CONT);
    std::thread::sleep(SOON);
    assert!(fencer_half(&mut page).latched.is_some());
    host.start_domain(2).assert_killed(SOON);
}

#[test]
fn a_second_fencer_does_not_start() {
    if !in_namespace("a_second_fencer_does_not_start") {
        return;
    }
    let (host, mut fencer, _page, mut domain) = guarded();
    let output = host.fencer_command().stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another leasefence-fencer runs"));
    std::thread::sleep(SOON);
    domain.assert_lives();
    assert_eq!(fencer.ended(), None);
}

#[test]
fn it_refuses_the_machines_initial_pid_namespace() {
    let initial = fs::read_link("/proc/self/ns/pid").unwrap();
    if initial.to_str() != Some("pid:[4026531836]") {
        println!("this is not the initial pid namespace: nothing to see");
        return;
    }
    let host = Host::new();
    let output = host.fencer_command().stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-initial-pid-namespace"));
}

#[test]
fn what_it_does_not_understand_it_says() {
    let output = Command::new(FENCER).arg("--frob").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--frob"));
    let output = Command::new(FENCER).arg("--version").output().unwrap();
    assert!(output.status.success());
}
