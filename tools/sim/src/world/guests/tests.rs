//! Under which incarnation a run is: the judges ask whose writes may still land.

use leasefence_core::fencing::{AgentHalf, StorageKind};
use leasefence_core::format::{LeaseEntry, LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::{BootId, Generation, Incarnation, Sequence, Slot, Term};

use crate::plan::{Class, Options, Plan};
use crate::world::World;
use crate::world::run::Ended;

fn life(generation: u32) -> Incarnation {
    Incarnation { slot: Slot(1), generation: Generation(generation) }
}

/// A guest that a user has started on host 0, which joins as generation 2 after that.
fn world() -> World {
    let options = Options { hosts: Some(2), classes: vec![Class::Power], ..Options::default() };
    let mut world = World::new(Plan::draw(0, &options), false);
    world.add_process(0, 0, None, 1);
    joins(&mut world, 2);
    assert_eq!(world.writer_of(life(2)), Some(0));
    world
}

/// The page of host 0 says that it is this generation.
fn joins(world: &mut World, generation: u32) {
    let incarnation = life(generation);
    world.hosts[0].page = Some(AgentHalf { incarnation, ..AgentHalf::default() });
    world.name_runs(0);
}

/// Seed 242541: the agent died before its record had reached the storage.
#[test]
fn a_run_goes_on_under_the_next_generation_when_nobody_has_seen_the_one_before() {
    let mut world = world();
    joins(&mut world, 3);
    assert_eq!((world.writer_of(life(2)), world.writer_of(life(3))), (None, Some(0)));
}

/// Catches: a host that takes its next name while a guest runs on under one that others know, and that is called superseded then.
#[test]
fn a_run_stays_under_a_generation_whose_record_others_may_have_seen() {
    let mut world = world();
    let place = world.file.layout.host_record(Slot(1), RecordCopy::A);
    let mut record = vec![0; place.len];
    record[28..32].copy_from_slice(&2_u32.to_le_bytes());
    world.land(0, place.offset, &record);
    joins(&mut world, 3);
    assert_eq!((world.writer_of(life(2)), world.writer_of(life(3))), (Some(0), None));
}

/// Catches: the same of one that is owned by an entry whose record was lost on its way.
#[test]
fn a_run_stays_under_a_generation_that_owns_it() {
    let mut world = world();
    let domain = world.domains[0].id;
    let mut page = LeasePage::new(life(2), BootId([1; 16]), Sequence(1));
    let own = LeaseEntry { domain, state: LeaseState::Own, term: Term(1), ..LeaseEntry::default() };
    page.insert(own).expect("there is room");
    let place = world.file.layout.lease_page(world.file.layout.page_of(domain), Slot(1), RecordCopy::A);
    world.land(0, place.offset, &page.encode(&place));
    joins(&mut world, 3);
    assert_eq!((world.writer_of(life(2)), world.writer_of(life(3))), (Some(0), None));
}

/// Seed 250083 of `users`: the fencer kills a QEMU that a user has shut down, and that waits for a storage to which the way is cut.
#[test]
fn what_is_killed_while_it_waits_for_its_last_writes_waits_no_more_and_leaves_them_behind() {
    let mut world = world();
    (world.plan.hook, world.storages[0].kind) = (true, StorageKind::Nfs);
    world.plan.domains[0].storages = [Some(0), None];
    world.plan.hosts[0].guests_stick = false;
    world.cold_start_runs(0);
    (world.hosts[0].powered, world.hosts[0].data_cut) = (true, 1);
    world.end_run(0, Ended::Stopped);
    world.process_exits(0);
    assert_eq!(world.runs[0].exited, None);
    world.kill_run(0, "by the fencer");
    world.process_exits(0);
    assert!(world.runs[0].exited.is_some() && world.runs[0].may_write(world.at));
}
