//! What agent and fencer tell each other through the page (PROTOCOL 8), and the fencer's decisions.
//!
//! The structs here are the page's contents; `leasefence-page` lays them out in shared memory.

mod halves;

pub use halves::{
    AgentHalf, Clean, DomainProcess, FencerHalf, OwnLease, QuiesceTarget, StartToken, StorageKind,
    UnknownWrite, Unproven, Wish,
};
