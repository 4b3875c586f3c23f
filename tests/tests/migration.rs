//! Live migration between two real libvirtds: the lease goes with the guest, and a host that may not take it does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use leasefence_demo::guest::Guest;
use leasefence_demo::{Cluster, wait};
use leasefence_tests::{alone, can_run_hosts, cluster, run};
use nix::sys::signal::Signal;

const UUID: &str = "6c656173-6566-4e63-a000-000000000007";
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of the wire's end on each host.
const WIRE: &str = "wire";

/// Two hosts that hold their leases, a wire between them, and a guest that both know and the first runs.
fn with_a_guest() -> (Cluster, Guest) {
    with_a_guest_of(|xml| xml)
}

/// The same with another definition than its own.
fn with_a_guest_of(defined: impl FnOnce(String) -> String) -> (Cluster, Guest) {
    let mut cluster = cluster(2);
    for host in &mut cluster.hosts {
        host.listen().unwrap();
    }
    cluster.power_on().unwrap();
    connect(&cluster);
    cluster.init_lease().unwrap();
    cluster.start_leasefence().unwrap();
    for host in 0..cluster.hosts.len() {
        cluster.wait_until_held(host).unwrap();
    }
    let guest = Guest::create(&cluster.shared(), "guest", UUID).unwrap();
    let definition = cluster.shared().join("guests/guest.xml");
    fs::write(&definition, defined(fs::read_to_string(&definition).unwrap())).unwrap();
    for host in &cluster.hosts {
        host.virsh(&["define", "/mnt/shared/guests/guest.xml"]).unwrap();
    }
    cluster.hosts[0].virsh(&["start", "guest"]).unwrap();
    wait_for_lease(&cluster, 0, "own");
    (cluster, guest)
}

/// A wire between the two, and nothing else: neither reaches this machine's own network.
fn connect(cluster: &Cluster) {
    let pids: Vec<String> = cluster.hosts.iter().map(|host| host.init().unwrap().pid.to_string()).collect();
    let ends = ["link", "add", "name", WIRE, "netns", &pids[0], "type", "veth", "peer", "name", WIRE];
    let made = run(Command::new("ip").args(ends).args(["netns", &pids[1]]));
    assert_eq!(made.code, 0, "{made:?}");
    for (host, number) in cluster.hosts.iter().zip(1..) {
        let address = format!("10.9.0.{number}/24");
        host.exec(&["ip", "addr", "add", &address, "dev", WIRE]).unwrap();
        for device in ["lo", WIRE] {
            host.exec(&["ip", "link", "set", device, "up"]).unwrap();
        }
    }
}

/// What virsh says to `migrate --live`, and how long that took.
fn migrate(cluster: &Cluster, from: usize, to: usize) -> (Result<String, String>, Duration) {
    migrate_with(cluster, from, to, &[])
}

fn migrate_with(
    cluster: &Cluster,
    from: usize,
    to: usize,
    more: &[&str],
) -> (Result<String, String>, Duration) {
    let (libvirtd, qemu) =
        (format!("qemu+tcp://10.9.0.{}/system", to + 1), format!("tcp://10.9.0.{}", to + 1));
    let begun = Instant::now();
    // Unsafe, says libvirt, of a local file system: it does not know that both hosts see the same one.
    let words = ["migrate", "--live", "--unsafe", "guest", &libvirtd, "--migrateuri", &qemu];
    let said = cluster.hosts[from].virsh(&[&words, more].concat()).map_err(|error| error.to_string());
    (said, begun.elapsed())
}

/// The word for a host's lease of the guest.
fn lease(cluster: &Cluster, host: usize) -> String {
    let status = cluster.status(host).unwrap();
    status.domains.iter().find(|d| d.name == "guest").map(|d| d.lease.clone()).unwrap_or_default()
}

fn wait_for_lease(cluster: &Cluster, host: usize, word: &str) {
    let what = format!("the guest's lease on {} to be {word}", cluster.hosts[host].name());
    wait::until(&what, PATIENCE, || (lease(cluster, host) == word).then_some(())).unwrap();
}

#[test]
fn a_guest_that_is_migrated_takes_its_lease_with_it_there_and_back() {
    if !can_run_hosts("a live migration") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = with_a_guest();
    for (from, to) in [(0, 1), (1, 0)] {
        let (said, took) = migrate(&cluster, from, to);
        println!("to {}: {said:?} after {took:?}", cluster.hosts[to].name());
        said.unwrap();
        wait_for_lease(&cluster, to, "own");
        let ended = || (lease(&cluster, from) != "own").then(|| lease(&cluster, from));
        let ended = wait::until("the source's entry to end", PATIENCE, ended).unwrap();
        println!("{} has it as {ended}", cluster.hosts[from].name());
        assert!(["orphan", "none"].contains(&ended.as_str()), "{ended}");
        assert_eq!(cluster.runner("guest"), Some(to));
        println!("{}", cluster.hosts[to].exec(&["leasefence", "lease", "list"]).unwrap());
        // Its source may not have it back but by another migration.
        let why = cluster.hosts[from].virsh(&["start", "guest"]).unwrap_err().to_string();
        assert!(why.contains(&format!("busy: {} owns it", cluster.hosts[to].name())), "{why}");
    }
}

#[test]
fn a_guest_is_not_migrated_to_a_host_that_may_not_take_it_and_its_owner_is_named() {
    if !can_run_hosts("a denied migration") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = with_a_guest();
    println!("{}", cluster.hosts[1].exec(&["leasefence", "disarm"]).unwrap());
    let (said, took) = migrate(&cluster, 0, 1);
    let why = said.expect_err("it was migrated");
    println!("denied after {took:?}: {why}");
    assert!(why.contains("leasefence: host-1 owns it and keeps it") && why.contains("maintenance"), "{why}");
    assert_eq!((cluster.runner("guest"), lease(&cluster, 0).as_str()), (Some(0), "own"));
    println!("{}", cluster.hosts[1].exec(&["leasefence", "arm"]).unwrap());
    cluster.wait_until_held(1).unwrap();
    let (said, took) = migrate(&cluster, 0, 1);
    println!("armed again: {said:?} after {took:?}");
    said.unwrap();
    wait_for_lease(&cluster, 1, "own");
}

#[test]
fn a_migration_that_fails_before_the_guest_runs_leaves_it_with_its_source_and_nothing_behind() {
    if !can_run_hosts("a failed migration") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = with_a_guest();
    let source = cluster.hosts[0].process("qemu-system-x86_64").unwrap();
    let said = thread::scope(|scope| {
        let migration = scope.spawn(|| migrate(&cluster, 0, 1));
        // As soon as it is there, it is gone: no memory of the guest has come yet.
        let shows = || cluster.hosts[1].process("qemu-system-x86_64").ok();
        let waiting = wait::until("QEMU on host-2", PATIENCE, shows).unwrap();
        waiting.signal(Signal::SIGKILL).unwrap();
        migration.join().unwrap()
    });
    println!("its destination was killed: {said:?}");
    said.0.expect_err("it was migrated");
    wait_for_lease(&cluster, 1, "none");
    assert_eq!((cluster.runner("guest"), lease(&cluster, 0).as_str()), (Some(0), "own"));
    assert!(source.is_alive(), "its source was ended");
    // Its source must have seen that first.
    let denied = migrate(&cluster, 0, 1).0.expect_err("it was migrated again at once");
    assert!(denied.contains("has just failed"), "{denied}");
    thread::sleep(Duration::from_secs(3));
    let (said, took) = migrate(&cluster, 0, 1);
    println!("again: {said:?} after {took:?}");
    said.unwrap();
    wait_for_lease(&cluster, 1, "own");
}

/// Catches: an entry that says own before the guest's CPUs run, by an event that libvirt sends at the migration's beginning.
#[test]
fn one_that_comes_in_paused_is_owned_only_once_it_runs() {
    if !can_run_hosts("a migration that ends paused") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = with_a_guest();
    let (said, took) = migrate_with(&cluster, 0, 1, &["--suspend"]);
    println!("paused: {said:?} after {took:?}");
    said.unwrap();
    wait::until("the source's entry to end", PATIENCE, || (lease(&cluster, 0) == "orphan").then_some(()))
        .unwrap();
    // Longer than libvirt is listed, and than an event takes.
    wait::pause(Duration::from_secs(5)).unwrap();
    println!("{}", cluster.hosts[1].exec(&["leasefence", "lease", "list"]).unwrap());
    assert_eq!(lease(&cluster, 1), "incoming");
    let why = cluster.hosts[0].virsh(&["start", "guest"]).unwrap_err().to_string();
    assert!(why.contains("busy: it is being migrated to host-2"), "{why}");
    cluster.hosts[1].virsh(&["resume", "guest"]).unwrap();
    wait_for_lease(&cluster, 1, "own");
    assert_eq!(cluster.runner("guest"), Some(1));
}

/// Its CPUs run on the destination while its memory still comes: of a source that is killed or resumed then, nothing would be left.
#[test]
fn one_whose_memory_follows_it_is_owned_where_it_runs() {
    if !can_run_hosts("a migration by post-copy") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = with_a_guest();
    // What is left after the first round is short enough for QEMU to change over as in any other, unless it may take no time at all.
    cluster.hosts[0].virsh(&["migrate-setmaxdowntime", "guest", "1"]).unwrap();
    let options = ["--postcopy", "--postcopy-after-precopy", "--bandwidth", "1"];
    let (said, took) = migrate_with(&cluster, 0, 1, &options);
    println!("by post-copy: {said:?} after {took:?}");
    said.unwrap();
    wait_for_lease(&cluster, 1, "own");
    wait::until("the source's entry to end", PATIENCE, || (lease(&cluster, 0) != "own").then_some(()))
        .unwrap();
    let job = cluster.hosts[1].virsh(&["domjobinfo", "guest", "--completed"]).unwrap();
    println!("{job}");
    assert!(job.contains("Postcopy requests"), "it was not by post-copy: {job}");
    assert_eq!(cluster.runner("guest"), Some(1));
    let why = cluster.hosts[0].virsh(&["start", "guest"]).unwrap_err().to_string();
    assert!(why.contains("busy: host-2 owns it"), "{why}");
}

/// The image that a guest got a moment before is the one that its destination's death leaves (R6): its entry names the chain that came in,
/// which libvirt tells the hook as it lists it later.
#[test]
fn one_that_is_migrated_right_after_a_snapshot_is_started_again_with_its_newest_image() {
    if !can_run_hosts("a migration right after a snapshot") {
        return;
    }
    let _alone = alone();
    // Libvirt makes no snapshot of a disk that is shareable.
    let (mut cluster, _guest) = with_a_guest_of(|xml| xml.replace("<shareable/>", ""));
    cluster.hosts[0].exec(&["leasefence", "ha", "enable", "guest"]).unwrap();
    cluster.wait_until_protected(0, "guest").unwrap();
    let newest = "/mnt/shared/guests/guest.newest";
    let disk = format!("vda,snapshot=external,file={newest}");
    cluster.hosts[0]
        .virsh(&["snapshot-create-as", "guest", "--disk-only", "--no-metadata", "--diskspec", &disk])
        .unwrap();
    let (said, took) = migrate(&cluster, 0, 1);
    println!("{said:?} after {took:?}");
    said.unwrap();
    cluster.wait_until_protected(1, "guest").unwrap();
    cluster.hosts[1].power_off();
    wait::until("the guest to run on host-1", PATIENCE, || {
        (cluster.runner("guest") == Some(0)).then_some(())
    })
    .unwrap();
    let disks = cluster.hosts[0].virsh(&["domblklist", "guest"]).unwrap();
    println!("{disks}");
    assert!(disks.contains(newest), "{disks}");
}

/// What a source goes by that asks for libvirt's job: an answer to a question that was asked after its destination was seen is no older
/// than that migration, since libvirt has begun the source's job by the time it asks the destination's hook.
#[test]
fn libvirt_has_the_sources_job_before_it_asks_the_destinations_hook() {
    if !can_run_hosts("the job of a migration") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = with_a_guest();
    for more in [&[][..], &["--p2p"]] {
        let from = cluster.runner("guest").unwrap();
        let to = 1 - from;
        cluster.hosts[to].signal("leasefence-agent", Signal::SIGSTOP).unwrap();
        let (asked, job, said) = thread::scope(|scope| {
            let migration = scope.spawn(|| migrate_with(&cluster, from, to, more));
            // By its name among libvirt's hooks.
            let asks = || cluster.hosts[to].process("leasefence").ok();
            let asked = wait::until("the destination's hook", PATIENCE, asks);
            let job = cluster.hosts[from].virsh(&["domjobinfo", "guest"]);
            cluster.hosts[to].signal("leasefence-agent", Signal::SIGCONT).unwrap();
            (asked, job, migration.join().unwrap())
        });
        println!("{more:?}: {said:?}\n{job:?}");
        asked.unwrap();
        assert!(job.unwrap().contains("Outgoing migration"));
        // Where the hook has been answered too late, it is where it was.
        let runner = if said.0.is_ok() { to } else { from };
        wait_for_lease(&cluster, runner, "own");
        thread::sleep(Duration::from_secs(3));
    }
}
