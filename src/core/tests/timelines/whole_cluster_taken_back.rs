//! Maintenance, of one host or of the whole cluster, that is asked for and taken back on its way.

use std::time::Duration;

use leasefence_core::member::{ClusterAsk, Request, RequestId};

use crate::disk::Path;
use crate::world::World;

const DISARM: Request = Request::Cluster(ClusterAsk::Disarm);
const ARM: Request = Request::Cluster(ClusterAsk::Arm);

fn answered(world: &mut World, index: usize, request: RequestId) -> (bool, String) {
    world.until(31, "an answer", |world| world.reply(index, request).is_some());
    world.reply(index, request).expect("just seen")
}

/// A write of host 1's record becomes one of unknown outcome: until it is known, no record may say `disarmed`.
fn hiccup(world: &mut World) {
    world.path(1, Path::LandsLate(Duration::from_millis(300)));
    world.run(600);
    world.path(1, Path::Works(Duration::from_millis(2)));
}

/// Three hosts; a guest runs on host 1, which is on its way to `disarmed` and writes `held` for as long as its write is unknown.
fn on_its_way(request: impl FnOnce(&mut World) -> RequestId) -> (World, RequestId) {
    let mut world = World::held(3);
    world.user_starts(1, 1);
    world.run(5_000);
    hiccup(&mut world);
    world.run(1_000);
    let request = request(&mut world);
    world.until(5, "it is on its way", |world| world.count(1, "weakening") == 1);
    (world, request)
}

/// Catches: `held` in the record of a host on its way to `disarmed` taken for armed, so that nobody hears of it and it disarms later.
#[test]
fn arm_is_not_said_of_a_host_that_disarms_later() {
    let (mut world, request) = on_its_way(|world| world.ask(0, DISARM));
    world.run(14_000);
    hiccup(&mut world);
    let (done, text) = answered(&mut world, 0, request);
    assert!(
        !done && text.contains("host-1 is alive, and on its way to maintenance"),
        "{text}\n{}",
        world.story()
    );
    let request = world.ask(0, ARM);
    let (done, text) = answered(&mut world, 0, request);
    assert!(done && text.contains("armed: 3 hosts (host-0, host-1, host-2)"), "{text}\n{}", world.story());
    assert!(world.told(1, "weakening", "taken back"), "{}", world.story());
    world.run(120_000);
    assert_eq!((world.state(1), world.count(1, "disarmed")), ("held", 0), "{}", world.story());
    assert_eq!(world.runs_on(1), [1]);
}

/// Catches: the same, asked for on another host while the first request is open.
#[test]
fn arm_takes_back_what_is_asked_of_the_whole_cluster_and_says_so_to_whoever_asked() {
    let (mut world, first) = on_its_way(|world| world.ask(0, DISARM));
    world
        .until(10, "the others follow", |world| [0, 2].iter().all(|index| world.hosts[*index].is_disarmed()));
    let second = world.ask(2, ARM);
    let (done, text) = answered(&mut world, 2, second);
    assert!(done && text.contains("3 hosts"), "{text}\n{}", world.story());
    let (done, text) = answered(&mut world, 0, first);
    assert!(!done && text.contains("taken back: this host was asked to arm since"), "{text}");
    world.run(60_000);
    for index in 0..3 {
        assert_eq!((world.state(index), world.hosts[index].is_disarmed()), ("held", false), "{index}");
    }
    assert_eq!(world.count(1, "disarmed"), 0, "{}", world.story());
}

/// Catches: an operator who waits for a disarm that was taken back, here or from elsewhere, and hears nothing.
#[test]
fn a_disarm_that_no_record_shows_yet_is_taken_back_and_whoever_asked_is_told() {
    for (index, arm) in [(1, Request::Arm), (0, ARM)] {
        let (mut world, disarm) = on_its_way(|world| world.ask(1, Request::Disarm));
        let arm = world.ask(index, arm);
        let (done, text) = answered(&mut world, index, arm);
        assert!(done, "{text}\n{}", world.story());
        let (done, text) = answered(&mut world, 1, disarm);
        assert!(!done && text.contains("taken back") && text.contains("it stays armed"), "{text}");
        // Nothing of it is left: a guest may start, and the lease is renewed.
        world.user_starts(1, 2);
        world.run(60_000);
        assert_eq!((world.state(1), world.count(1, "disarmed")), ("held", 0), "{}", world.story());
        assert_eq!([world.runs_on(1), world.runs_on(2)], [[1], [1]], "{}", world.story());
    }
}

/// Catches: a request that comes while `disarmed` is written, or the fencer lets go, obeyed at once, or never.
#[test]
fn once_a_record_may_say_disarmed_arm_waits_and_is_refused_here() {
    let mut world = World::held(3);
    world.run(5_000);
    let disarm = world.ask(1, Request::Disarm);
    world.until(5, "it is written", |world| world.state(1) == "disarmed");
    assert!(!world.hosts[1].is_disarmed());
    let local = world.ask(1, Request::Arm);
    let all = world.ask(0, ARM);
    let (done, text) = answered(&mut world, 1, local);
    assert!(!done && text.contains("cannot be armed now: it is disarmed (on the way to disarmed)"), "{text}");
    let (done, text) = answered(&mut world, 0, all);
    assert!(done && text.contains("3 hosts"), "{text}\n{}", world.story());
    let (done, text) = answered(&mut world, 1, disarm);
    assert!(done && world.count(1, "disarmed") == 1, "it had got there first: {text}");
    assert_eq!((world.state(1), world.count(1, "cluster-refused")), ("held", 1), "{}", world.story());
}

/// Catches: an arming that waits, and that nobody can take back: it arms in the middle of the work on the storage.
#[test]
fn an_arming_that_waits_is_taken_back() {
    for (index, disarm) in [(1, Request::Disarm), (2, DISARM)] {
        let mut world = World::held(3);
        world.run(5_000);
        let request = world.ask(0, DISARM);
        assert!(answered(&mut world, 0, request).0);
        // Both ran it while nobody guarded them: host 1 cannot win its lease.
        world.tolerates_two_writers = true;
        world.user_starts(0, 1);
        world.run(5_000);
        world.user_starts(1, 1);
        world.run(5_000);
        let first = world.ask(0, Request::Arm);
        assert!(answered(&mut world, 0, first).0, "{}", world.story());
        let arm = world.ask(1, Request::Arm);
        let request = world.ask(0, ARM);
        let (done, text) = answered(&mut world, 0, request);
        assert!(!done && text.contains("host-1 is disarmed"), "{text}\n{}", world.story());
        assert!(world.reply(1, arm).is_none(), "{}", world.story());
        let request = world.ask(index, disarm);
        let (done, text) = answered(&mut world, index, request);
        assert!(done, "{text}\n{}", world.story());
        let (done, text) = world.reply(1, arm).expect("it is told");
        assert!(!done && text.contains("taken back"), "{text}");
        world.user_stops(1, 1);
        world.run(20_000);
        assert_eq!((world.state(1), world.hosts[1].is_disarmed()), ("disarmed", true), "{}", world.story());
    }
}

/// Catches: a process that raises its first bit at once, while the one before it had left it up: nobody sees it rise.
#[test]
fn an_agent_that_is_restarted_and_asks_again_at_once_is_heard() {
    let mut world = World::held(3);
    world.run(5_000);
    world.hosts[2].agent_stopped = true;
    world.hosts[2].fencer_stopped = true;
    world.ask(0, DISARM);
    world.until(10, "hosts 0 and 1 follow", |world| {
        [0, 1].iter().all(|index| world.hosts[*index].is_disarmed())
    });
    let arm = world.ask(1, Request::Arm);
    world.until(10, "armed", |world| world.reply(1, arm).is_some_and(|(done, _)| done));
    world.hosts[0].kill_agent();
    world.start_agent(0);
    world.until(10, "it is back", |world| world.state(0) == "disarmed");
    let request = world.ask(0, DISARM);
    let (_, text) = answered(&mut world, 0, request);
    assert!(!text.contains("host-1"), "{text}");
    assert!(world.hosts[1].is_disarmed() && world.count(1, "cluster-obeyed") == 2, "{}", world.story());
}

#[test]
fn of_two_hosts_that_ask_for_the_same_neither_is_refused() {
    let mut world = World::held(3);
    world.run(5_000);
    let requests = [(0, DISARM), (1, DISARM)].map(|(index, ask)| (index, world.ask(index, ask)));
    for (index, request) in requests {
        let (done, text) = answered(&mut world, index, request);
        assert!(done && text.contains("3 hosts"), "{text}\n{}", world.story());
    }
    for index in 0..3 {
        assert_eq!(world.count(index, "cluster-refused"), 0, "{}", world.story());
    }
}
