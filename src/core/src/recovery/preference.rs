//! The order in which hosts try to recover a domain: the same on every host, without a word between them.

use std::cmp::Reverse;
use std::time::Duration;

use super::types::Survivor;
use crate::hash::h64;
use crate::ids::DomainId;

/// The survivors in the order in which they try this domain: rendezvous hashing, H64 over the domain's uuid and the host's
/// key. Each failed start moves the first one to the end, so that a domain that one host cannot start is tried by the next.
#[must_use]
pub fn preference(domain: DomainId, survivors: &[Survivor], failures: u8) -> Vec<Survivor> {
    let mut order = survivors.to_vec();
    order.sort_by_key(|host| Reverse((h64(&[&domain.0, &host.host_key.0]), host.host_key)));
    if !order.is_empty() {
        let turns = usize::from(failures) % order.len();
        order.rotate_left(turns);
    }
    order
}

/// How long a domain with so many failed starts is left alone: 2^failures s, none without a failure.
#[must_use]
pub fn back_off(failures: u8, longest: Duration) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let seconds = 1_u64.checked_shl(failures.into()).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(longest)
}
