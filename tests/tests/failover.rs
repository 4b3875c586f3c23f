//! The demo's three failures, on real libvirt and QEMU: whatever happens to a host, its guest is started once, on another
//! one, and never runs twice. The guest's disk is the witness.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's lifetimes are not general enough for a closure"
)]

use leasefence_demo::guest::Guest;
use leasefence_demo::lease_file::LeaseFile;
use leasefence_demo::scenario::{ScenarioError, Stage};
use leasefence_demo::story::{Kind, Story};
use leasefence_demo::witness::Witness;
use leasefence_demo::{AGENT, Cluster, LIBVIRTD, wait};
use leasefence_tests::{alone, can_run_hosts, cluster};
use nix::sys::signal::Signal;
use std::time::Duration;

const UUID: &str = "6c656173-6566-4e63-a000-000000000003";

/// Three hosts, all of which hold their leases, and a guest on the first that is restarted elsewhere.
fn three_hosts_and_a_guest() -> (Cluster, Guest) {
    let mut cluster = cluster(3);
    cluster.power_on().unwrap();
    cluster.init_lease().unwrap();
    cluster.start_leasefence().unwrap();
    for host in 0..3 {
        cluster.wait_until_held(host).unwrap();
    }
    let guest = Guest::create(&cluster.shared(), "guest", UUID).unwrap();
    guest.start(&cluster.hosts[0]).unwrap();
    cluster.hosts[0].exec(&["leasefence", "ha", "enable", "guest"]).unwrap();
    cluster.wait_until_protected(0, "guest").unwrap();
    (cluster, guest)
}

fn play(scenario: impl FnOnce(&mut Stage<'_>) -> Result<Story, ScenarioError>) -> Story {
    let (mut cluster, guest) = three_hosts_and_a_guest();
    let witness = Witness::start(cluster.run_dir(), guest.name(), guest.disk()).unwrap();
    let lease = LeaseFile::open(&cluster.shared().join("demo.lease")).unwrap();
    let mut stage = Stage { cluster: &mut cluster, guest: &guest, witness: &witness, lease: &lease };
    let story = scenario(&mut stage);
    if story.is_err() {
        cluster.run_dir().keep();
    }
    let story = story.unwrap();
    println!("{story}");
    story
}

/// What must hold of every failover, in the order in which it must happen.
fn assert_in_order(story: &Story, kinds: &[Kind]) {
    for pair in kinds.windows(2) {
        let (first, then) = (story.at(pair[0]), story.at(pair[1]));
        assert!(
            first.is_some() && first <= then,
            "{:?} does not come before {:?}:\n{story}",
            pair[0],
            pair[1]
        );
    }
}

#[test]
fn a_host_that_lost_its_power_is_expired_and_its_guest_runs_once_elsewhere() {
    if !can_run_hosts("power cut") {
        return;
    }
    let _alone = alone();
    let story = play(|stage| stage.power_cut());
    assert_in_order(
        &story,
        &[Kind::LastRenewal, Kind::LeaseEnd, Kind::Verdict, Kind::FirstWrite, Kind::Rejoined],
    );
}

#[test]
fn a_host_whose_agent_is_stopped_kills_its_guest_before_any_peer_gives_a_verdict() {
    if !can_run_hosts("stopped agent") {
        return;
    }
    let _alone = alone();
    let story = play(|stage| stage.stopped_agent());
    assert_in_order(
        &story,
        &[
            Kind::LastRenewal,
            Kind::GuestKilled,
            Kind::Verdict,
            Kind::FirstWrite,
            Kind::Mended,
            Kind::Rejoined,
        ],
    );
}

#[test]
fn a_host_that_is_fenced_by_an_operator_proves_it_and_its_guest_moves() {
    if !can_run_hosts("planned fence") {
        return;
    }
    let _alone = alone();
    let story = play(|stage| stage.planned_fence());
    assert_in_order(
        &story,
        &[Kind::Fault, Kind::GuestKilled, Kind::Verdict, Kind::FirstWrite, Kind::Rejoined],
    );
}

#[test]
fn a_hung_libvirtd_ends_no_lease_and_no_guest() {
    if !can_run_hosts("hung libvirtd") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = three_hosts_and_a_guest();
    let host = &cluster.hosts[0];
    let generation = cluster.status(0).unwrap().own.generation;
    host.signal(LIBVIRTD, Signal::SIGSTOP).unwrap();
    wait::pause(Duration::from_secs(15)).unwrap();
    let status = cluster.status(0).unwrap();
    assert!(!status.hypervisor.connected, "the agent has not noticed: {:?}", status.hypervisor);
    assert_eq!((status.own.state.as_str(), status.own.generation), ("held", generation));
    host.process("qemu-system-x86_64").expect("the guest runs on");
    host.signal(LIBVIRTD, Signal::SIGCONT).unwrap();
    wait::until("libvirt's return", Duration::from_secs(30), || {
        cluster.status(0).is_ok_and(|status| status.hypervisor.connected).then_some(())
    })
    .unwrap();
}

#[test]
fn an_agent_that_is_restarted_within_the_ttl_keeps_its_incarnation_and_its_guest() {
    if !can_run_hosts("restarted agent") {
        return;
    }
    let _alone = alone();
    let (cluster, _guest) = three_hosts_and_a_guest();
    let host = &cluster.hosts[0];
    let (before, guest) = (cluster.status(0).unwrap().own, host.process("qemu-system-x86_64").unwrap());
    host.signal(AGENT, Signal::SIGKILL).unwrap();
    wait::pause(Duration::from_secs(12)).unwrap();
    let after = cluster.wait_until_held(0).unwrap().own;
    assert_eq!(after.generation, before.generation);
    assert!(guest.is_alive(), "the guest was killed although the lease never ended");
}
