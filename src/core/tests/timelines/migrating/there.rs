//! A migration that goes well, and what becomes of the domain after it.

use leasefence_core::format::LeaseState;
use leasefence_core::member::Request;

use super::steps::*;
use crate::world::{World, guest};

#[test]
fn the_lease_goes_with_the_domain_and_the_next_death_is_recovered_once() {
    let mut world = world(3);
    let term = entry(&world, 0).expect("own").term;
    moves(&mut world, 1);
    let there = entry(&world, 1).expect("own");
    assert_eq!((there.state, there.term > term), (LeaseState::Own, true), "{}", world.story());
    assert!(there.flags.contains(leasefence_core::format::LeaseFlags::HA));
    assert_eq!(world.runs_on(1), [1]);
    assert_ne!(state(&world, 0), Some(LeaseState::Own), "{}", world.story());
    assert!(world.told(0, "lease", "ended: Orphan"), "{}", world.story());
    // Nobody starts it while it runs there, and the source may have it back.
    world.run(20_000);
    assert_eq!((world.runs_on(1), world.count(0, "destroy"), world.count(1, "destroy")), (vec![1], 0, 0));
    world.hosts[1].power_off();
    world.until(60, "it is recovered", |world| !world.runs_on(1).is_empty());
    assert_ne!(world.runs_on(1), [1], "{}", world.story());
}

#[test]
fn a_domain_moves_there_and_back() {
    let mut world = world(2);
    moves(&mut world, 1);
    // The same, the other way round.
    world.hosts.swap(0, 1);
    world.hosts[1].came_in.clear();
    moves(&mut world, 1);
    assert_eq!(state(&world, 1), Some(LeaseState::Own), "{}", world.story());
    world.run(10_000);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}

/// Catches: a destination whose entry names the chain that its source's entry named, which was of before a snapshot: until libvirt's
/// first list there its domain would be recovered from the older image, while the newer one was written.
#[test]
fn one_that_moves_right_after_a_snapshot_is_recovered_from_its_new_chain() {
    let mut world = world(2);
    snapshot(&mut world, 77);
    prepares(&mut world, 1);
    // Libvirt lists nothing there from then on.
    world.hosts[1].libvirt_away = true;
    world.run(3_000);
    goes_over(&mut world, 1);
    has_moved(&world);
    assert_eq!(entry(&world, 1).map(|own| own.definition_hash), Some(77), "{}", world.story());
    world.hosts[1].power_off();
    world.until(60, "it is recovered", |world| world.runs_on(1) == [0]);
    assert_eq!(world.hosts[0].started_as.get(&guest(1)), Some(&77), "{}", world.story());
}

#[test]
fn one_that_moves_to_a_host_without_leasefence_is_given_up_loudly() {
    let mut world = world(2);
    suspends(&mut world);
    source_ends(&mut world);
    world.run(3_000);
    assert!(world.told(0, "lease", "ended: Stopped"), "{}", world.story());
    assert!(world.told(0, "migration", "WITHOUT LEASEFENCE"), "{}", world.story());
    world.run(20_000);
    assert_eq!(world.runs_on(1), [0; 0], "it may run there\n{}", world.story());
}

/// Catches: a domain that is given up as gone to a stranger since its destination's sector could not be read just then.
#[test]
fn one_whose_destinations_sector_cannot_be_read_for_a_moment_has_moved_all_the_same() {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    runs_there(&mut world, 1);
    world.run(1_000);
    damage(&mut world, |slot, [_, destination]| slot == destination);
    source_ends(&mut world);
    world.until(20, "it has ended", |world| world.told(0, "lease", "ended"));
    assert!(world.told(0, "lease", "ended: Orphan"), "{}", world.story());
    assert!(!world.told(0, "migration", "WITHOUT LEASEFENCE"), "{}", world.story());
    assert_eq!(world.runs_on(1), [1]);
}

#[test]
fn maintenance_waits_for_what_comes_in_and_lets_go_what_leaves() {
    let mut world = world(2);
    prepares(&mut world, 1);
    let disarm = world.ask(1, Request::Disarm);
    world.run(5_000);
    assert_eq!(world.reply(1, disarm), None, "{}", world.story());
    let says_why =
        |world: &World| world.status(1).warnings.iter().any(|warning| warning.contains("virsh resume"));
    assert!(says_why(&world), "{:?}", world.status(1).warnings);
    destination_gives_up(&mut world, 1);
    world.until(10, "disarmed", |world| world.reply(1, disarm).is_some_and(|(done, _)| done));
    let arm = world.ask(1, Request::Arm);
    world.until(30, "armed", |world| world.reply(1, arm).is_some_and(|(done, _)| done));
    // A host in maintenance is emptied by migration.
    let disarm = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, disarm).is_some_and(|(done, _)| done));
    moves(&mut world, 1);
    has_moved(&world);
    assert!(world.told(0, "lease", "ended: Orphan"), "{}", world.story());
}
