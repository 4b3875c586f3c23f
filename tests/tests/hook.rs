//! Libvirt's hook, as real libvirt runs it: nothing that is protected starts without its lease, whoever starts it, and a host
//! without an agent harms nothing that runs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use leasefence_demo::guest::Guest;
use leasefence_demo::{AGENT, Cluster, FENCER, Host, LIBVIRTD, configure, default_config, wait};
use leasefence_tests::{alone, can_run_hosts, cluster, wait_until_free};
use nix::sys::signal::Signal;

const UUID: &str = "6c656173-6566-4e63-a000-000000000005";
const OTHER: &str = "6c656173-6566-4e63-a000-000000000006";
const PATIENCE: Duration = Duration::from_secs(60);

fn held(hosts: u32) -> Cluster {
    let mut cluster = cluster(hosts);
    cluster.power_on().unwrap();
    cluster.init_lease().unwrap();
    cluster.start_leasefence().unwrap();
    for host in 0..cluster.hosts.len() {
        cluster.wait_until_held(host).unwrap();
    }
    cluster
}

/// A guest that every host knows and none runs.
fn guest(cluster: &Cluster, name: &str, uuid: &str) -> Guest {
    let guest = Guest::create(&cluster.shared(), name, uuid).unwrap();
    for host in &cluster.hosts {
        host.virsh(&["define", &format!("/mnt/shared/guests/{name}.xml")]).unwrap();
    }
    guest
}

/// What libvirt says to a start, and how long that took.
fn start(host: &Host, name: &str) -> (Result<String, String>, Duration) {
    let begun = Instant::now();
    let said = host.virsh(&["start", name]).map_err(|error| error.to_string());
    (said, begun.elapsed())
}

fn denied(host: &Host, name: &str) -> String {
    let (said, took) = start(host, name);
    let why = said.expect_err("it was started");
    println!("{} said after {took:?}: {why}", host.name());
    assert!(why.contains("leasefence: "), "{why}");
    why
}

#[test]
fn a_guest_that_is_started_on_two_hosts_in_one_moment_runs_on_one_and_the_other_says_whose_it_is() {
    if !can_run_hosts("a start on two hosts") {
        return;
    }
    let _alone = alone();
    let cluster = held(2);
    let guest = guest(&cluster, "guest", UUID);
    for round in 0..3 {
        let said: Vec<_> = thread::scope(|scope| {
            let starts: Vec<_> =
                cluster.hosts.iter().map(|host| scope.spawn(move || start(host, "guest"))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        println!("round {round}: {said:?}");
        let winners: Vec<usize> = (0..2).filter(|host| said[*host].0.is_ok()).collect();
        let [winner] = winners[..] else { panic!("{said:?}") };
        let why = said[1 - winner].0.clone().unwrap_err();
        assert!(why.contains(&format!("leasefence: busy: {}", cluster.hosts[winner].name())), "{why}");
        assert_eq!(cluster.runner("guest"), Some(winner));
        // And later, too.
        let why = denied(&cluster.hosts[1 - winner], "guest");
        assert!(why.contains(&format!("busy: {} owns it", cluster.hosts[winner].name())), "{why}");
        let status = cluster.status(winner).unwrap();
        assert!(status.hook.placed && status.hook.last.is_some() && status.hook.unasked.is_none());
        // Ended and started again at once, on the same host: its lease is here.
        cluster.hosts[winner].virsh(&["destroy", "guest"]).unwrap();
        let (said, took) = start(&cluster.hosts[winner], "guest");
        println!("started again at once: {said:?} after {took:?}");
        said.unwrap();
        cluster.hosts[winner].virsh(&["destroy", "guest"]).unwrap();
        wait_until_free(&cluster, "guest");
    }
    // One that fails in libvirt leaves nothing behind.
    fs::rename(guest.disk(), guest.disk().with_extension("away")).unwrap();
    let (said, _) = start(&cluster.hosts[0], "guest");
    println!("without its disk: {said:?}");
    assert!(said.unwrap_err().contains("guest.img"), "its own error is told");
    fs::rename(guest.disk().with_extension("away"), guest.disk()).unwrap();
    wait_until_free(&cluster, "guest");
    start(&cluster.hosts[1], "guest").0.unwrap();
}

#[test]
fn a_host_whose_agent_is_away_starts_only_what_is_exempt_and_ends_nothing_that_runs() {
    if !can_run_hosts("an agent that is away") {
        return;
    }
    let _alone = alone();
    let mut cluster = cluster(1);
    cluster.power_on().unwrap();
    let _guest = guest(&cluster, "guest", UUID);
    let _exempt = guest(&cluster, "exempt", OTHER);
    // Never configured: installing a package breaks nothing.
    start(&cluster.hosts[0], "guest").0.unwrap();
    cluster.hosts[0].virsh(&["destroy", "guest"]).unwrap();
    cluster.init_lease().unwrap();
    let text = format!(
        "{}\n[protect]\nexempt = [\"exempt\"]\n",
        default_config().replace("\"fast\"", "\"default\"")
    );
    configure(&cluster.hosts[0], &text).unwrap();
    // Configured, and no agent yet.
    let why = denied(&cluster.hosts[0], "guest");
    assert!(why.contains("systemctl start leasefence-agent"), "{why}");
    denied(&cluster.hosts[0], "exempt");
    for service in [FENCER, AGENT] {
        cluster.hosts[0].enable(service).unwrap();
    }
    let why = wait::until("a denial by the agent", PATIENCE, || {
        let (said, _) = start(&cluster.hosts[0], "guest");
        said.err().filter(|why| !why.contains("hook.sock"))
    });
    println!("while it joins: {why:?}");
    cluster.wait_until_held(0).unwrap();
    let known = cluster.hosts[0].on_disk("/var/lib/leasefence/exempt");
    wait::until("the exempt file", PATIENCE, || {
        fs::read_to_string(&known).ok().filter(|text| text.contains(OTHER))
    })
    .unwrap();
    let (said, took) = start(&cluster.hosts[0], "guest");
    println!("with its agent: {said:?} after {took:?}");
    said.unwrap();
    let qemu = cluster.hosts[0].process("qemu-system-x86_64").unwrap();

    cluster.hosts[0].signal(AGENT, Signal::SIGSTOP).unwrap();
    let (said, took) = start(&cluster.hosts[0], "exempt");
    println!("exempt, its agent stopped: {said:?} after {took:?}");
    said.unwrap();
    cluster.hosts[0].virsh(&["destroy", "exempt"]).unwrap();
    // Libvirt takes up its guests again, and asks the hook about each.
    cluster.hosts[0].signal(LIBVIRTD, Signal::SIGKILL).unwrap();
    wait::pause(Duration::from_secs(1)).unwrap();
    cluster.hosts[0].wait_for_libvirt().unwrap();
    wait::until("libvirt to know the guest", PATIENCE, || {
        cluster.hosts[0].running_domains().ok().filter(|all| all.contains(&"guest".to_owned()))
    })
    .unwrap();
    assert!(qemu.is_alive(), "reconnect killed a guest");
    cluster.hosts[0].virsh(&["destroy", "guest"]).unwrap();
    let (said, took) = start(&cluster.hosts[0], "guest");
    println!("its agent stopped: {said:?} after {took:?}");
    assert!(said.unwrap_err().contains("has not answered within 4 s"));
    assert!((Duration::from_secs(4)..Duration::from_secs(10)).contains(&took), "{took:?}");
    cluster.hosts[0].signal(AGENT, Signal::SIGCONT).unwrap();
    wait::until("a start once it is back", PATIENCE, || start(&cluster.hosts[0], "guest").0.ok()).unwrap();
}

#[test]
fn what_starts_by_itself_at_boot_waits_for_the_lease_and_is_started_under_it() {
    if !can_run_hosts("autostart") {
        return;
    }
    let _alone = alone();
    let mut cluster = held(2);
    let _guest = guest(&cluster, "guest", UUID);
    let _other = guest(&cluster, "other", OTHER);
    for name in ["guest", "other"] {
        cluster.hosts[0].virsh(&["autostart", name]).unwrap();
    }
    // It runs elsewhere, so that this host may not have it whatever libvirt's flag says.
    start(&cluster.hosts[1], "other").0.unwrap();
    cluster.hosts[0].power_off();
    cluster.hosts[0].power_on().unwrap();
    cluster.hosts[0].wait_for_libvirt().unwrap();
    let early = cluster.hosts[0].running_domains().unwrap();
    let status = cluster.wait_until_held(0).unwrap();
    println!("running before the lease: {early:?}; {}", status.agent.summary);
    assert_eq!(early, [""; 0]);
    wait::until("the guest that starts by itself", PATIENCE, || {
        let status = cluster.status(0).unwrap();
        status.domains.iter().find(|d| d.name == "guest" && d.running && d.lease == "own").map(drop)
    })
    .unwrap();
    assert_eq!(cluster.runner("other"), Some(1));
}

#[test]
fn a_saved_guest_is_restored_unless_it_has_run_elsewhere_since() {
    if !can_run_hosts("a saved guest") {
        return;
    }
    let _alone = alone();
    let cluster = held(2);
    let _guest = guest(&cluster, "guest", UUID);
    let host = &cluster.hosts[0];
    let save = || {
        println!("saved: {}", host.virsh(&["managedsave", "guest"]).unwrap());
        let saved = |status: leasefence_api::Status| {
            status.domains.iter().any(|d| d.name == "guest" && !d.running && d.lease == "saved")
        };
        wait::until("the lease of a saved guest", PATIENCE, || {
            cluster.status(0).ok().is_some_and(saved).then_some(())
        })
        .unwrap();
    };
    start(host, "guest").0.unwrap();
    save();
    let (said, took) = start(host, "guest");
    println!("restored: {said:?} after {took:?}");
    said.unwrap();
    save();
    // The other host has no image: it starts cold, and writes to the disk that the image's memory knows otherwise.
    start(&cluster.hosts[1], "guest").0.unwrap();
    cluster.hosts[1].virsh(&["destroy", "guest"]).unwrap();
    wait_until_free(&cluster, "guest");
    let why = denied(host, "guest");
    assert!(why.contains("its saved image is not of its last run"), "{why}");
    host.virsh(&["start", "guest", "--force-boot"]).unwrap();
}
