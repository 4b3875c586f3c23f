//! The ground that the other tests stand on: hosts that are as separate as machines, and leave nothing behind.

use std::collections::BTreeSet;
use std::path::Path;

use leasefence_demo::guest::Guest;
use leasefence_demo::scenario;
use leasefence_tests::{alone, bare_cluster, can_run_hosts, cluster};

const UUID: &str = "6c656173-6566-4e63-a000-000000000004";

#[test]
fn hosts_share_neither_name_nor_boot_nor_clock_nor_processes() {
    if !can_run_hosts("separate hosts") {
        return;
    }
    let cluster = bare_cluster(3);
    for question in
        ["uname -n", "cat /proc/sys/kernel/random/boot_id", "cut -c1-3 /proc/uptime", "cat /etc/machine-id"]
    {
        let ask = |host: &leasefence_demo::Host| host.exec(&["sh", "-c", question]).unwrap();
        let answers: BTreeSet<_> = cluster.hosts.iter().map(ask).collect();
        assert_eq!(answers.len(), 3, "{question}: {answers:?}");
    }
    let processes = cluster.hosts[0].exec(&["sh", "-c", "ls /proc | grep -c '^[0-9]'"]).unwrap();
    assert!(processes.parse::<u32>().unwrap() < 10, "it sees {processes} processes");
}

#[test]
fn a_power_cut_ends_all_processes_and_keeps_the_disk_but_not_the_memory() {
    if !can_run_hosts("power cut of a host") {
        return;
    }
    let mut cluster = bare_cluster(1);
    let host = &mut cluster.hosts[0];
    host.exec(&[
        "sh",
        "-c",
        "echo kept > /var/lib/leasefence/file; echo lost > /run/file; sleep 1000 >/dev/null 2>&1 & exit 0",
    ])
    .unwrap();
    let (init, boot) =
        (host.init().unwrap(), host.exec(&["cat", "/proc/sys/kernel/random/boot_id"]).unwrap());
    host.power_off();
    assert!(!init.is_alive());
    host.power_on().unwrap();
    assert_eq!(host.exec(&["cat", "/var/lib/leasefence/file"]).unwrap(), "kept");
    assert!(host.exec(&["test", "-e", "/run/file"]).is_err());
    assert_ne!(host.exec(&["cat", "/proc/sys/kernel/random/boot_id"]).unwrap(), boot);
}

#[test]
fn hosts_change_nothing_on_the_machine_that_they_run_on() {
    if !can_run_hosts("nothing left behind") {
        return;
    }
    let mut cluster = bare_cluster(1);
    let run = cluster.run_dir().path().to_owned();
    cluster.hosts[0]
        .exec(&["touch", "/etc/made-by-a-host", "/var/lib/made-by-a-host", "/mnt/made-by-a-host"])
        .unwrap();
    drop(cluster);
    let left =
        ["/etc/made-by-a-host", "/var/lib/made-by-a-host", "/mnt/made-by-a-host", "/mnt/shared/demo.lease"];
    assert!(left.iter().all(|path| !Path::new(path).exists()));
    assert!(!run.exists());
}

#[test]
fn a_guest_that_is_started_twice_is_caught_by_the_checker() {
    if !can_run_hosts("a double start") {
        return;
    }
    let _alone = alone();
    let mut cluster = cluster(2);
    cluster.power_on().unwrap();
    let guest = Guest::create(&cluster.shared(), "scratch", UUID).unwrap();
    let caught = scenario::self_check(&cluster, &guest).unwrap();
    assert_ne!(caught.older.host, caught.newer.host);
}
