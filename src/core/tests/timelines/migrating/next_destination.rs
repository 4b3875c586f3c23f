//! A source that is resumed in one migration and then again, or its next destination seen, before the first is settled (PROTOCOL 4).

use std::time::Duration;

use leasefence_core::format::LeaseState;

use super::steps::*;
use crate::disk::Path;
use crate::world::guest;

/// It has seen nobody while its page is unknown, and is resumed beside its next destination, whose sector is unreadable then.
fn stands_still_beside_the_next(after_restart: bool) {
    let mut world = world(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    if after_restart {
        restarts_agent(&mut world, 0, |_| ());
    }
    page_is_unknown(&mut world);
    destination_gives_up(&mut world, 1);
    world.until(3, "it is erased", |world| state(world, 1).is_none());
    world.run(500);
    if after_restart {
        world.hosts[0].suspended.remove(&guest(1));
        world.hosts[0].migrates.remove(&guest(1));
    } else {
        source_resumes(&mut world);
    }
    world.run(1_000);
    prepares(&mut world, 2);
    world.run(300);
    assert!(!world.hosts[0].halted.contains(&guest(1)), "halted in migration 2\n{}", world.story());
    suspends(&mut world);
    world.path(2, Path::Cut);
    world.tolerates_two_writers = true;
    runs_there(&mut world, 2);
    let slot = world.slot(2);
    damage(&mut world, |damaged, _| damaged == slot);
    world.run(300);
    source_resumes(&mut world);
    world.run(700);
    assert!(world.hosts[0].halted.contains(&guest(1)), "resumed, unreadable\n{}", world.story());
    world.tolerates_two_writers = false;
    assert_eq!(world.runs_on(1), [2], "{}", world.story());
    damage(&mut world, |damaged, _| damaged == slot);
    for _ in 0..70 {
        world.run(10);
        assert_eq!(world.runs_on(1), [2], "TWO WRITERS\n{}", world.story());
    }
}

/// Catches: one that goes on since nobody was seen to have it before it ran again.
#[test]
fn a_source_that_has_seen_nobody_stands_still_for_the_next_destination() {
    stands_still_beside_the_next(false);
}

#[test]
fn so_does_one_whose_agent_was_started_again() {
    stands_still_beside_the_next(true);
}

/// Catches: post-copy's source, killed without a question.
#[test]
fn libvirts_silence_about_one_migration_kills_no_source_of_the_next() {
    let mut world = world(3);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 0, |host| host.jobs_untold = u8::MAX);
    world.run(32_000);
    assert_eq!((world.count(0, "halted"), world.count(0, "destroy")), (0, 0), "{}", world.story());
    page_is_unknown(&mut world);
    destination_gives_up(&mut world, 1);
    world.hosts[0].migrates.clear();
    world.until(3, "it is erased", |world| state(world, 1).is_none());
    world.run(1_000);
    world.hosts[0].jobs_untold = 0;
    world.path(0, Path::Cut);
    world.run(2_500);
    prepares(&mut world, 2);
    suspends(&mut world);
    runs_there(&mut world, 2);
    world.run(1_500);
    assert_eq!(state(&world, 2), Some(LeaseState::Own), "{}", world.story());
    world.path(0, Path::Works(Duration::from_millis(2)));
    world.run(6_000);
    assert_eq!((world.count(0, "halted"), world.count(0, "destroy")), (0, 0), "{}", world.story());
}

/// Catches: one that is stopped on the first destination's account, and goes on beside the second.
#[test]
fn a_look_that_began_before_the_second_resume_says_nothing_of_it() {
    for cut_after in 1..14 {
        let mut world = world(4);
        prepares(&mut world, 1);
        suspends(&mut world);
        let other = world.slot(3);
        let known = [1, 2].map(|host| world.slot(host));
        damage(&mut world, |damaged, _| damaged == other);
        assert!(!known.contains(&other));
        source_resumes(&mut world);
        world.run(cut_after);
        world.path(0, Path::Cut);
        if world.hosts[0].halted.contains(&guest(1)) {
            break;
        }
        damage(&mut world, |damaged, _| damaged == other);
        destination_gives_up(&mut world, 1);
        world.until(2, "it is erased", |world| state(world, 1).is_none());
        prepares(&mut world, 2);
        suspends(&mut world);
        world.path(2, Path::Cut);
        world.tolerates_two_writers = true;
        runs_there(&mut world, 2);
        source_resumes(&mut world);
        world.run(10);
        world.path(0, Path::Works(Duration::from_millis(2)));
        world.until(3, "it is stopped", |world| world.hosts[0].halted.contains(&guest(1)));
        world.tolerates_two_writers = false;
        world.run(1_500);
    }
}
