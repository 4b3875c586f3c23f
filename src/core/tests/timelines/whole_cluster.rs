//! Maintenance of the whole cluster by one request on one host.

use leasefence_core::format::RecordFlags;
use leasefence_core::ids::Slot;
use leasefence_core::member::{ClusterAsk, Request, RequestId};

use crate::disk::Path;
use crate::world::World;

const DISARM: Request = Request::Cluster(ClusterAsk::Disarm);
const ARM: Request = Request::Cluster(ClusterAsk::Arm);

/// What each copy of a slot's record asks of the whole cluster.
fn asks_on_disk(world: &World, slot: Slot) -> [bool; 2] {
    let asks = RecordFlags(RecordFlags::ASKS_DISARM.0 | RecordFlags::ASKS_ARM.0);
    world.copies(slot).map(|copy| copy.is_some_and(|record| record.flags.0 & asks.0 != 0))
}

fn answered(world: &mut World, index: usize, request: RequestId) -> (bool, String) {
    world.until(31, "an answer", |world| world.reply(index, request).is_some());
    world.reply(index, request).expect("just seen")
}

/// Catches: done as soon as the records say so, when fencers still guard and leases may end.
#[test]
fn one_request_disarms_all_hosts_and_one_arms_them_again() {
    let mut world = World::held(3);
    (0..3).for_each(|index| world.user_starts(usize::from(index), index + 1));
    world.run(5_000);
    let before = [0, 1, 2].map(|index| world.incarnation(index));
    let request = world.ask(0, DISARM);
    let (done, text) = answered(&mut world, 0, request);
    assert!(
        done && text.contains("the whole cluster is disarmed: 3 hosts (host-0, host-1, host-2)"),
        "{text}\n{}",
        world.story()
    );
    for index in 0..3 {
        assert_eq!((world.state(index), world.hosts[index].is_disarmed()), ("disarmed", true), "{index}");
    }
    assert!(world.told(1, "cluster-obeyed", "host-0 asks the whole cluster to disarm"), "{}", world.story());
    world.run(1_000);
    for index in 0..3 {
        assert_eq!(asks_on_disk(&world, world.slot(index)), [false; 2], "it stands no longer than asked for");
    }
    // All lose the storage, as when it is replaced: nobody is fenced.
    (0..3).for_each(|index| world.path(index, Path::Cut));
    world.run(60_000);
    (0..3).for_each(|index| world.path(index, Path::Works(std::time::Duration::from_millis(2))));
    world.run(2_000);
    let request = world.ask(2, ARM);
    let (done, text) = answered(&mut world, 2, request);
    assert!(done && text.contains("the whole cluster is armed: 3 hosts"), "{text}\n{}", world.story());
    for index in 0..3 {
        assert_eq!((world.state(index), world.hosts[index].is_disarmed()), ("held", false), "{index}");
    }
    assert_eq!([0, 1, 2].map(|index| world.incarnation(index)), before);
    assert_eq!([1, 2, 3].map(|guest| world.runs_on(guest)), [vec![0], vec![1], vec![2]]);
}

/// Catches: obeyed at sight.
#[test]
fn what_a_dead_host_asked_of_the_whole_cluster_is_obeyed_by_nobody() {
    let mut world = World::held(3);
    world.run(5_000);
    // Host 1 reads nothing while the bit is raised and the host dies that raised it.
    world.path(1, Path::Cut);
    let slot = world.slot(0);
    world.ask(0, DISARM);
    world.run(600);
    assert_eq!(asks_on_disk(&world, slot), [true; 2], "{}", world.story());
    world.hosts[0].power_off();
    world.path(1, Path::Works(std::time::Duration::from_millis(2)));
    world.run(10_000);
    assert_eq!(world.state(1), "held", "{}", world.story());
    assert!(!world.hosts[1].is_disarmed() && world.count(1, "weakening") == 0);
}

#[test]
fn a_host_that_has_not_followed_is_named() {
    let mut world = World::held(4);
    world.run(5_000);
    // One copy of host 1 goes on saying that it is held: its fencer cannot let go. The agent of host 2 is hung.
    world.path(1, Path::LosesCopyB);
    world.hosts[2].agent_stopped = true;
    world.hosts[2].fencer_stopped = true;
    let request = world.ask(0, DISARM);
    let (done, text) = answered(&mut world, 0, request);
    assert!(!done, "{text}\n{}", world.story());
    for words in ["host-1 does not say yet", "host-2 is stalled", "leasefence disarm"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("host-3 is") && !text.contains("host-0 is"), "{text}");
    assert_eq!([world.state(0), world.state(3)], ["disarmed"; 2], "{}", world.story());
    assert!(!world.hosts[1].is_disarmed());
}

#[test]
fn a_host_that_is_gone_is_named_and_holds_up_nobody() {
    let mut world = World::held(3);
    let victim = world.incarnation(2);
    world.hosts[2].power_off();
    world.until(30, "it is gone", |world| world.evidence(0, victim).is_some());
    let request = world.ask(0, DISARM);
    let (done, text) = answered(&mut world, 0, request);
    assert!(
        done && text.contains("2 hosts (host-0, host-1); not asked: host-2 is gone"),
        "{text}\n{}",
        world.story()
    );
    // It comes back, and has not heard of it.
    world.boot(2);
    world.until(60, "it holds", |world| world.state(2) == "held");
    world.run(5_000);
    let request = world.ask(0, ARM);
    let (done, text) = answered(&mut world, 0, request);
    assert!(done && text.contains("3 hosts"), "{text}\n{}", world.story());
}

/// Catches: a host that has given its receipt, and comes back in some seconds, counted as out of the way; a request that a host
/// must refuse, as while it joins, not heard by it any more.
#[test]
fn a_host_that_has_just_fenced_itself_is_waited_for_and_follows() {
    let mut world = World::held(3);
    let victim = world.incarnation(2);
    world.ask(1, Request::Fence { host: "host-2".to_owned() });
    world.until(10, "its receipt", |world| world.evidence(0, victim).is_some());
    let request = world.ask(0, DISARM);
    let (done, text) = answered(&mut world, 0, request);
    assert!(done && text.contains("3 hosts"), "{text}\n{}", world.story());
    assert!((0..3).all(|index| world.hosts[index].is_disarmed()), "{}", world.story());
    assert_eq!(world.count(2, "cluster-refused"), 1, "{}", world.story());
}

/// A request that stays open for its 30 s, since host 2 is hung. Host 1 has followed, and was armed again by its operator.
fn armed_again_meanwhile() -> (World, RequestId) {
    let mut world = World::held(3);
    world.run(5_000);
    world.hosts[2].agent_stopped = true;
    world.hosts[2].fencer_stopped = true;
    let request = world.ask(0, DISARM);
    world.until(10, "host 1 follows", |world| world.state(1) == "disarmed" && world.hosts[1].is_disarmed());
    let arm = world.ask(1, Request::Arm);
    world.until(10, "armed", |world| world.reply(1, arm).is_some_and(|(done, _)| done));
    assert!(world.reply(0, request).is_none(), "{}", world.story());
    (world, request)
}

/// Catches: obeyed with each record that asks for it.
#[test]
fn a_host_obeys_once_and_stays_armed_when_its_operator_arms_it_meanwhile() {
    let (mut world, request) = armed_again_meanwhile();
    let (done, text) = answered(&mut world, 0, request);
    assert!(!done && text.contains("host-1 is alive"), "{text}");
    world.run(10_000);
    assert_eq!((world.state(1), world.count(1, "cluster-obeyed")), ("held", 1), "{}", world.story());
}

/// Catches: a bit that is up when a process first reads it taken for one that rises.
#[test]
fn an_agent_that_is_restarted_meanwhile_does_not_obey_again() {
    let (mut world, request) = armed_again_meanwhile();
    world.run(1_000);
    world.hosts[1].kill_agent();
    world.start_agent(1);
    answered(&mut world, 0, request);
    assert_eq!((world.state(1), world.count(1, "cluster-obeyed")), ("held", 1), "{}", world.story());
}

/// Catches: a bit that is raised again before anybody has read a record without it.
#[test]
fn what_is_asked_again_at_once_is_obeyed_again() {
    let (mut world, request) = armed_again_meanwhile();
    answered(&mut world, 0, request);
    let request = world.ask(0, DISARM);
    world.until(10, "host 1 follows", |world| world.state(1) == "disarmed");
    let (done, text) = answered(&mut world, 0, request);
    assert!(!done && !text.contains("host-1"), "{text}");
}

#[test]
fn one_request_at_a_time_is_open_and_a_host_that_cannot_do_it_itself_asks_nobody() {
    let (mut world, _) = armed_again_meanwhile();
    let second = world.ask(0, ARM);
    world.run(10);
    let (done, text) = world.reply(0, second).expect("at once");
    assert!(!done && text.contains("already"), "{text}");
    let mut world = World::held(2);
    world.hosts[1].power_off();
    world.boot(1);
    world.run(500);
    let early = world.ask(1, DISARM);
    world.run(5);
    let (done, text) = world.reply(1, early).expect("at once");
    assert!(!done && text.contains("cannot be disarmed now"), "{text}");
    world.until(60, "held", |world| world.state(1) == "held");
    world.run(5_000);
    assert_eq!([world.state(0), world.state(1)], ["held"; 2], "{}", world.story());
}

#[test]
fn an_incarnation_that_ends_takes_what_it_asked_with_it() {
    let mut world = World::held(2);
    world.run(5_000);
    let slot = world.slot(0);
    let request = world.ask(0, DISARM);
    world.until(2, "it is asked for", |world| asks_on_disk(world, slot).contains(&true));
    world.path(0, Path::Cut);
    let (done, text) = answered(&mut world, 0, request);
    assert!(!done && text.contains("own lease ended first"), "{text}\n{}", world.story());
    world.path(0, Path::Works(std::time::Duration::from_millis(2)));
    world.until(30, "it rejoins", |world| world.state(0) == "held");
    world.run(2_000);
    assert_eq!((world.generation(0).0, asks_on_disk(&world, slot)), (2, [false; 2]), "{}", world.story());
}

#[test]
fn an_agent_that_is_restarted_asks_for_nothing_any_more() {
    let mut world = World::held(2);
    world.run(5_000);
    let slot = world.slot(0);
    world.hosts[1].agent_stopped = true;
    world.hosts[1].fencer_stopped = true;
    world.ask(0, DISARM);
    world.until(5, "it is asked for", |world| {
        world.hosts[0].is_disarmed() && asks_on_disk(world, slot) == [true; 2]
    });
    world.hosts[0].kill_agent();
    world.start_agent(0);
    world.run(2_500);
    assert_eq!((world.state(0), asks_on_disk(&world, slot)), ("disarmed", [false; 2]), "{}", world.story());
}
