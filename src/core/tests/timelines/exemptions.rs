//! An exemption that does not count any more, and one of which nobody can tell (ARCHITECTURE 5).

use std::time::Duration;

use leasefence_core::fencing::StorageKind;

use crate::disk::Path;
use crate::world::{World, guest};

/// Host 0 runs guest 1, which is exempt.
fn an_exempt_guest_runs(hosts: u8) -> World {
    let mut world = World::held(hosts);
    world.hosts[0].exempts = true;
    world.user_starts(0, 1);
    world.run(5_000);
    assert!(is_exempt(&world), "{}", world.story());
    world
}

/// By what the fencer reads.
fn is_exempt(world: &World) -> bool {
    world.hosts[0].page.as_ref().is_some_and(|page| page.exempt.contains(&guest(1)))
}

fn lease(world: &World) -> String {
    world.status(0).domains.first().map(|domain| domain.lease.clone()).unwrap_or_default()
}

/// Catches: a guest on shared storage that is killed as soon as its exemption is found void, and one that is never fenced.
#[test]
fn a_guest_whose_exemption_is_void_takes_its_lease_and_ends_with_its_hosts() {
    let mut world = an_exempt_guest_runs(2);
    world.hosts[0].exempts = false;
    world.until(5, "owned", |world| lease(world) == "own");
    assert!(!is_exempt(&world) && world.runs_on(1) == [0], "{}", world.story());
    world.path(0, Path::Cut);
    world.until(60, "it runs on the other host alone", |world| world.runs_on(1) == [1]);
}

#[test]
fn a_guest_whose_exemption_is_void_is_destroyed_where_another_host_owns_it() {
    let mut world = an_exempt_guest_runs(2);
    world.tolerates_two_writers = true;
    world.user_starts(1, 1);
    world.run(5_000);
    assert_eq!(world.runs_on(1), [0, 1], "an exempt one is left alone");
    world.hosts[0].exempts = false;
    world.until(5, "destroyed", |world| world.runs_on(1) == [1]);
    assert!(world.told(0, "destroy", "without a lease that it can win"), "{}", world.story());
}

/// Catches: a guest that others may write, and that an agent which has just begun, or whose storage does not answer, takes out of
/// its lease.
#[test]
fn what_cannot_be_told_leaves_a_guest_as_it_was() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.hosts[0].kill_agent();
    (world.hosts[0].exempts, world.hosts[0].doubts_exemptions) = (true, true);
    world.start_agent(0);
    for _ in 0..100 {
        world.run(100);
        assert!(!is_exempt(&world), "{}", world.story());
    }
    assert_eq!(lease(&world), "own");
    world.hosts[0].doubts_exemptions = false;
    world.until(10, "it is exempt", is_exempt);
    // And the other way round: one that had none takes none.
    world.hosts[0].doubts_exemptions = true;
    world.run(10_000);
    assert!(is_exempt(&world) && lease(&world) != "own", "{}", world.story());
}

/// Catches: a host that cannot show itself fenced, and is reset with the exempt guest, because that has a local disk.
#[test]
fn an_exempt_guest_s_own_storage_stands_in_the_way_of_no_proof() {
    let mut world = an_exempt_guest_runs(2);
    world.hosts[0].storage_kind = StorageKind::Unprovable;
    world.run(5_000);
    let before = world.incarnation(0);
    // The exempt one runs on beyond its host's lease.
    world.tolerates_two_writers = true;
    world.path(0, Path::Cut);
    world.run(15_000);
    world.path(0, Path::Works(Duration::from_millis(2)));
    world
        .until(60, "it rejoins", |world| world.state(0) == "held" && world.generation(0) > before.generation);
    assert_eq!(world.runs_on(1), [0], "{}", world.story());
    // Once it is protected its storage counts.
    world.hosts[0].exempts = false;
    world.until(5, "its storage is named", |world| {
        world.hosts[0]
            .page
            .as_ref()
            .is_some_and(|page| page.quiesce.iter().any(|target| target.kind == StorageKind::Unprovable))
    });
}

/// Catches: an agent that is started again while libvirt hangs, and whose page exempts nobody meanwhile: an end kills them all.
#[test]
fn what_was_exempt_stays_so_over_an_agents_restart_until_libvirt_has_answered() {
    let mut world = an_exempt_guest_runs(2);
    world.hosts[0].kill_agent();
    world.hosts[0].libvirt_away = true;
    world.run(500);
    world.start_agent(0);
    for _ in 0..300 {
        world.run(50);
        assert!(is_exempt(&world), "{}", world.story());
    }
    assert_ne!(lease(&world), "own", "nobody takes a lease for it meanwhile");
    // It runs on beyond its host's lease.
    world.tolerates_two_writers = true;
    world.path(0, Path::Cut);
    world.run(30_000);
    assert_eq!(world.runs_on(1), [0], "{}", world.story());
    // What has been taken back meanwhile ends with libvirt's first answer.
    (world.hosts[0].exempts, world.hosts[0].libvirt_away) = (false, false);
    world.until(10, "it is killed", |world| world.runs_on(1).is_empty());
}

/// Catches: a guest on storage that others reach, which its host calls exempt although it has long found that void: it runs on beside
/// the one that another host's user has started.
#[test]
fn a_guest_whose_exemption_is_found_void_after_the_latch_is_killed() {
    let mut world = an_exempt_guest_runs(2);
    world.tolerates_two_writers = true;
    world.path(0, Path::Cut);
    world.until(60, "its lease is over", |world| world.state(0) != "held");
    world.run(5_000);
    assert_eq!(world.runs_on(1), [0]);
    world.hosts[0].exempts = false;
    world.until(10, "it is killed", |world| world.runs_on(1).is_empty());
    // And what the agent says next widens nothing.
    world.hosts[0].exempts = true;
    world.user_starts(1, 1);
    world.run(10_000);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}

fn names_an_unprovable_storage(world: &World) -> bool {
    let page = world.hosts[0].page.as_ref();
    page.is_some_and(|page| page.quiesce.iter().any(|target| target.kind == StorageKind::Unprovable))
}

/// Catches: a host that gives no proof, and is reset with its exempt guest, since that was doubted for a moment some day: while it came
/// up, or was shut off, and libvirt and the fencer did not say the same.
#[test]
fn a_doubt_that_is_over_stands_in_the_way_of_no_proof() {
    let mut world = an_exempt_guest_runs(2);
    (world.hosts[0].storage_kind, world.hosts[0].doubts_exemptions) = (StorageKind::Unprovable, true);
    world.until(5, "it is named in doubt", names_an_unprovable_storage);
    world.hosts[0].doubts_exemptions = false;
    world.until(5, "it is not named any more", |world| !names_an_unprovable_storage(world));
    let before = world.incarnation(0);
    world.tolerates_two_writers = true;
    world.path(0, Path::Cut);
    world.run(15_000);
    world.path(0, Path::Works(Duration::from_millis(2)));
    let rejoined = |world: &World| world.state(0) == "held" && world.generation(0) > before.generation;
    world.until(60, "it rejoins", rejoined);
    assert_eq!(world.runs_on(1), [0], "{}", world.story());
    // One that ends in doubt is named no longer than it runs.
    world.hosts[0].doubts_exemptions = true;
    world.until(5, "it is named in doubt", names_an_unprovable_storage);
    world.guest_crashes(0, 1);
    world.until(10, "it is not named any more", |world| !names_an_unprovable_storage(world));
    // What a protected one writes stays named, doubted later or not.
    world.hosts[0].exempts = false;
    world.user_starts(0, 1);
    world.until(10, "owned", |world| lease(world) == "own");
    world.hosts[0].exempts = true;
    world.run(10_000);
    world.hosts[0].doubts_exemptions = false;
    world.until(10, "it is exempt", is_exempt);
    assert!(names_an_unprovable_storage(&world), "{}", world.story());
}
