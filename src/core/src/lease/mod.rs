//! Domain leases: a single-writer flag and a term for each protected domain (PROTOCOL 4).
//!
//! Every conflict is with an incarnation that is alive (it wins) or provably gone (it is ignored), so a flag that only its
//! own host writes is enough: no ballots, no consensus. [`Leases`] owns the own sectors of the lease pages and the order of
//! what is done to them. It never decides who is gone, never starts or kills a domain, and does no I/O.

mod acquire;
mod backoff;
mod drop_passes;
mod found_tokens;
mod incoming;
mod jobs;
mod leases;
mod load;
mod own;
mod owned_domains;
mod proof;
mod quiet;
mod reread;
mod scan;
mod standing;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod types;
mod view;
mod write;

pub use acquire::{Acquire, Attempt, Attempts};
pub use drop_passes::DropPasses;
pub use leases::{Leases, LeasesConfig};
pub use load::LoadError;
pub use own::{Edit, OwnPage, for_next_generation};
pub use proof::{GoneProof, shows};
pub use reread::{CopyRead, Reread};
pub use scan::PageRead;
pub use standing::{Destination, Standing};
pub use table::{HoldRule, Taken, ended, own_entry};
pub use types::{
    AcquireKind, AcquireOutcome, AcquireRequest, Conflict, DomainSpec, EndReason, LeaseContext, LeaseEvent,
    LeasePolicy,
};
pub use view::{KeyView, PageScan, SectorView};
pub use write::{SectorWrite, WriteEnd};

use crate::format::Layout;
use crate::hash::h64;
use crate::ids::DomainId;

/// The page of a domain: H64 of its uuid, modulo the number of pages.
#[must_use]
pub fn page_of(layout: &Layout, domain: DomainId) -> u8 {
    let page = h64(&[&domain.0]) % u64::from(layout.pages());
    u8::try_from(page).unwrap_or_default()
}
