//! A host that is asked to fence itself, that is convicted, or whose sector is no longer its own.

use leasefence_core::fencing::{StorageKind, Unproven};
use leasefence_core::format::{HostRecord, RecordCopy};
use leasefence_core::member::Request;

use crate::disk::Path;
use crate::world::{World, guest};

#[test]
fn a_fence_request_is_obeyed_and_its_receipt_is_proof_within_two_seconds() {
    let mut world = World::held(3);
    world.user_starts(1, 1);
    world.run(5_000);
    let victim = world.incarnation(1);
    let request = world.ask(0, Request::Fence { host: "host-1".to_owned() });
    let took = world.until(5, "the requester has the proof", |world| world.reply(0, request).is_some());
    println!("fence request to proof: {took} ms");
    assert!(took < 2_000, "{took}\n{}", world.story());
    assert!(world.reply(0, request).expect("just seen").0, "{}", world.story());
    assert_eq!(world.evidence(0, victim), Some("fenced"));
    world.until(10, "the guest runs elsewhere", |world| world.runs_on(1).len() == 1);
    world.until(30, "it rejoins without a restart", |world| world.state(1) == "held");
    assert_eq!(world.generation(1).0, victim.generation.0 + 1);
    world.run(10_000);
    assert_eq!(world.runs_on(1).len(), 1, "{}", world.story());
}

#[test]
fn fencing_is_written_only_after_the_latch_and_the_receipt_only_after_clean() {
    let mut world = World::held(2);
    world.user_starts(1, 1);
    world.run(5_000);
    world.hosts[1].fencer_stopped = true;
    world.ask(0, Request::Fence { host: "host-1".to_owned() });
    world.until(3, "it obeys", |world| world.last(1, "lease-end").is_some());
    // The fencer stands still: nothing is latched, so nothing may be written.
    world.run(1_000);
    assert_eq!(states_on_disk(&world, 1), ["held", "held"], "{}", world.story());
    world.hosts[1].fencer_stopped = false;
    world.until(3, "the receipt", |world| world.last(1, "fenced").is_some());
    let (latched, fenced) = (world.last(1, "latched"), world.last(1, "fenced"));
    assert!(latched.expect("told") <= fenced.expect("told"));
    assert!(!world.hosts[1].guests.contains_key(&guest(1)));
}

#[test]
fn no_receipt_is_written_while_a_killed_guest_has_not_gone() {
    let mut world = World::held(2);
    world.user_starts(1, 1);
    world.run(5_000);
    world.hosts[1].guests_stay = true;
    let request = world.ask(0, Request::Fence { host: "host-1".to_owned() });
    world.until(3, "fencing is written", |world| states_on_disk(world, 1).contains(&"fencing"));
    // The world looks after every event that nobody calls it gone; the cap is 3 s, so look before it.
    world.run(2_000);
    assert!(!states_on_disk(&world, 1).contains(&"fenced"), "{}", world.story());
    world.hosts[1].guests_stay = false;
    world.until(3, "the receipt is proof", |world| world.reply(0, request).is_some());
}

#[test]
fn a_dead_requesters_request_is_not_obeyed() {
    let mut world = World::held(3);
    world.user_starts(1, 1);
    world.run(5_000);
    // The victim reads nothing while the request is written and its requester dies.
    world.path(1, Path::Cut);
    world.ask(0, Request::Fence { host: "host-1".to_owned() });
    world.run(600);
    assert!(request_on_disk(&world, 0), "{}", world.story());
    world.hosts[0].power_off();
    world.path(1, Path::Works(std::time::Duration::from_millis(2)));
    world.run(10_000);
    assert_eq!(world.state(1), "held", "{}", world.story());
    assert_eq!(world.count(1, "lease-end"), 0);
}

#[test]
fn a_request_that_names_another_life_is_not_obeyed() {
    let mut world = World::held(2);
    let request = world.ask(0, Request::Fence { host: "host-1".to_owned() });
    world.until(5, "fenced", |world| world.reply(0, request).is_some());
    world.until(30, "it rejoins", |world| world.state(1) == "held");
    world.run(35_000);
    assert_eq!((world.state(1), world.generation(1).0), ("held", 2), "{}", world.story());
}

#[test]
fn a_conviction_of_itself_makes_a_host_fence_at_once() {
    let mut world = World::held(3);
    world.user_starts(1, 1);
    world.run(5_000);
    let victim = world.incarnation(1);
    // Cut off for long enough to be confirmed, and not so long that its own lease ends.
    world.path(1, Path::Cut);
    world.run(5_600);
    world.hosts[1].guests.clear();
    let request =
        world.ask(0, Request::Confirm { host: "host-1".to_owned(), reason: "pulled the plug".to_owned() });
    world.until(2, "confirmed", |world| world.reply(0, request).is_some());
    assert!(world.reply(0, request).expect("just seen").0, "{}", world.story());
    assert_eq!(world.evidence(0, victim), Some("confirmed"), "latched after it was written and acknowledged");
    world.run(600);
    assert_eq!(
        world.evidence(2, victim),
        Some("confirmed"),
        "an operator's word is evidence for every reader"
    );
    world.path(1, Path::Works(std::time::Duration::from_millis(2)));
    world.until(1, "it has read it", |world| world.told(1, "lease-end", "has convicted this incarnation"));
    world.until(30, "it rejoins", |world| world.state(1) == "held");
    assert_eq!(world.generation(1).0, victim.generation.0 + 1);
}

/// An agent that is started again derives evidence anew, and its record carries the conviction already.
#[test]
fn a_confirmation_of_a_host_that_was_convicted_before_the_agents_restart_is_answered() {
    let mut world = World::held(2);
    let victim = world.incarnation(0);
    world.hosts[0].power_off();
    world.until(30, "convicted", |world| world.conviction_on_disk(1, victim));
    world.run(1_000);
    world.hosts[1].kill_agent();
    world.start_agent(1);
    world.until(10, "it goes on", |world| world.state(1) == "held");
    world.run(6_000);
    assert_eq!(world.evidence(1, victim), None);
    let confirm = Request::Confirm { host: "host-0".to_owned(), reason: "it burnt".to_owned() };
    let request = world.ask(1, confirm);
    world.until(2, "answered", |world| world.reply(1, request).is_some());
    assert!(world.reply(1, request).expect("just seen").0, "{}", world.story());
    assert_eq!(world.evidence(1, victim), Some("confirmed"));
}

#[test]
fn a_host_whose_record_moves_is_not_confirmed() {
    let mut world = World::held(2);
    let request =
        world.ask(0, Request::Confirm { host: "host-1".to_owned(), reason: "I think it is off".to_owned() });
    world.run(1_000);
    let (ok, text) = world.reply(0, request).expect("refused at once");
    assert!(!ok && text.contains("a host that writes is not off"), "{text}");
    assert_eq!(world.evidence(0, world.incarnation(1)), None);
}

#[test]
fn a_replaced_lease_file_is_a_lost_lease() {
    let mut world = World::held(2);
    world.user_starts(1, 1);
    world.run(3_000);
    world.path(1, Path::Replaced);
    world.until(4, "the process ends, with a sentence", |world| world.told(1, "exit", "replaced"));
    assert!(world.told(1, "lease-end", "replaced"), "{}", world.story());
    assert!(world.runs_on(1).is_empty(), "its domains are ended first\n{}", world.story());
}

#[test]
fn a_foreign_record_in_the_own_sector_ends_the_lease_and_is_not_written_over() {
    let mut world = World::held(2);
    world.user_starts(1, 1);
    world.run(3_000);
    let layout = world.layout();
    let place = layout.host_record(world.slot(1), RecordCopy::A);
    let start = usize::try_from(place.offset).expect("small");
    let mut record = HostRecord::decode(&place, &world.disk.0[start..start + place.len]).expect("a record");
    record.host_key = leasefence_core::ids::HostKey([77; 16]);
    record.sequence = leasefence_core::ids::Sequence(record.sequence.0 + 2);
    let foreign = record.encode(&place);
    world.disk.0[start..start + place.len].copy_from_slice(&foreign);
    world.until(4, "the process ends, with a sentence", |world| world.told(1, "exit", "another machine"));
    assert!(world.runs_on(1).is_empty(), "{}", world.story());
}

fn states_on_disk(world: &World, index: usize) -> [&'static str; 2] {
    let copies = world.copies(world.slot(index));
    copies.map(|copy| copy.map_or("unreadable", |record| record.state.as_str()))
}

fn request_on_disk(world: &World, index: usize) -> bool {
    let copies = world.copies(world.slot(index));
    copies.into_iter().flatten().any(|record| record.fence_requests.iter().any(Option::is_some))
}

#[test]
fn after_a_clean_by_force_the_receipt_waits_for_write_drain() {
    let mut world = World::held(2);
    (world.hosts[0].storage_kind, world.hosts[0].quiets_by_force) = (StorageKind::Nfs, true);
    world.user_starts(0, 1);
    world.run(5_000);
    let slot = world.slot(0);
    world.ask(1, Request::Fence { host: "host-0".to_owned() });
    world.until(20, "clean", |world| world.hosts[0].fencer_half.clean.is_some_and(|clean| clean.forced));
    let clean = world.at;
    let fenced = |world: &World| world.copies(slot).iter().flatten().any(|r| r.state.as_str() == "fenced");
    world.until(20, "the receipt", fenced);
    assert!(world.at - clean >= 1_000_000_000, "write_drain is 1 s\n{}", world.story());
}

#[test]
fn the_page_says_whose_storages_it_names_and_what_ends_elsewhere_is_taken_off() {
    let mut world = World::held(2);
    world.user_starts(1, 1);
    world.run(5_000);
    let covered =
        |world: &World| world.hosts[1].page.as_ref().map(|page| page.covered.clone()).expect("a page");
    assert_eq!(covered(&world), [guest(1)]);
    world.user_stops(1, 1);
    world.until(20, "it may be defined anew, with other storages", |world| covered(world).is_empty());
}

/// Catches: a storage of a guest that is over, and that was taken away since, which costs each later end of this incarnation its proof;
/// and one that is named no more while a lease still names its guest.
#[test]
fn a_storage_is_named_until_the_guests_that_wrote_there_are_over() {
    let mut world = World::held(2);
    world.hosts[1].storage_kind = StorageKind::Nfs;
    world.user_starts(1, 1);
    world.run(5_000);
    let page = |world: &World| world.hosts[1].page.clone().expect("a page");
    let kinds = |world: &World| page(world).quiesce.iter().map(|target| target.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&world), [StorageKind::Nfs]);
    world.user_stops(1, 1);
    world.hosts[1].storage_kind = StorageKind::Iscsi;
    world.until(20, "it is over", |world| {
        let page = page(world);
        assert!(page.own.is_empty() || !page.quiesce.is_empty(), "{page:?}");
        page.own.is_empty() && page.quiesce.is_empty()
    });
    world.user_starts(1, 2);
    world.run(5_000);
    assert_eq!(kinds(&world), [StorageKind::Iscsi]);
    // What an agent finds named stays: it does not know who else wrote there.
    world.hosts[1].kill_agent();
    world.run(500);
    world.start_agent(1);
    world.run(5_000);
    world.user_stops(1, 2);
    world.until(20, "it is over", |world| page(world).own.is_empty());
    world.run(10_000);
    assert_eq!(kinds(&world), [StorageKind::Iscsi]);
}

/// Catches: a storage that has not answered taken for none, which would be a false proof, or for one without a proof, which would
/// make each later end of this incarnation unproven.
#[test]
fn a_guest_is_covered_only_once_all_its_storages_have_answered() {
    let mut world = World::held(2);
    world.hosts[1].storage_is_silent = true;
    world.user_starts(1, 1);
    world.run(5_000);
    let page = |world: &World| world.hosts[1].page.clone().expect("a page");
    assert!(page(&world).covered.is_empty() && page(&world).quiesce.is_empty());
    world.hosts[1].storage_is_silent = false;
    world.until(20, "it answers", |world| page(world).covered == [guest(1)]);
    assert!(page(&world).quiesce.iter().all(|target| target.kind == StorageKind::OneKernel));
}

#[test]
fn a_guest_that_nobody_has_named_the_storages_of_makes_the_end_unproven() {
    let mut world = World::held(2);
    world.user_starts(1, 1);
    world.run(5_000);
    world.hosts[1].agent_stopped = true;
    world.user_starts(1, 2);
    world.until(10, "killed like the other", |world| world.hosts[1].guests.is_empty());
    world.run(1_000);
    let half = &world.hosts[1].fencer_half;
    assert_eq!(
        (half.clean, half.unproven_reason),
        (None, Some(Unproven::StorageUnknown)),
        "{}",
        world.story()
    );
}

#[test]
fn a_drill_ends_the_own_lease_as_a_peer_would_and_the_host_comes_back() {
    let mut world = World::held(3);
    world.user_starts(1, 1);
    world.run(5_000);
    let victim = world.incarnation(1);
    let request = world.ask(1, Request::EndOwn { reason: "a drill ends it".to_owned() });
    world.until(5, "a peer has the proof", |world| world.evidence(0, victim) == Some("fenced"));
    assert!(world.reply(1, request).expect("at once").0, "{}", world.story());
    let again = world.ask(1, Request::EndOwn { reason: "a drill ends it".to_owned() });
    world.run(10);
    assert!(!world.reply(1, again).expect("at once").0, "there is no lease to end");
    world.until(10, "the guest runs elsewhere", |world| world.runs_on(1).len() == 1);
    world.until(30, "it rejoins without a restart", |world| world.state(1) == "held");
    assert_eq!(world.generation(1).0, victim.generation.0 + 1);
}
