//! What the simulator found where something else happens beside a live migration (PROTOCOL 4).

use leasefence_core::format::{LeasePage, LeaseState, RecordCopy};
use leasefence_core::member::{DomainReport, HookOperation, RequestId};

use crate::host::report;
use crate::world::{World, guest};

/// What a host's entry of guest 1 says on storage.
fn state(world: &World, index: usize) -> Option<LeaseState> {
    let (layout, slot) = (world.layout(), world.slot(index));
    let pages = (0..layout.pages()).filter_map(|page| {
        let place = layout.lease_page(page, slot, RecordCopy::A);
        let start = usize::try_from(place.offset).expect("small");
        LeasePage::decode(&place, &world.disk.0[start..start + place.len]).ok()
    });
    pages.into_iter().find_map(|page| page.get(guest(1)).map(|entry| entry.state))
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

/// Catches: a start that takes over what is just being acquired for a migration, is permitted beside the running source under an
/// incoming entry, and leaves that behind for ever: nobody recovers the domain after that. (Simulator, `migrations` seed 11.)
#[test]
fn a_start_that_is_asked_for_while_a_migrations_lease_is_being_acquired_is_denied() {
    let mut denied = 0;
    for lead in 0..12 {
        let mut world = world(3);
        let migration = begin(&mut world, 1);
        world.run(lead);
        let acquiring = world.reply(1, migration).is_none();
        let cold = world.user_asks(1, 1);
        let (permitted, why) = world.answer(1, cold);
        assert!(!permitted || !acquiring, "{}", world.story());
        denied += u32::from(!permitted && why.contains("migrated to this host"));
        // Libvirt begins neither.
        world.hook(1, 1, HookOperation::Release);
        world.run(3_000);
        assert_eq!((state(&world, 1), world.runs_on(1)), (None, vec![0]), "{}", world.story());
        world.hosts[0].power_off();
        world.until(60, "it is recovered", |world| !world.runs_on(1).is_empty());
    }
    assert!(denied > 0, "none came in between");
}
