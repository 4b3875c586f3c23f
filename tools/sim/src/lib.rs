//! The machine that attacks Leasefence: N hosts with the shipped core, in virtual time from one seed, with every fault that
//! the promise covers and some that it does not, and judges that know the truth.
//!
//! It reads no clock, has no thread and no order but the queue's: the same seed gives the same story, byte for byte.

mod invariants;
pub mod plan;
pub mod story;
pub mod time;
mod world;

pub use invariants::Violation;
pub use world::{Counts, Outcome, Run, World};
