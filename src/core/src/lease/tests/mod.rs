//! Timelines of domain leases, one per sentence of the rules, and races from a seed.

pub(crate) mod lab;

mod acquiring;
mod dropping;
mod ending;
mod migrating;
mod own_sectors;
mod quieting;
mod races;
