//! What agent and fencer tell each other through the page (PROTOCOL 8), and the fencer's decisions.
//!
//! The structs of `halves` are the page's contents; `leasefence-page` lays them out in shared memory. [`Fencer`] decides,
//! without touching page, clock or process: `leasefence-fencer` and the simulator drive it, both by [`Beat`].

mod beat;
mod event;
mod fencer;
mod half_reading;
mod halves;
mod marker;
#[cfg(feature = "model-check")]
mod marks;
mod offer;
mod pet;
mod proof;
mod quieting;
mod reset;
mod slot;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod writers;

pub use beat::{BEAT, Beat, FAST_BEAT, Hands, Step};
pub use event::{EndCause, Event, Refusal};
pub use fencer::{Fencer, PageView};
pub use half_reading::HalfReading;
pub use halves::{
    AgentHalf, Clean, DomainProcess, FencerHalf, OwnLease, QuiesceTarget, StartToken, StorageKind,
    UnknownWrite, Unproven, Wish,
};
pub use marker::{ArmedMarker, Marker, MarkerFound, NoMarker};
pub use offer::Offer;
pub use proof::{Quiet, Scan};
pub use quieting::Quieting;
pub use slot::{SlotLook, head_under_way};
pub use start::{CopyUse, RestoredPage};
pub use writers::ANY_DEVICE;
