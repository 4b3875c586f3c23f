//! What serves disks past every domain: while it has a domain's storage open for writing, the end of a lease is not proven.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Host, Process, SOON, TTL, fencer_half, in_namespace, wait_until};
use leasefence_core::fencing::{QuiesceTarget, StorageKind, Unproven};
use leasefence_transport::{mount_of, read_list};

/// A process by this name that has a disk of this host's open.
fn start(host: &Host, name: &str, opens: &str) -> Process {
    let program = host.path(name);
    fs::copy("/bin/sh", &program).unwrap();
    fs::write(host.path("disk"), "").unwrap();
    let script = format!("exec 3{opens}{}; while :; do sleep 1000; done", host.path("disk").display());
    Process(Command::new(program).args(["-c", &script]).spawn().unwrap())
}

/// A host with a domain on the storage that its files lie on.
fn host() -> (Host, u64) {
    let mut host = Host::new();
    let mounts = read_list(Path::new("/proc/self/mountinfo")).unwrap();
    let device = mount_of(&mounts, &host.path("disk")).unwrap().device;
    host.half.quiesce = vec![QuiesceTarget { kind: StorageKind::OneKernel, device }];
    (host, device)
}

fn told(host: &Host) -> String {
    fs::read_to_string(host.path("run/writers")).unwrap_or_default()
}

#[test]
fn a_server_of_disks_that_has_a_domain_s_storage_open_keeps_the_proof_away_and_is_not_killed() {
    if !in_namespace(
        "a_server_of_disks_that_has_a_domain_s_storage_open_keeps_the_proof_away_and_is_not_killed",
    ) {
        return;
    }
    let (mut host, _) = host();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let mut guest = host.start_domain(1);
    let mut server = start(&host, "qemu-nbd", ">>");
    host.wait_for_scan_of(&mut page, &guest);
    let line = format!(" {} qemu-nbd\n", server.pid());
    wait_until("told ahead of need", TTL, || told(&host).contains(&line));
    host.arm(&mut page, SOON);
    guest.assert_killed(TTL);
    wait_until("unproven", TTL, || fencer_half(&mut page).unproven_reason == Some(Unproven::StorageNotQuiet));
    server.assert_lives();
    // The page says so before the log is written.
    let said = format!("to qemu-nbd (pid {})", server.pid());
    wait_until("said", TTL, || host.log().contains(&said));
    assert!(fencer_half(&mut page).clean.is_none());
    server.die();
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    assert_eq!(told(&host), "");
}

#[test]
fn what_only_reads_or_is_a_domain_s_helper_is_none() {
    if !in_namespace("what_only_reads_or_is_a_domain_s_helper_is_none") {
        return;
    }
    let (mut host, _) = host();
    let _fencer = host.start_fencer();
    let mut page = host.attach(None).unwrap();
    let reader = start(&host, "qemu-nbd", "<");
    // It has a pid file among those of the domains, and so it is ended with them.
    let mut helper = start(&host, "qemu-storage-daemon", ">>");
    host.write_run_files(1, helper.pid());
    host.wait_for_scan_of(&mut page, &helper);
    let line = format!(" {} qemu-storage-da\n", helper.pid());
    wait_until("the finder knows", TTL, || told(&host).contains(&line));
    assert!(!told(&host).contains("qemu-nbd"), "{}", told(&host));
    host.arm(&mut page, SOON);
    helper.assert_killed(TTL);
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
    drop(reader);
}
