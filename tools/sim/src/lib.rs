//! The machine that attacks Leasefence: N hosts with the shipped core, in virtual time from one seed, with every fault that
//! the promise covers and some that it does not, and judges that know the truth.
//!
//! The world reads no clock, has no thread and no order but the queue's: the same seed gives the same story, byte for byte.
//! Around it, [`seeds`] runs many of them in threads, [`shrink`] makes a failing plan small, [`report`] tells what was seen.

pub mod args;
#[cfg(feature = "planted-bugs")]
mod grounds;
mod invariants;
#[cfg(feature = "planted-bugs")]
pub mod mutants;
pub mod plan;
pub mod report;
pub mod seeds;
pub mod shrink;
pub mod story;
pub mod time;
mod world;

pub use invariants::Violation;
pub use world::{Counts, Outcome, Run, World};
