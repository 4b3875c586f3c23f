//! The pure protocol of Leasefence: terms and timing, the bytes of format 1, slots, renewal, watching, fencing
//! decisions, domain leases and recovery.
//!
//! Nothing here performs I/O, reads a clock, sleeps, or draws a random number: `now`, bytes and a seed come in,
//! commands go out. It is what the simulator runs, byte for byte; `.clippy.toml` beside this crate refuses what would
//! break that.

pub mod barrier;
pub mod evidence;
pub mod fencing;
pub mod format;
pub mod hash;
pub mod ids;
pub mod lease;
#[cfg(feature = "model-check")]
pub mod marks;
pub mod member;
pub mod planted;
pub mod recovery;
pub mod renewal;
pub mod seeded;
pub mod slot;
pub mod storage;
pub mod terms;
pub mod time;
pub mod unknown;
pub mod watch;
