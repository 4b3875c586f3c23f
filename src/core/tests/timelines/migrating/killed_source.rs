//! A source that was killed, or died, since its domain runs elsewhere: what it wrote may still leave its host (R6), and its entry
//! that stays for that long is no lease to run under.

use leasefence_core::format::LeaseState;

use super::steps::*;
use crate::world::{World, guest};

/// Libvirt resumes the source though its destination runs it, and its agent kills it; between the two this happens.
fn is_resumed_and_killed(world: &mut World, meanwhile: impl FnOnce(&mut World)) {
    world.tolerates_two_writers = true;
    runs_there(world, 1);
    source_resumes(world);
    meanwhile(world);
    world.until(3, "the source is killed", |world| world.count(0, "destroy") > 0);
    world.tolerates_two_writers = false;
}

/// Guest 1 on NFS, whose source is resumed beside its destination and killed, while its host's way to that storage is cut.
fn killed_while_cut() -> World {
    let mut world = world_on_nfs(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    is_resumed_and_killed(&mut world, |world| world.hosts[0].data_cut = true);
    world.run(2_000);
    has_moved(&world);
    world
}

/// The destination's guest crashes; nobody may start it while the source's last writes may land.
fn is_not_recovered_before_it_is_quiet(mut world: World) {
    world.guest_crashes(1, 1);
    world.run(60_000);
    assert_eq!((world.runs_on(1), state(&world, 0)), (vec![], Some(LeaseState::Own)), "{}", world.story());
    let at = world.at;
    world.hosts[0].data_path_heals(at);
    world.until(40, "the guest runs again", |world| world.runs_on(1).len() == 1);
}

#[test]
fn a_killed_source_keeps_its_domain_from_starting_until_its_last_writes_have_landed() {
    is_not_recovered_before_it_is_quiet(killed_while_cut());
}

/// Catches: an agent that takes a source that was killed for one that libvirt has moved, since its page says that it was leaving.
#[test]
fn so_does_one_whose_agent_was_started_again() {
    let mut world = killed_while_cut();
    restarts_agent(&mut world, 0, |_| ());
    world.run(10_000);
    is_not_recovered_before_it_is_quiet(world);
}

/// Catches: a second copy of a domain that has moved, started on its source where no barrier can show its last run over.
#[test]
fn one_of_which_no_barrier_can_be_written_is_not_started_beside_its_destination() {
    for crashed_at_the_end in [false, true] {
        let mut world = world_on_nfs(2);
        prepares(&mut world, 1);
        suspends(&mut world);
        world.hosts[0].barriers_refused = true;
        if crashed_at_the_end {
            world.guest_crashes(0, 1);
            world.hosts[0].suspended.remove(&guest(1));
            world.hosts[0].migrates.remove(&guest(1));
            runs_there(&mut world, 1);
        } else {
            is_resumed_and_killed(&mut world, |_| ());
        }
        world.run(70_000);
        has_moved(&world);
        let asked = world.user_asks(0, 1);
        let (permitted, why) = world.answer(0, asked);
        assert!(!permitted, "permitted beside host 1, crashed: {crashed_at_the_end}\n{}", world.story());
        assert!(why.contains("host-1") || why.contains("last run"), "{why}");
    }
}

/// Catches: the same of one that was paused before its migration: libvirt never said that it stopped it for that.
#[test]
fn nor_is_one_that_was_paused_before_its_migration_and_destroyed_after_it() {
    let mut world = world_on_nfs(2);
    world.hosts[0].suspended.insert(guest(1));
    prepares(&mut world, 1);
    // The destination's last reply is lost: the source stays paused, until a user destroys it.
    world.hosts[0].migrates.clear();
    runs_there(&mut world, 1);
    world.run(3_000);
    world.hosts[0].barriers_refused = true;
    world.hosts[0].suspended.clear();
    world.guest_crashes(0, 1);
    world.run(70_000);
    has_moved(&world);
    let asked = world.user_asks(0, 1);
    let (permitted, why) = world.answer(0, asked);
    assert!(!permitted && why.contains("last run"), "{permitted} {why}\n{}", world.story());
}
