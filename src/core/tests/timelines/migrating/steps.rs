//! The steps of a migration of guest 1 from host 0, as libvirt takes them, and what the storage says after them.

use std::time::Duration;

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::{LeaseEntry, LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::Slot;
use leasefence_core::member::{DomainReport, HookOperation, Input, MigrationNews, RequestId, StopReason};

use crate::disk::Path;
use crate::host::{Host, chained, report};
use crate::world::{World, guest};

/// What a host's entry of guest 1 says on storage.
pub(crate) fn entry(world: &World, index: usize) -> Option<LeaseEntry> {
    let (layout, slot) = (world.layout(), world.slot(index));
    let pages = (0..layout.pages()).filter_map(|page| {
        let place = layout.lease_page(page, slot, RecordCopy::A);
        let start = usize::try_from(place.offset).expect("small");
        LeasePage::decode(&place, &world.disk.0[start..start + place.len]).ok()
    });
    pages.into_iter().find_map(|page| page.get(guest(1)).copied())
}

pub(crate) fn state(world: &World, index: usize) -> Option<LeaseState> {
    entry(world, index).map(|entry| entry.state)
}

/// Guest 1 runs on host 0, under its lease.
pub(crate) fn world(hosts: u8) -> World {
    let mut world = World::held(hosts);
    runs_here(&mut world);
    world
}

/// The same with the guests' disks on NFS, where the exit of a process shows nothing (R6).
pub(crate) fn world_on_nfs(hosts: u8) -> World {
    let mut world = World::held(hosts);
    world.hosts.iter_mut().for_each(|host| host.storage_kind = StorageKind::Nfs);
    runs_here(&mut world);
    world
}

/// A user starts guest 1 on host 0.
fn runs_here(world: &mut World) {
    let asked = world.user_asks(0, 1);
    assert!(world.answer(0, asked).0);
    world.user_starts(0, 1);
    world.run(3_000);
    assert_eq!(state(world, 0), Some(LeaseState::Own), "{}", world.story());
}

pub(crate) fn begin(world: &mut World, to: usize) -> RequestId {
    let kind = world.hosts[to].storage_kind;
    let report = chained(report(&guest(1), false, Some(kind)), &world.hosts[to].chains);
    let report = DomainReport { running: false, ..report };
    world.hook(to, 1, HookOperation::Migrate(Box::new(report)))
}

/// An external snapshot of guest 1: it has another disk chain from now on, and libvirt tells of no change.
pub(crate) fn snapshot(world: &mut World, chain: u64) {
    for host in &mut world.hosts {
        host.chains.insert(guest(1), chain);
    }
}

/// Libvirt's first steps on the destination, all of which must be permitted: its process may show.
pub(crate) fn is_permitted(world: &mut World, to: usize) {
    let asked = begin(world, to);
    let (permitted, why) = world.answer(to, asked);
    assert!(permitted, "{why}\n{}", world.story());
    assert_eq!(world.hosts[to].page.as_ref().map_or(0, |page| page.tokens.len()), 1);
    let asked = world.user_asks(to, 1);
    assert!(world.answer(to, asked).0, "{}", world.story());
    let asked = world.hook(to, 1, HookOperation::Start);
    assert!(world.answer(to, asked).0, "{}", world.story());
}

/// Libvirt's first steps on the destination, and its process, which waits for the guest.
pub(crate) fn prepares(world: &mut World, to: usize) {
    is_permitted(world, to);
    process_appears(world, to, true);
    let asked = world.hook(to, 1, HookOperation::Started);
    assert!(world.answer(to, asked).0, "{}", world.story());
    world.hosts[0].migrates.insert(guest(1));
    assert_eq!(state(world, to), Some(LeaseState::Incoming));
}

pub(crate) fn process_appears(world: &mut World, to: usize, for_a_migration: bool) {
    let incarnation = world.incarnation(to);
    world.hosts[to].waiting.insert(guest(1), incarnation);
    if for_a_migration {
        world.hosts[to].came_in.insert(guest(1));
    }
}

/// The source's CPUs stop: what is left of its memory is sent.
pub(crate) fn suspends(world: &mut World) {
    world.hosts[0].suspended.insert(guest(1));
    let news = MigrationNews::Suspended;
    let at = world.at;
    world.hosts[0].tell(at, Input::Migration { domain: guest(1), news });
    world.run(10);
}

pub(crate) fn runs_there(world: &mut World, to: usize) {
    let incarnation = world.hosts[to].waiting.remove(&guest(1)).expect("it waits there");
    world.hosts[to].guests.insert(guest(1), incarnation);
    let at = world.at;
    world.hosts[to].tell(at, Input::Resumed(guest(1)));
}

pub(crate) fn source_ends(world: &mut World) {
    let host = &mut world.hosts[0];
    host.guests.remove(&guest(1));
    host.suspended.remove(&guest(1));
    host.migrates.remove(&guest(1));
    let at = world.at;
    world.hosts[0].tell(at, Input::Stopped { domain: guest(1), reason: StopReason::Migrated });
    world.hook(0, 1, HookOperation::Release);
}

/// Libvirt resumes the source, since the destination's last reply did not come.
pub(crate) fn source_resumes(world: &mut World) {
    world.hosts[0].suspended.remove(&guest(1));
    world.hosts[0].migrates.remove(&guest(1));
    let at = world.at;
    world.hosts[0].tell(at, Input::Resumed(guest(1)));
}

pub(crate) fn destination_gives_up(world: &mut World, to: usize) {
    world.hosts[to].waiting.remove(&guest(1));
    world.hosts[to].came_in.remove(&guest(1));
    world.hook(to, 1, HookOperation::Release);
}

pub(crate) fn moves(world: &mut World, to: usize) {
    prepares(world, to);
    world.run(3_000);
    goes_over(world, to);
}

/// The rest of a migration whose destination waits for the guest.
pub(crate) fn goes_over(world: &mut World, to: usize) {
    suspends(world);
    runs_there(world, to);
    world.run(100);
    source_ends(world);
    world.run(3_000);
}

/// Guest 1 runs on host 1 alone, under its lease.
#[track_caller]
pub(crate) fn has_moved(world: &World) {
    assert_eq!((world.runs_on(1), state(world, 1)), (vec![1], Some(LeaseState::Own)), "{}", world.story());
}

/// A host's agent is gone for a moment, in which this happens to the host, and holds its lease again.
pub(crate) fn restarts_agent(world: &mut World, index: usize, meanwhile: impl FnOnce(&mut Host)) {
    world.hosts[index].kill_agent();
    meanwhile(&mut world.hosts[index]);
    world.run(300);
    world.start_agent(index);
    world.until(20, "held", |world| world.state(index) == "held");
}

/// Damages the lease page sectors of slots, told apart by those of the first two hosts.
pub(crate) fn damage(world: &mut World, is_meant: impl Fn(Slot, [Slot; 2]) -> bool) {
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

/// A write of the source's lease page fails, and may land yet: none is written before that is over.
pub(crate) fn page_is_unknown(world: &mut World) {
    world.path(0, Path::LandsLate(Duration::from_millis(500)));
    let layout = world.layout();
    let beside = (2..u8::MAX).find(|number| layout.page_of(guest(*number)) == layout.page_of(guest(1)));
    let other = world.user_asks(0, beside.expect("another guest of its page"));
    world.run(300);
    world.path(0, Path::Works(Duration::from_millis(2)));
    let _denied = world.answer(0, other);
}
