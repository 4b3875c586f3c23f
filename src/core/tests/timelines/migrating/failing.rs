//! A migration that comes to nothing in the middle: given up, its source dead, or its destination.

use leasefence_core::format::LeaseState;
use leasefence_core::member::HookOperation;

use super::steps::*;
use crate::disk::Path;

/// Catches: an incoming entry that blocks the domain for ever, or a source that loses it.
#[test]
fn one_that_fails_before_the_resume_leaves_nothing_behind_and_the_source_runs_on() {
    let mut world = world(2);
    prepares(&mut world, 1);
    world.run(5_000);
    destination_gives_up(&mut world, 1);
    world.run(1_000);
    assert_eq!((state(&world, 0), state(&world, 1)), (Some(LeaseState::Own), None), "{}", world.story());
    assert_eq!((world.count(0, "halted"), world.runs_on(1)), (0, vec![0]));
    world.run(3_000);
    moves(&mut world, 1);
    assert_eq!(world.runs_on(1), [1]);
}

#[test]
fn one_that_libvirt_never_begins_is_given_up_by_its_release() {
    let mut world = world(2);
    let asked = begin(&mut world, 1);
    assert!(world.answer(1, asked).0);
    world.hook(1, 1, HookOperation::Release);
    world.run(1_000);
    assert_eq!(state(&world, 1), None, "{}", world.story());
}

/// Catches: a domain that is recovered while its destination may still resume it; and one that nobody recovers at all.
#[test]
fn a_domain_whose_source_dies_in_the_middle_is_recovered_once_its_destination_has_given_up() {
    let mut world = world(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.hosts[0].power_off();
    world.run(40_000);
    assert_eq!(world.runs_on(1), [0; 0], "the destination may resume it\n{}", world.story());
    let by_hand = world.user_asks(2, 1);
    let (permitted, why) = world.answer(2, by_hand);
    assert!(!permitted && why.contains("migrated to host-1"), "{why}");
    destination_gives_up(&mut world, 1);
    world.until(60, "it is recovered", |world| !world.runs_on(1).is_empty());
}

#[test]
fn a_destination_that_resumes_a_domain_whose_source_has_died_keeps_it() {
    let mut world = world(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.hosts[0].power_off();
    world.run(40_000);
    runs_there(&mut world, 1);
    world.run(20_000);
    has_moved(&world);
}

/// Catches: a start beside the migration, which the source's own entry does not block any more.
#[test]
fn a_domain_that_is_stopped_on_its_source_starts_nowhere_while_its_destination_waits() {
    let mut world = world(3);
    prepares(&mut world, 1);
    world.user_stops(0, 1);
    world.hook(0, 1, HookOperation::Release);
    world.run(2_000);
    assert_eq!(state(&world, 0), Some(LeaseState::Stopped), "{}", world.story());
    let by_hand = world.user_asks(2, 1);
    let (permitted, why) = world.answer(2, by_hand);
    assert!(!permitted && why.contains("migrated to host-1"), "{why}");
    destination_gives_up(&mut world, 1);
    world.run(1_000);
    let by_hand = world.user_asks(2, 1);
    assert!(world.answer(2, by_hand).0, "{}", world.story());
}

#[test]
fn a_destination_that_loses_its_lease_kills_what_comes_in_and_blocks_nobody_after_that() {
    let mut world = world(2);
    prepares(&mut world, 1);
    world.run(1_000);
    world.path(1, Path::Cut);
    world.until(20, "it is killed", |world| world.hosts[1].waiting.is_empty());
    world.path(1, Path::Works(std::time::Duration::from_millis(2)));
    world.until(60, "it rejoins", |world| world.generation(1).0 == 2 && world.state(1) == "held");
    assert_eq!((state(&world, 0), state(&world, 1)), (Some(LeaseState::Own), None), "{}", world.story());
    assert_eq!(world.runs_on(1), [0]);
    moves(&mut world, 1);
    assert_eq!(world.runs_on(1), [1]);
}

/// The token is permitted and its process not there yet: as any other start.
#[test]
fn a_destination_that_loses_its_lease_before_the_process_shows_is_not_clean_until_that_is_over() {
    let mut world = world(2);
    let asked = begin(&mut world, 1);
    assert!(world.answer(1, asked).0);
    world.path(1, Path::Cut);
    world.until(30, "the latch", |world| world.last(1, "latched").is_some());
    world.run(5_000);
    assert!(world.told(1, "fencer", "a start was permitted"), "{}", world.story());
    let late = world.user_asks(1, 1);
    assert!(!world.answer(1, late).0);
    world.hook(1, 1, HookOperation::Release);
    world.path(1, Path::Works(std::time::Duration::from_millis(2)));
    world.until(60, "it rejoins", |world| world.generation(1).0 == 2 && world.state(1) == "held");
}

/// Catches: a domain that nobody has when its destination dies right after it has come in.
#[test]
fn one_whose_destination_dies_before_its_own_entry_lands_is_recovered_from_the_sources_orphan() {
    let mut world = world(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.path(1, Path::Cut);
    runs_there(&mut world, 1);
    world.run(50);
    source_ends(&mut world);
    world.run(1_000);
    assert_eq!(state(&world, 1), Some(LeaseState::Incoming), "{}", world.story());
    world.hosts[1].power_off();
    world.until(60, "it is recovered", |world| !world.runs_on(1).is_empty());
}
