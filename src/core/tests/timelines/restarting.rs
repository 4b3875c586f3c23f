//! An agent that is killed while a write is in flight: what was outstanding is unknown, and that must end (R11).

use std::time::Duration;

use leasefence_core::format::{LeaseState, RecordCopy};

use crate::disk::Path;
use crate::world::{World, guest};

/// One step of time until the page notes a write in flight, then the kill: the write is lost.
fn kill_in_flight(world: &mut World, in_flight: impl Fn(&World) -> bool) {
    for _ in 0..20_000 {
        world.run(1);
        if in_flight(world) {
            world.hosts[0].kill_agent();
            return;
        }
    }
    panic!("no such write\n{}", world.story());
}

fn unknown(world: &World) -> usize {
    world.hosts[0].page.as_ref().map_or(0, |page| page.unknown.len())
}

#[test]
fn a_renewal_that_was_in_flight_when_the_agent_was_killed_is_unknown_for_the_hold_and_not_for_ever() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    kill_in_flight(&mut world, |world| unknown(world) > 0);
    world.start_agent(0);
    world.run(15_000);
    assert!(unknown(&world) > 0, "unknown_hold is 20 s here");
    // At times the page notes the renewal that is in flight just then.
    world.until(30, "nothing is unknown", |world| unknown(world) == 0);
    assert_eq!((world.state(0), world.incarnation(0), world.runs_on(1)), ("held", before, vec![0]));
    // Nor does it stand in the way of the next life.
    world.path(0, Path::Cut);
    world.run(15_000);
    world.path(0, Path::Works(Duration::from_millis(2)));
    world
        .until(60, "it rejoins", |world| world.state(0) == "held" && world.generation(0) > before.generation);
}

#[test]
fn an_agent_killed_while_it_writes_the_next_generations_record_rejoins() {
    let mut world = World::held(2);
    let before = world.incarnation(0);
    world.path(0, Path::Cut);
    world.run(15_000);
    world.path(0, Path::Works(Duration::from_millis(2)));
    kill_in_flight(&mut world, |world| {
        let page = world.hosts[0].page.as_ref();
        page.is_some_and(|page| page.incarnation.generation > before.generation && !page.unknown.is_empty())
    });
    world.start_agent(0);
    world
        .until(90, "it rejoins", |world| world.state(0) == "held" && world.generation(0) > before.generation);
}

#[test]
fn an_agent_killed_while_it_rewrites_its_lease_pages_rejoins() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    let pages = world.layout().lease_page_range(0).start;
    world.path(0, Path::Cut);
    world.run(15_000);
    world.path(0, Path::Works(Duration::from_millis(2)));
    world.until(60, "the receipt", |world| world.last(0, "rejoin").is_some());
    kill_in_flight(&mut world, |world| {
        let page = world.hosts[0].page.as_ref();
        page.is_some_and(|page| page.unknown.iter().any(|write| write.offset >= pages))
    });
    world.start_agent(0);
    world
        .until(90, "it rejoins", |world| world.state(0) == "held" && world.generation(0) > before.generation);
}

/// True when a copy of a lease page says that this host owns the guest.
fn owned_on_disk(world: &World, index: usize, number: u8) -> bool {
    let (layout, slot) = (world.layout(), world.slot(index));
    let mut pages =
        (0..layout.pages()).flat_map(|page| RecordCopy::BOTH.map(|copy| world.lease_page(page, slot, copy)));
    pages.any(|page| {
        let entry = page.and_then(|page| page.get(guest(number)).copied());
        entry.is_some_and(|entry| entry.state == LeaseState::Own)
    })
}

#[test]
fn a_domain_that_is_exempted_while_it_is_owned_is_guarded_until_its_entry_says_so() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.path(0, Path::Works(Duration::from_millis(60)));
    world.hosts[0].exempts = true;
    let exempt = |world: &World| world.hosts[0].page.as_ref().is_some_and(|page| !page.exempt.is_empty());
    for _ in 0..10_000 {
        world.run(1);
        assert!(
            !exempt(&world) || !owned_on_disk(&world, 0, 1),
            "others would start what is not killed here"
        );
    }
    assert!(exempt(&world), "{}", world.story());
    // It runs on without a lease, and beyond its host's: that is what was asked for.
    world.tolerates_two_writers = true;
    world.path(0, Path::Cut);
    world.run(40_000);
    assert_eq!(world.runs_on(1), [0], "neither killed nor started elsewhere\n{}", world.story());
}
