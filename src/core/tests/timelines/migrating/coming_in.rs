//! What may come in: a migration that was permitted, once, and nothing else.

use leasefence_core::member::{HookOperation, Request};

use super::steps::*;
use crate::disk::Path;
use crate::world::World;

#[test]
fn a_domain_comes_in_only_beside_a_live_source_and_a_denial_names_the_owner() {
    let mut world = World::held(2);
    // In maintenance nothing is read for recovery: the owner is looked for when it is asked for.
    let disarm = world.ask(1, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(1, disarm).is_some());
    let asked = world.user_asks(0, 1);
    assert!(world.answer(0, asked).0);
    world.user_starts(0, 1);
    world.run(3_000);
    let asked = begin(&mut world, 1);
    let (permitted, why) = world.answer(1, asked);
    assert!(!permitted && why.contains("host-0 owns it") && why.contains("maintenance"), "{why}");
    let arm = world.ask(1, Request::Arm);
    world.until(30, "armed", |world| world.reply(1, arm).is_some());
    world.user_stops(0, 1);
    world.hook(0, 1, HookOperation::Release);
    world.run(2_000);
    // And the same again at once: nothing was written that its source could have seen.
    for _ in 0..2 {
        let asked = begin(&mut world, 1);
        let (permitted, why) = world.answer(1, asked);
        assert!(
            !permitted && why.contains("no host that lives owns it") && why.contains("--offline"),
            "{why}"
        );
    }
    assert_eq!(state(&world, 1), None);
}

/// Catches: a denial that comes after libvirt's hook has stopped waiting, and names nobody.
#[test]
fn a_migration_that_is_refused_late_is_denied_in_time() {
    for works in (2..40).step_by(2) {
        let mut world = world(2);
        world.user_stops(0, 1);
        world.hook(0, 1, HookOperation::Release);
        world.run(2_000);
        world.path(1, Path::Cut);
        let asked = begin(&mut world, 1);
        world.run(3_000);
        // It works for long enough to refuse, and then is too slow for a look at the owner.
        world.path(1, Path::Works(std::time::Duration::from_millis(2)));
        world.run(works);
        world.path(1, Path::Works(std::time::Duration::from_secs(3)));
        let took = 3_000 + works + world.until(10, "denied", |world| world.reply(1, asked).is_some());
        assert!(took <= 3_600, "{took} ms\n{}", world.story());
    }
}

#[test]
fn of_two_destinations_in_one_moment_one_is_permitted_and_the_other_names_it() {
    for lead in 0..20 {
        let mut world = world(3);
        let first = begin(&mut world, 1);
        world.run(lead);
        let second = begin(&mut world, 2);
        let answers = [world.answer(1, first), world.answer(2, second)];
        let winners: Vec<usize> = (0..2).filter(|index| answers[*index].0).collect();
        let [winner] = winners[..] else { panic!("{answers:?}\n{}", world.story()) };
        let denied = &answers[1 - winner].1;
        let (source, other) = ("host-0", format!("host-{}", winner + 1));
        assert!(denied.contains(&other) || denied.contains(source), "{denied}");
    }
}

/// Catches: a cold start that libvirt asks for between `migrate begin` and the migration's own `prepare`, beside the running source.
#[test]
fn a_cold_start_in_the_place_of_a_migration_is_killed_before_its_cpus_run() {
    let mut world = world(2);
    let asked = begin(&mut world, 1);
    assert!(world.answer(1, asked).0);
    // Nothing tells the two `prepare`s apart.
    let cold = world.user_asks(1, 1);
    assert!(world.answer(1, cold).0);
    let second = world.user_asks(1, 1);
    let (permitted, why) = world.answer(1, second);
    assert!(!permitted && why.contains("migrated to this host"), "{why}");
    let begins = world.hook(1, 1, HookOperation::Start);
    assert!(world.answer(1, begins).0);
    process_appears(&mut world, 1, false);
    // Libvirt sets a process up for longer than this before its CPUs run.
    world.run(150);
    assert!(world.hosts[1].waiting.is_empty(), "{}", world.story());
    let started = world.hook(1, 1, HookOperation::Started);
    assert!(!world.answer(1, started).0);
    world.run(1_000);
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![0], None), "{}", world.story());
}

/// Catches: a cold start that libvirt sets up for long before it runs QEMU, and that is looked at too seldom by then.
#[test]
fn a_cold_start_that_becomes_qemu_late_is_killed_as_soon() {
    let mut world = world(2);
    is_permitted(&mut world, 1);
    world.hosts[1].helpers_only = true;
    process_appears(&mut world, 1, false);
    world.run(4_200);
    world.hosts[1].helpers_only = false;
    world.run(200);
    assert!(world.hosts[1].waiting.is_empty(), "{}", world.story());
}

/// Catches: a helper of the guest (virtiofsd, swtpm) that is taken for a cold start.
#[test]
fn a_process_that_is_not_qemu_is_neither_killed_nor_enough() {
    let mut world = world(2);
    world.hosts[1].helpers_only = true;
    is_permitted(&mut world, 1);
    process_appears(&mut world, 1, true);
    let started = world.hook(1, 1, HookOperation::Started);
    world.run(2_500);
    assert_eq!((world.count(1, "destroy"), world.reply(1, started)), (0, None), "{}", world.story());
    world.hosts[1].helpers_only = false;
    assert!(world.answer(1, started).0, "it has become QEMU\n{}", world.story());
}

/// Catches: a process of an earlier run that waited for a migration, and stands for the one of this migration.
#[test]
fn a_domain_does_not_come_in_beside_a_process_of_an_earlier_run() {
    let mut world = world(2);
    // No kill ends it.
    world.hosts[1].started_again = u8::MAX;
    process_appears(&mut world, 1, true);
    world.run(3_500);
    let asked = begin(&mut world, 1);
    let (permitted, why) = world.answer(1, asked);
    assert!(!permitted && why.contains("of an earlier run"), "{why}");
    world.hosts[1].waiting.clear();
    world.hosts[1].started_again = 0;
    world.run(3_000);
    moves(&mut world, 1);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}

/// Catches: a start from a saved image that goes for the migration's own.
#[test]
fn a_restore_beside_a_migration_is_not_taken_for_it() {
    let mut world = world(2);
    world.hook(1, 1, HookOperation::Restore);
    let asked = begin(&mut world, 1);
    assert!(world.answer(1, asked).0, "{}", world.story());
    let restores = world.user_asks(1, 1);
    let (permitted, why) = world.answer(1, restores);
    assert!(!permitted && why.contains("migrated to this host"), "{why}");
}
