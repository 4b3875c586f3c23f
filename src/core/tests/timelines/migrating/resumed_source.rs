//! A source that libvirt resumes: it stands still while its destination may have the domain, and is killed once that has run it.

use leasefence_core::format::LeaseState;
use leasefence_core::member::Request;

use super::steps::*;
use crate::disk::Path;
use crate::world::{World, guest};

/// Libvirt has resumed the source before its destination has given up: it stands still.
fn resumed_in_the_middle() -> World {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    source_resumes(&mut world);
    world.run(600);
    assert!(world.hosts[0].halted.contains(&guest(1)), "{}", world.story());
    world
}

/// The source was stopped for the last pages, and libvirt resumes it: its guest stands still for a moment, until the destination's
/// entry is erased.
#[test]
fn a_source_that_is_resumed_waits_until_its_destination_has_given_up() {
    let mut world = resumed_in_the_middle();
    destination_gives_up(&mut world, 1);
    world.run(2_000);
    assert_eq!(world.runs_on(1), [0], "{}", world.story());
    assert_eq!((state(&world, 0), world.count(0, "destroy")), (Some(LeaseState::Own), 0));
}

/// Catches: a source that runs on, or stands still for good, since the one signal for it reached nobody.
#[test]
fn a_source_is_stopped_and_goes_on_though_a_signal_reaches_nobody() {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.hosts[0].signals_lost = 1;
    source_resumes(&mut world);
    world.until(2, "it is stopped", |world| world.hosts[0].halted.contains(&guest(1)));
    world.run(1_000);
    world.hosts[0].signals_lost = 1;
    destination_gives_up(&mut world, 1);
    world.until(3, "it goes on", |world| world.runs_on(1) == [0]);
    world.run(5_000);
    assert_eq!(world.hosts[0].signals_lost, 0);
    // The next one is not taken for that.
    moves(&mut world, 1);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}

/// Catches: a guest that was paused before its migration, and that its operator resumes on both hosts: its source's CPUs were not
/// stopped for it, and nobody looked.
#[test]
fn one_that_was_paused_before_its_migration_and_is_resumed_on_both_hosts_runs_on_one() {
    let mut world = world(2);
    world.hosts[0].suspended.insert(guest(1));
    prepares(&mut world, 1);
    world.run(3_000);
    // The destination's last reply is lost: both stay paused.
    world.hosts[0].migrates.clear();
    runs_there(&mut world, 1);
    world.run(5_000);
    assert_eq!(state(&world, 1), Some(LeaseState::Own), "{}", world.story());
    world.tolerates_two_writers = true;
    source_resumes(&mut world);
    world.until(2, "it is killed", |world| world.count(0, "destroy") > 0);
    world.tolerates_two_writers = false;
    world.run(3_000);
    has_moved(&world);
}

/// Catches: a source that stands still in the middle of its next migration, which was asked for as soon as the one before had failed.
#[test]
fn the_next_migration_waits_until_the_source_has_seen_that_the_last_one_failed() {
    let mut world = resumed_in_the_middle();
    destination_gives_up(&mut world, 1);
    world.until(2, "it is erased", |world| state(world, 1).is_none());
    let asked = begin(&mut world, 1);
    let (permitted, why) = world.answer(1, asked);
    assert!(!permitted && why.contains("has just failed"), "{why}");
    world.run(3_000);
    moves(&mut world, 1);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}

/// Catches: split brain by libvirt's own hand: the destination's last reply is lost, and libvirt resumes the source.
#[test]
fn a_source_that_is_resumed_though_its_destination_runs_is_stopped_and_killed() {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    // So slow that the destination's own entry comes late.
    world.path(1, Path::Works(std::time::Duration::from_millis(300)));
    world.tolerates_two_writers = true;
    runs_there(&mut world, 1);
    source_resumes(&mut world);
    world.run(100);
    world.tolerates_two_writers = false;
    assert!(world.hosts[0].halted.contains(&guest(1)), "{}", world.story());
    world.until(10, "it is killed", |world| world.count(0, "destroy") == 1);
    world.run(5_000);
    has_moved(&world);
}

/// Catches: a retake at or below the term that a late write of the dead destination may still say is its own.
#[test]
fn a_source_whose_destination_dies_in_the_middle_takes_its_domain_again_above_the_incoming_term() {
    let mut world = world(3);
    prepares(&mut world, 1);
    let reserved = entry(&world, 1).expect("incoming").term;
    suspends(&mut world);
    world.hosts[1].power_off();
    source_resumes(&mut world);
    world.run(2_000);
    assert!(world.hosts[0].halted.contains(&guest(1)), "the destination may live\n{}", world.story());
    world.until(60, "it goes on", |world| world.runs_on(1) == [0]);
    let own = entry(&world, 0).expect("own");
    assert_eq!((own.state, own.term > reserved), (LeaseState::Own, true), "{own:?}\n{}", world.story());
    world.run(20_000);
    assert_eq!((world.runs_on(1), world.count(0, "destroy")), (vec![0], 0), "{}", world.story());
}

/// Catches: a source that goes on in maintenance below the term of its dead destination, for good.
#[test]
fn a_source_that_goes_on_in_maintenance_takes_its_domain_again_once_it_is_armed() {
    let mut world = world(3);
    prepares(&mut world, 1);
    let reserved = entry(&world, 1).expect("incoming").term;
    suspends(&mut world);
    world.hosts[1].power_off();
    world.run(40_000);
    let disarm = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, disarm).is_some_and(|(done, _)| done));
    // Libvirt has waited for its destination all that time.
    source_resumes(&mut world);
    world.run(5_000);
    assert!(entry(&world, 0).expect("own").term < reserved, "{}", world.story());
    let arm = world.ask(0, Request::Arm);
    world.until(30, "armed", |world| world.reply(0, arm).is_some_and(|(done, _)| done));
    world.run(10_000);
    let own = entry(&world, 0).expect("own");
    assert_eq!((own.state, own.term > reserved), (LeaseState::Own, true), "{own:?}\n{}", world.story());
    assert_eq!((world.runs_on(1), world.count(0, "destroy")), (vec![0], 0), "{}", world.story());
}
