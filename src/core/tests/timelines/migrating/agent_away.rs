//! An agent that is away, or restarted, in the middle of a migration.

use leasefence_core::fencing::UnknownWrite;
use leasefence_core::format::{LeaseState, RecordCopy};

use super::steps::*;
use crate::disk::Path;
use crate::world::{World, guest};

/// Catches: an agent that forgets what comes in, and kills it or lets it run without its lease.
#[test]
fn a_destination_whose_agent_is_restarted_goes_on_with_what_comes_in() {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 1, |_| ());
    world.run(5_000);
    assert_eq!(state(&world, 1), Some(LeaseState::Incoming), "{}", world.story());
    goes_over(&mut world, 1);
    has_moved(&world);
    assert_eq!(world.count(1, "destroy"), 0);
}

/// Catches: a guest that has come in and died at once, taken for a migration that failed.
#[test]
fn one_that_dies_after_its_cpus_ran_and_before_its_process_was_looked_at_ends_as_own() {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 1, |host| {
        // Its command line cannot be read for a while.
        host.helpers_only = true;
    });
    world.run(1_000);
    suspends(&mut world);
    runs_there(&mut world, 1);
    world.run(100);
    world.hosts[1].guests.remove(&guest(1));
    world.run(3_000);
    assert!(!world.told(1, "migration", "has not come in"), "{}", world.story());
    assert!(state(&world, 1).is_some_and(|state| state != LeaseState::Incoming), "{}", world.story());
    source_ends(&mut world);
    world.until(60, "it is recovered", |world| !world.runs_on(1).is_empty());
}

/// Catches: a domain that is recovered elsewhere while the last writes of the host that it had come to may land (R6): it came in and
/// died while that host's agent was away, which took it for a migration that failed.
#[test]
fn one_that_came_in_and_died_while_the_agent_was_away_is_recovered_once_its_storage_is_quiet() {
    let mut world = world_on_nfs(3);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.hosts[1].data_cut = true;
    world.hosts[1].kill_agent();
    // It runs there, writes, and dies.
    world.hosts[1].waiting.clear();
    source_ends(&mut world);
    world.run(1_000);
    world.start_agent(1);
    world.run(30_000);
    assert!(world.runs_on(1).is_empty(), "{}", world.story());
    let at = world.at;
    world.hosts[1].data_path_heals(at);
    world.until(20, "it is recovered", |world| world.runs_on(1).len() == 1);
}

#[test]
fn a_destination_whose_agent_was_away_when_it_failed_erases_it() {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 1, |host| host.waiting.clear());
    world.run(20_000);
    assert_eq!(state(&world, 1), None, "{}", world.story());
}

/// Catches: a restarted agent that stops a guest which libvirt is sending, and so never sends.
#[test]
fn a_source_whose_agent_is_restarted_lets_libvirt_go_on() {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 0, |_| ());
    world.run(5_000);
    assert_eq!((world.count(0, "halted"), world.runs_on(1)), (0, vec![0]), "{}", world.story());
    goes_over(&mut world, 1);
    assert!(world.told(0, "lease", "ended: Orphan"), "{}", world.story());
    assert_eq!(world.runs_on(1), [1]);
}

/// Catches: a guest that stands still for good since the agent that had stopped it ended right before its signal to go on.
#[test]
fn a_restarted_agent_lets_go_on_what_stands_still_and_has_not_moved() {
    let mut world = world(2);
    world.hosts[0].kill_agent();
    world.hosts[0].halted.insert(guest(1));
    world.run(300);
    world.start_agent(0);
    world.until(20, "it goes on", |world| world.runs_on(1) == [0]);
}

/// Catches: guests that stand still after an upgrade since another host's sector is damaged, which says nothing of a migration.
#[test]
fn a_restarted_agent_stops_nothing_for_a_sector_that_cannot_be_read() {
    let mut world = world(3);
    world.hosts[2].power_off();
    damage(&mut world, |slot, alive| !alive.contains(&slot));
    restarts_agent(&mut world, 0, |_| ());
    world.run(20_000);
    assert_eq!((world.count(0, "halted"), world.count(0, "destroy")), (0, 0), "{}", world.story());
    assert_eq!(world.runs_on(1), [0]);
}

/// Catches: a healthy migration whose source is stopped, for good, since libvirt was asked in a bad moment.
#[test]
fn a_libvirt_that_does_not_say_whether_it_migrates_stops_nothing_and_is_asked_again() {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 0, |host| host.jobs_untold = 3);
    world.until(20, "it was asked", |world| world.hosts[0].jobs_untold == 0);
    world.run(5_000);
    assert_eq!((world.count(0, "halted"), world.runs_on(1)), (0, vec![0]), "{}", world.story());
    goes_over(&mut world, 1);
    has_moved(&world);
}

/// A guest that is migrated by post-copy runs on its destination while its source still sends its memory.
fn runs_there_by_post_copy_while_its_source_has_a_new_agent(untold: u8) -> World {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    runs_there(&mut world, 1);
    world.run(1_000);
    assert_eq!(state(&world, 1), Some(LeaseState::Own), "{}", world.story());
    restarts_agent(&mut world, 0, |host| host.jobs_untold = untold);
    world
}

/// Catches: a guest that loses the memory which its source has not sent yet.
#[test]
fn a_source_that_still_sends_memory_to_a_guest_that_runs_elsewhere_is_not_killed() {
    let mut world = runs_there_by_post_copy_while_its_source_has_a_new_agent(3);
    world.run(60_000);
    assert_eq!((world.count(0, "destroy"), world.count(0, "halted")), (0, 0), "{}", world.story());
    source_ends(&mut world);
    world.run(3_000);
    has_moved(&world);
}

/// Catches: two that run for as long as libvirt says nothing.
#[test]
fn a_source_whose_domain_runs_elsewhere_is_killed_when_libvirt_says_nothing_for_long() {
    let mut world = runs_there_by_post_copy_while_its_source_has_a_new_agent(u8::MAX);
    world.run(20_000);
    assert_eq!(world.count(0, "destroy"), 0, "{}", world.story());
    world.until(30, "it is killed", |world| world.count(0, "destroy") > 0);
    assert_eq!(world.runs_on(1), [1]);
}

/// Catches: a source that was resumed while no agent looked.
#[test]
fn a_source_that_was_resumed_while_its_agent_was_away_is_killed_once_its_domain_is_seen_elsewhere() {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.hosts[0].kill_agent();
    runs_there(&mut world, 1);
    world.run(500);
    world.tolerates_two_writers = true;
    world.hosts[0].suspended.clear();
    world.hosts[0].migrates.clear();
    world.start_agent(0);
    world.until(20, "it is killed", |world| world.count(0, "destroy") > 0);
    world.tolerates_two_writers = false;
    world.run(5_000);
    has_moved(&world);
}

/// The source's agent is restarted while an old write into these own sectors may still land: for 20 s it may not read them back.
fn restarts_source_that_may_not_read(world: &mut World, is_meant: impl Fn(u8) -> bool) {
    let (layout, slot, now) = (world.layout(), world.slot(0), world.hosts[0].now(world.at).instant);
    restarts_agent(world, 0, |host| {
        let pages = (0..layout.pages()).filter(|page| is_meant(*page));
        let places = pages.map(|page| layout.lease_page(page, slot, RecordCopy::A));
        let unknown = places.map(|place| UnknownWrite { offset: place.offset, issued: now });
        host.page.as_mut().expect("it has run").unknown.extend(unknown);
    });
}

/// The source's agent is restarted, and may not read its own entries back yet.
fn source_may_not_read_its_entries_back() -> World {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_source_that_may_not_read(&mut world, |_| true);
    world.run(3_000);
    assert_eq!((world.count(0, "halted"), world.runs_on(1)), (0, vec![0]), "{}", world.story());
    world
}

/// Catches: a source that runs beside its destination until its restarted agent may read its entries back. (Simulator, `migrations`
/// seeds 1795752785524928 and 1795753417375724.)
#[test]
fn a_source_is_stopped_though_its_restarted_agent_may_not_read_its_entries_back_yet() {
    let mut world = source_may_not_read_its_entries_back();
    suspends(&mut world);
    source_resumes(&mut world);
    world.run(1_000);
    assert!(world.hosts[0].halted.contains(&guest(1)), "{}", world.story());
    runs_there(&mut world, 1);
    world.run(5_000);
    assert_eq!((world.count(0, "destroy"), world.runs_on(1)), (0, vec![1]), "{}", world.story());
    world.until(30, "it is killed", |world| world.count(0, "destroy") > 0);
    world.run(5_000);
    has_moved(&world);
}

/// Catches: the same, where the agent was restarted twice; and a list from which is missing what was taken while another sector was
/// not read back.
#[test]
fn a_source_is_stopped_though_its_agent_was_restarted_twice_before_it_had_read_all_its_entries() {
    for taken_between in [true, false] {
        let mut world = World::held(2);
        let page = world.layout().page_of(guest(1));
        if taken_between {
            restarts_source_that_may_not_read(&mut world, |other| other != page);
        }
        let asked = world.user_asks(0, 1);
        assert!(world.answer(0, asked).0, "{}", world.story());
        world.user_starts(0, 1);
        world.run(3_000);
        if !taken_between {
            restarts_source_that_may_not_read(&mut world, |_| true);
        }
        prepares(&mut world, 1);
        restarts_source_that_may_not_read(&mut world, |_| true);
        suspends(&mut world);
        source_resumes(&mut world);
        world.run(2_000);
        assert!(world.hosts[0].halted.contains(&guest(1)), "{taken_between}\n{}", world.story());
    }
}

/// Catches: a source that is stopped for good on the strength of what the agent before had listed.
#[test]
fn a_source_that_is_stopped_before_its_entries_are_read_back_goes_on_once_they_are() {
    let mut world = source_may_not_read_its_entries_back();
    suspends(&mut world);
    source_resumes(&mut world);
    world.run(1_000);
    destination_gives_up(&mut world, 1);
    world.run(3_000);
    assert!(world.hosts[0].halted.contains(&guest(1)), "{}", world.story());
    world.until(30, "it goes on", |world| world.runs_on(1) == [0]);
    world.run(5_000);
    assert_eq!((world.runs_on(1), world.count(0, "destroy")), (vec![0], 0), "{}", world.story());
}

/// Catches: a healthy migration that is stopped since the one before it has failed in that time.
#[test]
fn the_next_migration_goes_on_though_the_entries_of_its_source_are_not_read_back_yet() {
    let mut world = source_may_not_read_its_entries_back();
    world.hosts[0].migrates.clear();
    world.until(3, "libvirt has been asked", |world| world.hosts[0].halted.contains(&guest(1)));
    destination_gives_up(&mut world, 1);
    world.run(5_000);
    let before = world.count(0, "halted");
    prepares(&mut world, 1);
    world.run(3_000);
    goes_over(&mut world, 1);
    assert_eq!(world.count(0, "halted"), before, "{}", world.story());
    has_moved(&world);
    world.run(30_000);
    has_moved(&world);
}

/// Catches: a crashed guest that counts as moved to a stranger, and is never restarted, since a destination was still there when its
/// source had a new agent. (Simulator, `migrations` seed 22228.)
#[test]
fn one_that_has_crashed_while_its_sources_agent_was_away_and_its_destination_waits_is_restarted() {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 0, |host| {
        host.guests.clear();
        host.migrates.clear();
    });
    world.run(600);
    destination_gives_up(&mut world, 1);
    world.until(60, "it is restarted", |world| !world.runs_on(1).is_empty());
    assert!(!world.told(0, "migration", "WITHOUT LEASEFENCE"), "{}", world.story());
}

/// Catches: one that was moved away while no agent looked, taken for a crash.
#[test]
fn a_domain_that_has_moved_while_its_sources_agent_was_away_is_not_started_here() {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    world.hosts[0].kill_agent();
    runs_there(&mut world, 1);
    world.hosts[0].guests.clear();
    world.hosts[0].suspended.clear();
    world.run(300);
    world.start_agent(0);
    world.until(20, "held", |world| world.state(0) == "held");
    world.run(20_000);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
    assert!(world.told(0, "migration", "has moved"), "{}", world.story());
}

/// Catches: one that the first signal did not reach, and that its entry does not call outgoing, since it may not be read yet.
#[test]
fn one_that_is_to_stand_still_does_so_beside_an_unreadable_sector() {
    let mut world = source_may_not_read_its_entries_back();
    suspends(&mut world);
    world.hosts[0].signals_lost = 1;
    world.tolerates_two_writers = true;
    source_resumes(&mut world);
    world.until(2, "the first signal", |world| world.hosts[0].signals_lost == 0);
    world.path(1, Path::Cut);
    runs_there(&mut world, 1);
    let slot = world.slot(1);
    damage(&mut world, |damaged, _| damaged == slot);
    world.run(1_500);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}
