//! Live migration: the lease goes with the domain, whoever dies in the middle, and nothing but the migration comes in (PROTOCOL 4).

use leasefence_core::format::{LeaseEntry, LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::Slot;
use leasefence_core::member::{
    DomainReport, HookOperation, Input, MigrationNews, Request, RequestId, StopReason,
};

use crate::disk::Path;
use crate::host::{Host, report};
use crate::world::{World, guest};

/// What a host's entry of guest 1 says on storage.
fn entry(world: &World, index: usize) -> Option<LeaseEntry> {
    let (layout, slot) = (world.layout(), world.slot(index));
    let pages = (0..layout.pages()).filter_map(|page| {
        let place = layout.lease_page(page, slot, RecordCopy::A);
        let start = usize::try_from(place.offset).expect("small");
        LeasePage::decode(&place, &world.disk.0[start..start + place.len]).ok()
    });
    pages.into_iter().find_map(|page| page.get(guest(1)).copied())
}

fn state(world: &World, index: usize) -> Option<LeaseState> {
    entry(world, index).map(|entry| entry.state)
}

/// Guest 1 runs on host 0, under its lease.
fn world(hosts: u8) -> World {
    let mut world = World::held(hosts);
    let asked = world.user_asks(0, 1);
    assert!(world.answer(0, asked).0);
    world.user_starts(0, 1);
    world.run(3_000);
    assert_eq!(state(&world, 0), Some(LeaseState::Own), "{}", world.story());
    world
}

fn begin(world: &mut World, to: usize) -> RequestId {
    let kind = world.hosts[to].storage_kind;
    let report = DomainReport { running: false, ..report(&guest(1), false, Some(kind)) };
    world.hook(to, 1, HookOperation::Migrate(Box::new(report)))
}

/// Libvirt's first steps on the destination, all of which must be permitted: its process waits for the guest.
fn prepares(world: &mut World, to: usize) {
    let asked = begin(world, to);
    let (permitted, why) = world.answer(to, asked);
    assert!(permitted, "{why}\n{}", world.story());
    assert_eq!(world.hosts[to].page.as_ref().map_or(0, |page| page.tokens.len()), 1);
    let asked = world.user_asks(to, 1);
    assert!(world.answer(to, asked).0, "{}", world.story());
    let asked = world.hook(to, 1, HookOperation::Start);
    assert!(world.answer(to, asked).0, "{}", world.story());
    process_appears(world, to, true);
    let asked = world.hook(to, 1, HookOperation::Started);
    assert!(world.answer(to, asked).0, "{}", world.story());
    world.hosts[0].migrates.insert(guest(1));
    assert_eq!(state(world, to), Some(LeaseState::Incoming));
}

fn process_appears(world: &mut World, to: usize, for_a_migration: bool) {
    let incarnation = world.incarnation(to);
    world.hosts[to].waiting.insert(guest(1), incarnation);
    if for_a_migration {
        world.hosts[to].came_in.insert(guest(1));
    }
}

/// The source's CPUs stop: what is left of its memory is sent.
fn suspends(world: &mut World) {
    world.hosts[0].suspended.insert(guest(1));
    let news = MigrationNews::Suspended;
    let at = world.at;
    world.hosts[0].tell(at, Input::Migration { domain: guest(1), news });
    world.run(10);
}

fn runs_there(world: &mut World, to: usize) {
    let incarnation = world.hosts[to].waiting.remove(&guest(1)).expect("it waits there");
    world.hosts[to].guests.insert(guest(1), incarnation);
    let at = world.at;
    world.hosts[to].tell(at, Input::Resumed(guest(1)));
}

fn source_ends(world: &mut World) {
    let host = &mut world.hosts[0];
    host.guests.remove(&guest(1));
    host.suspended.remove(&guest(1));
    host.migrates.remove(&guest(1));
    let at = world.at;
    world.hosts[0].tell(at, Input::Stopped { domain: guest(1), reason: StopReason::Migrated });
    world.hook(0, 1, HookOperation::Release);
}

/// Libvirt resumes the source, since the destination's last reply did not come.
fn source_resumes(world: &mut World) {
    world.hosts[0].suspended.remove(&guest(1));
    world.hosts[0].migrates.remove(&guest(1));
    let at = world.at;
    world.hosts[0].tell(at, Input::Resumed(guest(1)));
}

fn destination_gives_up(world: &mut World, to: usize) {
    world.hosts[to].waiting.remove(&guest(1));
    world.hosts[to].came_in.remove(&guest(1));
    world.hook(to, 1, HookOperation::Release);
}

fn moves(world: &mut World, to: usize) {
    prepares(world, to);
    world.run(3_000);
    suspends(world);
    runs_there(world, to);
    world.run(100);
    source_ends(world);
    world.run(3_000);
}

/// A host's agent is gone for a moment, in which this happens to the host, and holds its lease again.
fn restarts_agent(world: &mut World, index: usize, meanwhile: impl FnOnce(&mut Host)) {
    world.hosts[index].kill_agent();
    meanwhile(&mut world.hosts[index]);
    world.run(300);
    world.start_agent(index);
    world.until(20, "held", |world| world.state(index) == "held");
}

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

/// The source was stopped for the last pages, and libvirt resumes it: its guest stands still for a moment, until the destination's
/// entry is erased.
#[test]
fn a_source_that_is_resumed_waits_until_its_destination_has_given_up() {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    source_resumes(&mut world);
    world.run(600);
    assert!(world.hosts[0].halted.contains(&guest(1)), "{}", world.story());
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
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
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

/// Catches: a source that stands still in the middle of its next migration, which was asked for as soon as the one before had failed.
#[test]
fn the_next_migration_waits_until_the_source_has_seen_that_the_last_one_failed() {
    let mut world = world(2);
    prepares(&mut world, 1);
    suspends(&mut world);
    source_resumes(&mut world);
    world.run(600);
    assert!(world.hosts[0].halted.contains(&guest(1)), "{}", world.story());
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
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
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
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
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

/// Catches: a cold start that libvirt sets up for long before it runs QEMU, and that is looked at too seldom by then.
#[test]
fn a_cold_start_that_becomes_qemu_late_is_killed_as_soon() {
    let mut world = world(2);
    let asked = begin(&mut world, 1);
    assert!(world.answer(1, asked).0);
    let cold = world.user_asks(1, 1);
    assert!(world.answer(1, cold).0);
    let begins = world.hook(1, 1, HookOperation::Start);
    assert!(world.answer(1, begins).0);
    world.hosts[1].helpers_only = true;
    process_appears(&mut world, 1, false);
    world.run(4_200);
    world.hosts[1].helpers_only = false;
    world.run(200);
    assert!(world.hosts[1].waiting.is_empty(), "{}", world.story());
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

/// Catches: an agent that forgets what comes in, and kills it or lets it run without its lease.
#[test]
fn a_destination_whose_agent_is_restarted_goes_on_with_what_comes_in() {
    let mut world = world(2);
    prepares(&mut world, 1);
    restarts_agent(&mut world, 1, |_| ());
    world.run(5_000);
    assert_eq!(state(&world, 1), Some(LeaseState::Incoming), "{}", world.story());
    suspends(&mut world);
    runs_there(&mut world, 1);
    world.run(100);
    source_ends(&mut world);
    world.run(3_000);
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
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
    suspends(&mut world);
    runs_there(&mut world, 1);
    world.run(100);
    source_ends(&mut world);
    world.run(3_000);
    assert!(world.told(0, "lease", "ended: Orphan"), "{}", world.story());
    assert_eq!(world.runs_on(1), [1]);
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
    suspends(&mut world);
    runs_there(&mut world, 1);
    world.run(100);
    source_ends(&mut world);
    world.run(3_000);
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
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
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
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
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
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

/// Damages the lease page sectors of slots, told apart by those of the first two hosts.
fn damage(world: &mut World, is_meant: impl Fn(Slot, [Slot; 2]) -> bool) {
    let (layout, known) = (world.layout(), [world.slot(0), world.slot(1)]);
    let places = layout.slots().filter(|slot| is_meant(*slot, known)).flat_map(|slot| {
        (0..layout.pages())
            .flat_map(move |page| RecordCopy::BOTH.map(|copy| layout.lease_page(page, slot, copy)))
    });
    for place in places {
        let start = usize::try_from(place.offset).expect("small");
        world.disk.0[start + 100] ^= 0xff;
    }
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

/// Catches: a helper of the guest (virtiofsd, swtpm) that is taken for a cold start.
#[test]
fn a_process_that_is_not_qemu_is_neither_killed_nor_enough() {
    let mut world = world(2);
    world.hosts[1].helpers_only = true;
    let asked = begin(&mut world, 1);
    assert!(world.answer(1, asked).0);
    let asked = world.user_asks(1, 1);
    assert!(world.answer(1, asked).0);
    let asked = world.hook(1, 1, HookOperation::Start);
    assert!(world.answer(1, asked).0);
    process_appears(&mut world, 1, true);
    let started = world.hook(1, 1, HookOperation::Started);
    world.run(2_500);
    assert_eq!((world.count(1, "destroy"), world.reply(1, started)), (0, None), "{}", world.story());
    world.hosts[1].helpers_only = false;
    assert!(world.answer(1, started).0, "it has become QEMU\n{}", world.story());
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
    assert_eq!((world.runs_on(1), state(&world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
    assert!(world.told(0, "lease", "ended: Orphan"), "{}", world.story());
}
