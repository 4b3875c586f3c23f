//! The storage thread: one OS thread that does the lease file's I/O and nothing else, and the two things that go with
//! it, the lock on this machine's identity and the facts by which a machine is known.
//!
//! It decides nothing, retries nothing but an interrupted call, and never waits for anybody: a write that it could not
//! finish is reported as unknown by its error (R5), and dropping [`Disk`] leaves a stuck thread behind.

mod block_device;
mod buffer;
mod disk;
mod error;
mod identity;
mod lease_file;
mod lock;
mod machine;

pub use block_device::block_device_size;
pub use buffer::{ALIGNMENT, AlignedBuffer};
pub use disk::{Disk, DiskOptions};
pub use error::{IdentityError, OpenError};
pub use identity::{Identity, IdentityStore};
pub use lock::IdentityLock;
pub use machine::MachineFacts;
