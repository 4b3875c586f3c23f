//! The guest whose life is at stake, as it is defined on the lab's hypervisors.

use std::path::PathBuf;

use leasefence_demo::domain::{Domain, Source};

use crate::storage::Storage;

/// Its name in libvirt.
pub const NAME: &str = "guest";

/// Its uuid.
pub const UUID: &str = "6c656173-6566-4e63-a000-000000000101";

/// The size of its disk. A life takes half a MiB, and a host may use a quarter of them: enough for all scenarios in turn.
pub const DISK_MEBIBYTES: u32 = 64;

/// It writes without a pause, and would take all that an emulated machine has. All that it has under way, sixteen writes, still
/// goes out within a third of a second.
const WRITES_PER_SECOND: u32 = 50;

/// Its definition, on the storage's disk. QEMU's image lock stands, as on any real host.
#[must_use]
pub fn definition(storage: Storage) -> String {
    definition_on(storage, &storage.guest_disk())
}

/// The same, where the storage's disk has another path.
#[must_use]
pub fn definition_on(storage: Storage, disk: &str) -> String {
    let disk = PathBuf::from(disk);
    domain(NAME, UUID, if storage.disk_is_a_device() { Source::Block(disk) } else { Source::File(disk) })
}

/// The definition of another guest like it, whose disk is an image.
#[must_use]
pub fn another(name: &str, uuid: &str, image: &str) -> String {
    domain(name, uuid, Source::File(PathBuf::from(image)))
}

fn domain(name: &str, uuid: &str, disk: Source) -> String {
    let domain = Domain {
        name: name.into(),
        uuid: uuid.into(),
        machine: "pc".into(),
        rom: "/lab/guest.rom".into(),
        host_name: "/run/host-name".into(),
        disk,
        io: "native".into(),
        shareable: false,
        operations_per_second: Some(WRITES_PER_SECOND),
    };
    domain.to_string()
}
