//! A guest crashes on a host that lives, while its last writes wait in that host's kernel (R6): nobody starts it before they
//! are shown to be over.

use leasefence_core::fencing::StorageKind;
use leasefence_core::member::Request;

use crate::disk::Path;
use crate::world::World;

/// Two hosts, and a guest that has just crashed on the first, whose way to the guests' storage is cut.
fn crashed_while_cut() -> World {
    let mut world = World::held(2);
    world.hosts[0].storage_kind = StorageKind::Nfs;
    world.user_starts(0, 1);
    world.run(5_000);
    world.hosts[0].data_cut = true;
    world.guest_crashes(0, 1);
    world
}

fn lease(world: &World) -> String {
    world.status(0).domains.first().map(|domain| domain.lease.clone()).unwrap_or_default()
}

fn heal(world: &mut World) {
    let at = world.at;
    world.hosts[0].data_path_heals(at);
}

/// Runs until the guest runs again, and gives the milliseconds since then.
fn recovered_after(world: &mut World) -> u64 {
    let began = world.at;
    world.until(40, "the guest runs again", |world| world.runs_on(1).len() == 1);
    (world.at - began) / 1_000_000
}

#[test]
fn a_crashed_guest_is_started_nowhere_while_its_last_writes_may_leave_its_host() {
    let mut world = crashed_while_cut();
    world.run(60_000);
    assert_eq!((world.runs_on(1), lease(&world).as_str()), (vec![], "own"), "{}", world.story());
    assert_eq!(world.count(0, "not-quiet"), 1, "people are told once\n{}", world.story());
    let warned = world.status(0).warnings.iter().any(|line| line.contains("may still leave this host"));
    assert!(warned, "{:?}", world.status(0).warnings);
    heal(&mut world);
    let after = recovered_after(&mut world);
    assert!(after >= 1_000, "write_drain is 1 s: {after} ms\n{}", world.story());
    assert!(!world.status(0).warnings.iter().any(|line| line.contains("may still leave this host")));
}

#[test]
fn a_restarted_agent_writes_the_barrier_again() {
    let mut world = crashed_while_cut();
    world.run(3_000);
    world.hosts[0].kill_agent();
    world.run(500);
    world.start_agent(0);
    world.run(30_000);
    assert_eq!((world.runs_on(1), lease(&world).as_str()), (vec![], "own"), "{}", world.story());
    heal(&mut world);
    recovered_after(&mut world);
}

#[test]
fn in_maintenance_it_stays_too_and_disarming_does_not_wait_for_it() {
    let mut world = crashed_while_cut();
    world.run(3_000);
    let request = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, request).is_some_and(|(done, _)| done));
    world.run(20_000);
    assert_eq!((world.runs_on(1), lease(&world).as_str()), (vec![], "own"), "{}", world.story());
    heal(&mut world);
    recovered_after(&mut world);
    assert_eq!(world.runs_on(1), [1]);
}

#[test]
fn a_release_waits_for_it_and_then_says_why_not() {
    let mut world = crashed_while_cut();
    let before = world.incarnation(0);
    world.run(3_000);
    let request = world.ask(0, Request::Release);
    world.until(40, "an answer", |world| world.reply(0, request).is_some());
    let (done, why) = world.reply(0, request).expect("just seen");
    assert!(!done && why.contains("the barrier on its storages is not acknowledged"), "{why}");
    world.run(5_000);
    assert_eq!((world.state(0), world.evidence(1, before), world.runs_on(1)), ("held", None, vec![]));
    // Asked again, and the path is mended meanwhile.
    let request = world.ask(0, Request::Release);
    world.run(5_000);
    assert_eq!(world.reply(0, request), None);
    heal(&mut world);
    world.until(10, "released", |world| world.reply(0, request).is_some_and(|(done, _)| done));
    recovered_after(&mut world);
}

#[test]
fn a_lease_that_ends_meanwhile_leaves_it_to_the_fencers_clean_and_the_rejoin() {
    let mut world = crashed_while_cut();
    world.run(3_000);
    world.hosts[0].quiets_by_force = true;
    world.path(0, Path::Cut);
    world.until(40, "the guest runs again", |world| world.runs_on(1) == [1]);
    let (latched, started) = (world.last(0, "latched"), world.last(1, "started"));
    assert!(latched.is_some() && latched < started, "{}", world.story());
    // What comes after the end changes nothing any more.
    heal(&mut world);
    world.path(0, Path::Works(std::time::Duration::from_millis(2)));
    world.until(60, "it rejoins", |world| world.state(0) == "held" && world.generation(0).0 == 2);
    world.run(10_000);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}

#[test]
fn a_guest_that_shut_down_by_itself_is_given_up_without_a_barrier() {
    let mut world = World::held(2);
    world.hosts[0].storage_kind = StorageKind::Nfs;
    world.user_starts(0, 1);
    world.run(5_000);
    world.hosts[0].data_cut = true;
    world.user_stops(0, 1);
    world.run(3_000);
    assert!(world.told(0, "lease", "ended: Stopped"), "{}", world.story());
}
