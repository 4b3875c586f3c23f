//! What the simulator found where something else happens beside a live migration (PROTOCOL 4).

use std::time::Duration;

use leasefence_core::format::LeaseState;
use leasefence_core::ids::Incarnation;
use leasefence_core::member::HookOperation;

use super::steps::{
    begin, damage, destination_gives_up, entry, goes_over, page_is_unknown, prepares, restarts_agent,
    runs_there, source_resumes, state, suspends, world,
};
use crate::disk::Path;
use crate::world::{World, guest};

/// Catches: a start that takes over what is just being acquired for a migration, is permitted beside the running source under an
/// incoming entry, and leaves that behind for ever: nobody recovers the domain after that. (Simulator, `migrations` seed 11.)
#[test]
fn a_start_that_is_asked_for_while_a_migrations_lease_is_being_acquired_is_denied() {
    let mut denied = 0;
    for lead in 0..12 {
        let mut world = world(3);
        let migration = begin(&mut world, 1);
        world.run(lead);
        let acquiring = world.reply(1, migration).is_none();
        let cold = world.user_asks(1, 1);
        let (permitted, why) = world.answer(1, cold);
        assert!(!permitted || !acquiring, "{}", world.story());
        denied += u32::from(!permitted && why.contains("migrated to this host"));
        // Libvirt begins neither.
        world.hook(1, 1, HookOperation::Release);
        world.run(3_000);
        assert_eq!((state(&world, 1), world.runs_on(1)), (None, vec![0]), "{}", world.story());
        world.hosts[0].power_off();
        world.until(60, "it is recovered", |world| !world.runs_on(1).is_empty());
    }
    assert!(denied > 0, "none came in between");
}

/// Catches: a source that stands still for good beside its next destination, which waits for its memory: it was stopped on account of
/// the one before, and has not seen in between that this one has given up. (Simulator, `migrations` seed 740.)
#[test]
fn a_source_that_stands_still_goes_on_when_it_is_migrated_to_another_host_before_it_has_looked() {
    for signals_lost in 0..2 {
        let mut world = stands_still(3);
        world.path(0, Path::Cut);
        destination_gives_up(&mut world, 1);
        world.until(2, "it is erased", |world| state(world, 1).is_none());
        prepares(&mut world, 2);
        world.hosts[0].signals_lost = signals_lost;
        world.path(0, Path::Works(Duration::from_millis(2)));
        world.until(3, "it goes on", |world| !world.hosts[0].halted.contains(&guest(1)));
        moves_to(&mut world, 2);
    }
}

/// Catches: the same, where the same host takes it again: a term that says the same is no other attempt.
#[test]
fn a_source_that_stands_still_goes_on_when_it_is_migrated_to_the_same_host_again_before_it_has_looked() {
    let mut world = stands_still(2);
    world.path(0, Path::Cut);
    destination_gives_up(&mut world, 1);
    world.run(3_200);
    prepares(&mut world, 1);
    world.path(0, Path::Works(Duration::from_millis(2)));
    world.until(3, "it goes on", |world| !world.hosts[0].halted.contains(&guest(1)));
    moves_to(&mut world, 1);
}

/// Catches: the same, where that host's agent was started again meanwhile, and takes it under the same term: the source has seen in between
/// that nobody has it, and waited for a write of its page whose outcome is unknown. (Simulator, `migrations` seed 1587.)
#[test]
fn a_source_that_waits_for_its_page_goes_on_when_it_is_migrated_to_the_same_host_again() {
    let mut world = stands_still(3);
    page_is_unknown(&mut world);
    destination_gives_up(&mut world, 1);
    world.until(3, "it is erased", |world| state(world, 1).is_none());
    world.run(500);
    restarts_agent(&mut world, 1, |_| ());
    world.run(3_000);
    assert!(world.hosts[0].halted.contains(&guest(1)), "its page is written\n{}", world.story());
    let before = entry(&world, 0).expect("own").term;
    prepares(&mut world, 1);
    assert_eq!(entry(&world, 1).expect("incoming").term, leasefence_core::ids::Term(before.0 + 1));
    world.until(3, "it goes on", |world| !world.hosts[0].halted.contains(&guest(1)));
    world.run(5_000);
    assert_eq!(world.runs_on(1), [0], "{}", world.story());
}

/// Catches: a source that is stopped in the middle of a migration, since libvirt had resumed it after the one before: it has seen that
/// nobody has it, and waits for a write of its page. (Simulator, `migrations` seed 6168.)
#[test]
fn a_source_that_was_resumed_and_waits_for_its_page_is_not_stopped_in_its_next_migration() {
    let mut world = world(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    page_is_unknown(&mut world);
    destination_gives_up(&mut world, 1);
    world.until(3, "it is erased", |world| state(world, 1).is_none());
    world.run(500);
    source_resumes(&mut world);
    world.run(1_000);
    prepares(&mut world, 2);
    moves_to(&mut world, 2);
}

/// A source that was stopped on account of host 1.
fn stands_still(hosts: u8) -> World {
    let mut world = world(hosts);
    prepares(&mut world, 1);
    suspends(&mut world);
    fails_and_is_stopped(&mut world);
    world
}

/// Libvirt resumes the source, whose destination has not given up yet.
fn fails_and_is_stopped(world: &mut World) {
    source_resumes(world);
    world.run(600);
    assert!(world.hosts[0].halted.contains(&guest(1)), "{}", world.story());
}

/// The migration to this host, whose process waits, goes on undisturbed.
fn moves_to(world: &mut World, to: usize) {
    let before = world.count(0, "halted");
    world.run(5_000);
    assert_eq!((world.count(0, "halted"), world.runs_on(1)), (before, vec![0]), "{}", world.story());
    goes_over(world, to);
    assert_eq!((world.runs_on(1), state(world, to)), (vec![to], Some(LeaseState::Own)), "{}", world.story());
}

/// Catches: a source that is stopped in the middle of a migration, since its page still says that its CPUs were stopped for the one
/// before: its agent was away when that failed, and when this one began. (Simulator, `migrations` seed 1389.)
#[test]
fn a_source_whose_agent_was_away_when_one_migration_failed_and_the_next_began_is_not_stopped() {
    let mut world = world(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.run(1_000);
    world.hosts[0].kill_agent();
    world.hosts[0].suspended.remove(&guest(1));
    destination_gives_up(&mut world, 1);
    world.until(2, "it is erased", |world| state(world, 1).is_none());
    prepares(&mut world, 2);
    world.start_agent(0);
    world.until(20, "held", |world| world.state(0) == "held");
    moves_to(&mut world, 2);
}

/// Catches: a healthy migration whose source is stopped by what libvirt has said of the one before: that it migrates nothing, said
/// before this one began and taken after.
#[test]
fn an_answer_of_libvirts_that_is_older_than_the_migration_does_not_stop_its_source() {
    let mut world = world(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    restarts_agent(&mut world, 0, |host| {
        host.suspended.clear();
        host.migrates.clear();
        host.job_told_late = 700;
    });
    // It sees its destination, and asks.
    world.until(3, "it is asked", |world| world.hosts[0].job_told_late == 0);
    destination_gives_up(&mut world, 1);
    world.until(1, "it is erased", |world| state(world, 1).is_none());
    prepares(&mut world, 2);
    moves_to(&mut world, 2);
}

/// A destination runs the domain while its source takes another one, which is dead, for live still: the last reply of the one that runs
/// is lost, and the source stands still. `order`: whether the dead one has the lower slot.
fn runs_beside_one_that_is_dead(order: bool) -> (World, usize, Incarnation) {
    let mut world = world(3);
    let (dead, dest) = if (world.slot(1) < world.slot(2)) == order { (1, 2) } else { (2, 1) };
    let life = world.incarnation(dead);
    prepares(&mut world, dead);
    world.run(500);
    world.hosts[dead].power_off();
    world.hosts[0].migrates.remove(&guest(1));
    world.run(3_000);
    // The source's own reads pause: its stall clocks begin anew.
    world.path(0, Path::Cut);
    world.run(3_500);
    world.path(0, Path::Works(Duration::from_millis(2)));
    world.until(30, "the destination's verdict", |world| world.evidence(dest, life).is_some());
    world.run(600);
    prepares(&mut world, dest);
    suspends(&mut world);
    world.path(dest, Path::Cut);
    world.tolerates_two_writers = true;
    runs_there(&mut world, dest);
    fails_and_is_stopped(&mut world);
    assert!(world.evidence(0, life).is_none(), "{}", world.story());
    world.tolerates_two_writers = false;
    (world, dest, life)
}

/// Catches: a source that takes the destination it sees once another is gone for one that was let in since.
#[test]
fn a_source_does_not_go_on_beside_its_destination_once_an_older_one_is_called_gone() {
    for order in [true, false] {
        let (mut world, dest, life) = runs_beside_one_that_is_dead(order);
        world.until(12, "the source's verdict", |world| world.evidence(0, life).is_some());
        world.run(1_500);
        assert_eq!(world.runs_on(1), [dest], "{}", world.story());
    }
}

/// Catches: the same, where the sector of the destination that runs it is unreadable, and an older one is all that is seen.
#[test]
fn a_source_does_not_go_on_beside_its_destination_while_that_ones_sector_is_unreadable() {
    for order in [true, false] {
        let (mut world, dest, ..) = runs_beside_one_that_is_dead(order);
        let slot = world.slot(dest);
        damage(&mut world, |damaged, _| damaged == slot);
        world.run(700);
        assert_eq!(world.runs_on(1), [dest], "damaged\n{}", world.story());
        // The same again is what was there.
        damage(&mut world, |damaged, _| damaged == slot);
        world.run(700);
        assert_eq!(world.runs_on(1), [dest], "mended\n{}", world.story());
    }
}
