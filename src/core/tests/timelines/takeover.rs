//! Death and takeover: what a dead host's peers say and do, and when.

use std::time::Duration;

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::{LeaseState, RecordCopy};
use leasefence_core::member::Request;

use crate::disk::Path;
use crate::world::{World, guest};

#[test]
fn hosts_claim_slots_join_arm_and_hold() {
    let world = World::held(3);
    for index in 0..3 {
        assert_eq!((world.state(index), world.generation(index).0), ("held", 1), "{}", world.story());
        assert!(world.hosts[index].fencer_half.armed);
    }
    let mut slots: Vec<_> = (0..3).map(|index| world.slot(index)).collect();
    slots.sort();
    slots.dedup();
    assert_eq!(slots.len(), 3, "each has a slot of its own");
}

#[test]
fn a_dead_hosts_domain_is_started_once_on_a_survivor_after_the_verdict() {
    let mut world = World::held(3);
    world.user_starts(0, 1);
    world.run(5_000);
    let victim = world.incarnation(0);
    let last_renewal = world.last(0, "renewal").expect("it renewed");
    world.hosts[0].power_off();
    world.until(30, "the guest runs again", |world| !world.runs_on(1).is_empty());
    let verdict = [1, 2].map(|index| world.last(index, "verdict").unwrap_or(u64::MAX)).into_iter().min();
    let takeover = verdict.expect("somebody said so") - last_renewal;
    let started = world.at / 1_000_000 - last_renewal;
    println!("takeover {takeover} ms (worst designed 11500), the guest runs after {started} ms");
    assert!((11_011..=11_600).contains(&takeover), "{takeover}\n{}", world.story());
    world.run(20_000);
    assert_eq!(world.runs_on(1).len(), 1, "{}", world.story());
    assert_eq!(world.evidence(1, victim), Some("expired"));
    world.boot(0);
    world.until(60, "it rejoins", |world| world.state(0) == "held");
    assert_eq!(world.generation(0).0, victim.generation.0 + 1, "{}", world.story());
    assert_eq!(world.slot(0), victim.slot, "slots are sticky");
    world.run(5_000);
    assert_eq!(world.runs_on(1).len(), 1, "{}", world.story());
}

#[test]
fn where_a_pass_takes_longer_than_its_interval_domains_are_taken_over_all_the_same() {
    let mut world = World::held(3);
    world.user_starts(0, 1);
    world.run(5_000);
    // A write and a read make a pass: 800 ms, and one is due every 500.
    (1..3).for_each(|index| world.path(index, Path::Works(Duration::from_millis(400))));
    world.hosts[0].power_off();
    world.until(90, "the guest runs again", |world| !world.runs_on(1).is_empty());
    assert!((1..3).all(|index| world.state(index) == "held"), "{}", world.story());
}

#[test]
fn where_a_pass_takes_longer_than_its_interval_a_host_that_finds_guests_running_comes_to_its_lease() {
    let mut world = World::new(1);
    world.user_starts(0, 1);
    world.path(0, Path::Works(Duration::from_millis(300)));
    world.boot(0);
    world.until(120, "held", |world| world.state(0) == "held");
    assert_eq!(world.runs_on(1), [0]);
}

#[test]
fn where_a_pass_takes_longer_than_its_interval_a_host_is_disarmed() {
    // Looks at its own sectors come every 5 s, and with the passes between them take longer than that.
    for ms in [300, 450] {
        let mut world = World::held(1);
        world.path(0, Path::Works(Duration::from_millis(ms)));
        world.run(12_000);
        let request = world.ask(0, Request::Disarm);
        world.until(30, "disarmed", |world| world.reply(0, request).is_some_and(|(done, _)| done));
    }
}

#[test]
fn where_a_pass_takes_longer_than_its_interval_a_host_is_released_and_one_that_fenced_rejoins() {
    let mut world = World::held(2);
    (0..2).for_each(|index| world.path(index, Path::Works(Duration::from_millis(300))));
    world.user_starts(1, 1);
    world.until(30, "owned", |world| world.told(1, "lease", "is owned here"));
    world.run(3_000);
    world.user_stops(1, 1);
    world.run(100);
    let request = world.ask(1, Request::Release);
    world.until(25, "released", |world| world.reply(1, request).is_some());
    assert!(world.reply(1, request).expect("just seen").0, "{}", world.story());
    // One write of the other is unknown when its lease ends: the reads that end that are owed a turn too.
    world.path(0, Path::LandsLate(Duration::from_millis(100)));
    world.run(15_000);
    world.path(0, Path::Works(Duration::from_millis(300)));
    world.until(90, "it rejoins", |world| world.state(0) == "held" && world.generation(0).0 == 2);
}

#[test]
fn ten_leases_raced_by_two_survivors_have_one_owner_each_and_none_is_left() {
    let mut world = World::held(3);
    (1..=10).for_each(|number| world.user_starts(0, number));
    world.run(10_000);
    let owned = world.status(0).domains.iter().filter(|domain| domain.lease == "own").count();
    assert_eq!(owned, 10, "{}", world.story());
    world.hosts[0].power_off();
    world.until(60, "all run again", |world| (1..=10).all(|number| world.runs_on(number).len() == 1));
    world.run(20_000);
    let spread = [1, 2].map(|index| world.hosts[index].guests.len());
    println!("ten domains over two survivors: {spread:?}");
    assert_eq!(spread[0] + spread[1], 10, "{}", world.story());
}

#[test]
fn a_host_that_reboots_is_superseded_and_its_domain_is_recovered() {
    let mut world = World::held(3);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    world.hosts[0].power_off();
    world.run(1_500);
    world.boot(0);
    world.until(30, "a peer says so", |world| world.evidence(1, before).is_some());
    assert_eq!(world.evidence(1, before), Some("superseded"), "{}", world.story());
    world.until(60, "the guest runs again", |world| world.runs_on(1).len() == 1);
}

#[test]
fn a_survivor_that_dies_too_is_recovered_from_in_turn() {
    let mut world = World::held(3);
    world.user_starts(0, 1);
    world.run(5_000);
    world.hosts[0].power_off();
    world.until(30, "first takeover", |world| world.runs_on(1).len() == 1);
    let second = world.runs_on(1)[0];
    world.run(3_000);
    world.hosts[second].power_off();
    world.until(60, "second takeover", |world| world.runs_on(1).len() == 1);
}

#[test]
fn an_observer_without_a_valid_lease_of_its_own_says_nothing() {
    let mut world = World::held(3);
    world.run(3_000);
    let victim = world.incarnation(0);
    // host-1's own writes are lost: its lease ends, and it reads on.
    world.hosts[0].power_off();
    world.path(1, Path::LosesWrites);
    world.run(14_000);
    assert_eq!(
        (world.evidence(1, victim), world.evidence(2, victim)),
        (None, Some("expired")),
        "{}",
        world.story()
    );
}

#[test]
fn a_verdict_is_published_as_a_conviction_before_any_lease_is_acquired_under_it() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let victim = world.incarnation(0);
    world.hosts[0].power_off();
    world.until(30, "an entry names the victim as its predecessor", |world| world.pred_on_disk(victim));
    assert!(world.conviction_on_disk(1, victim), "{}", world.story());
}

#[test]
fn a_host_that_is_adopting_stays_joining_while_a_domain_of_it_is_owned_elsewhere() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.tolerates_two_writers = true;
    // A third host is installed on which the same domain was started by hand.
    let third = world.add_host();
    world.boot(third);
    world.user_starts(third, 1);
    world.run(20_000);
    assert_eq!(world.state(third), "joining", "{}", world.story());
    assert_eq!(world.runs_on(1), [0, 2], "nothing is killed before arming");
    let says_which = world
        .status(third)
        .warnings
        .iter()
        .any(|warning| warning.contains("stays joining: domain 'guest-1'"));
    assert!(says_which, "{:?}", world.status(third).warnings);
    world.user_stops(third, 1);
    world.until(10, "held", |world| world.state(third) == "held");
}

#[test]
fn a_domain_that_is_started_by_hand_though_it_is_owned_elsewhere_is_destroyed() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.tolerates_two_writers = true;
    world.user_starts(1, 1);
    world.until(3, "destroyed", |world| world.runs_on(1) == [0]);
    assert!(world.told(1, "destroy", "without a lease that it can win"), "{}", world.story());
}

#[test]
fn what_is_started_by_hand_again_at_once_is_destroyed_again() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.tolerates_two_writers = true;
    world.hosts[1].started_again = 2;
    world.user_starts(1, 1);
    world.until(10, "destroyed for the third time", |world| world.runs_on(1) == [0]);
}

#[test]
fn a_storage_that_was_not_known_at_first_does_not_keep_the_host_unproven_for_ever() {
    let mut world = World::held(2);
    world.hosts[0].storage_kind = StorageKind::Unprovable;
    world.user_starts(0, 1);
    world.run(3_000);
    world.hosts[0].storage_kind = StorageKind::OneKernel;
    world.run(3_000);
    let page = world.hosts[0].page.as_ref().expect("a page");
    assert!(page.quiesce.iter().all(|target| target.kind == StorageKind::OneKernel), "{:?}", page.quiesce);
}

#[test]
fn what_ran_last_is_started_and_no_older_definition_that_was_left_here() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.hosts[1].left_here.insert(guest(1), 77);
    world.run(5_000);
    world.hosts[0].power_off();
    world.until(30, "the guest runs again", |world| world.runs_on(1) == [1]);
    assert_eq!(world.hosts[1].started_as.get(&guest(1)), Some(&1), "{}", world.story());
}

/// What the copies of a host's lease page say of a guest, the newer last: its state and term, none where there is no entry of it.
fn says(world: &World, index: usize, number: u8) -> [Option<(LeaseState, u32)>; 2] {
    let (page, slot) = (world.layout().page_of(guest(number)), world.slot(index));
    let mut copies = RecordCopy::BOTH.map(|copy| world.lease_page(page, slot, copy).expect("it was written"));
    copies.sort_by_key(|page| page.sequence);
    copies.map(|page| page.get(guest(number)).map(|entry| (entry.state, entry.term.0)))
}

#[test]
fn an_own_entry_of_unknown_outcome_is_not_rolled_back_to_what_stood_before_it() {
    //   host 0: own(1), dies
    //   host 1:              want(2), own(2): copy A lands, its call fails .... written again: never below term 2
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.hosts[0].power_off();
    world.until(30, "it wants the lease, in both copies", |world| {
        says(world, 1, 1).iter().all(Option::is_some)
    });
    world.path(1, Path::LandsLate(Duration::ZERO));
    let owns = Some((LeaseState::Own, 2));
    world.until(10, "own has landed", |world| says(world, 1, 1).contains(&owns));
    world.path(1, Path::Works(Duration::from_millis(2)));
    let mut orphaned = false;
    for _ in 0..60_000 {
        world.run(1);
        let newest = says(&world, 1, 1).last().copied().flatten();
        let keeps = newest.is_some_and(|(_, term)| term >= 2);
        assert!(keeps, "others may have read own(2): {newest:?}\n{}", world.story());
        orphaned |= newest == Some((LeaseState::Orphan, 2));
        if !world.runs_on(1).is_empty() {
            break;
        }
    }
    assert!(orphaned, "it never ran under that term\n{}", world.story());
    assert_eq!(world.runs_on(1), [1], "and is recovered under the next\n{}", world.story());
}
