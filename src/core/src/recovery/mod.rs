//! Restart without a coordinator host: each survivor decides for itself which domains it tries to recover and when, and
//! the domain lease decides who does (ARCHITECTURE 7).
//!
//! It owns one [`Recovery`] for each domain that waits for an owner, and the start tokens of the starts it made. It never
//! says who is gone, never writes a lease itself, and never starts a domain whose own entry is not acknowledged.

mod candidates;
mod preference;
mod recoveries;
#[expect(clippy::module_inception, reason = "each file is named after its main type")]
mod recovery;
mod start_barrier;
#[cfg(test)]
mod tests;
mod types;

pub use preference::{back_off, preference};
pub use recoveries::Recoveries;
pub use recovery::{Recovery, Stage};
pub use start_barrier::StartBarrier;
pub use types::{GoneHost, RecoveryAction, RecoveryPolicy, Survey, Survivor};
