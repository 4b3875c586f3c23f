//! Slots: claimed once in a machine's life, rejoined at each start, freed by an operator only.
//!
//! A claim lies in a sector of its own and never touches a host record: a claim that lands late must not land on a live
//! host. This module owns the steps from "the lease file is open" to "a joining record with a new generation is
//! acknowledged and read back", and those of `leasefence slot free`. It never arms, never writes `held`, and never
//! decides who is gone.

mod claim;
mod error;
mod free;
mod free_scan;
mod gate;
mod join;
mod own_pages;
mod pause;
mod reads;
mod record_write;
mod rejoin;
mod survey;

pub use claim::{CLAIM_DEADLINE, claim_wait};
pub use error::{FreeError, JoinError};
pub use free::{Freer, SlotFree};
pub use gate::FencerSight;
pub use join::{Join, JoinOutcome, Joined, Joiner};
pub use survey::{Slots, Survey};

#[cfg(test)]
mod tests;
