//! The guest that a drill puts at stake in the place of the operator's own: a boot sector that counts on a small disk.

mod boot;
mod disk;
mod domain;

pub use boot::boot_sector;
pub use disk::{Beat, DiskError, create, read, stop};
pub use domain::{Canary, NAME_PREFIX, definition};

/// What the canary reads and writes at once.
pub const SECTOR: usize = 512;
