//! Why a machine does not join, and why a slot is not freed: each with what the operator can do.

use crate::ids::{DomainId, Slot};
use crate::storage::IoError;

/// Why a start ended without a slot. Nothing was written that could harm another host.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum JoinError {
    /// The path leads to another file by now.
    #[error("joining: {0}")]
    Storage(IoError),
    /// No slot without a claim.
    #[error(
        "joining: the lease file is full: every one of its {slots} slots is claimed. `leasefence slot list` shows by whom; \
             `leasefence slot free N --machine-is-off NAME` frees the slot of a machine that is gone for good"
    )]
    Full {
        /// How many there are.
        slots: u16,
    },
    /// Three claims were given up.
    #[error(
        "joining: gave up after {tries} claims ({reasons}). Another machine may be joining, or the storage is too \
             slow: start again, and free the burned slots with `leasefence slot free N --machine-is-off NAME`"
    )]
    GaveUp {
        /// How many.
        tries: u8,
        /// Why each was abandoned.
        reasons: String,
    },
    /// Trial reads take too long: a claim would be abandoned, and its slot burned.
    #[error(
        "joining: reads of the lease file take too long ({slowest_ms} ms, where a claim needs {limit_ms} ms): look at the \
             storage or the network, then start again. Nothing was written"
    )]
    TooSlow {
        /// The slowest of the last round.
        slowest_ms: u64,
        /// What is allowed.
        limit_ms: u64,
    },
    /// The own record changes, and it is not this machine that writes it.
    #[error(
        "joining: the record of slot {slot} carries this machine's key and was changed by somebody else just now: a \
             clone of this machine runs, or a second agent with the same state directory. Stop the copy; if this machine is the \
             copy, remove its identity file, so that it claims a slot of its own"
    )]
    Clone {
        /// Which slot.
        slot: Slot,
    },
    /// This machine's key lies in two records.
    #[error(
        "joining: the records of slots {first} and {second} both carry this machine's key: confirm and free the one \
             that this machine did not use last (`leasefence slot list`, `leasefence slot free`)"
    )]
    TwoRecords {
        /// One.
        first: Slot,
        /// The other.
        second: Slot,
    },
    /// The own record cannot be trusted.
    #[error(
        "joining: slot {slot} is this machine's, but {why}: its last generation is not known. `leasefence dump` shows \
             the sectors; an operator must decide"
    )]
    Unreadable {
        /// Which slot.
        slot: Slot,
        /// What is wrong.
        why: String,
    },
    /// What was written is not what lies there.
    #[error(
        "joining: slot {slot} shows another machine's record after this machine wrote its own: {what}. This machine \
             writes no more; look for a clone, or for storage that loses writes"
    )]
    Foreign {
        /// Which slot.
        slot: Slot,
        /// What lies there.
        what: String,
    },
}

/// Why a slot was not freed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum FreeError {
    /// The path leads to another file by now.
    #[error("freeing slot {0}: {1}")]
    Storage(Slot, IoError),
    /// There is nothing to free.
    #[error("freeing slot {0}: it has no claim: it is free already")]
    NoClaim(Slot),
    /// The claim cannot be read, so nobody can say whose it is.
    #[error(
        "freeing slot {0}: its claim is unreadable ({1}), so no machine can be named; see `leasefence dump`"
    )]
    ClaimUnreadable(Slot, String),
    /// Another machine is named in the claim.
    #[error(
        "freeing slot {slot}: its claim names the machine `{claimed}`, not `{given}`. Make sure which machine is off"
    )]
    Name {
        /// Which slot.
        slot: Slot,
        /// In the claim.
        claimed: String,
        /// As typed.
        given: String,
    },
    /// The record is another machine's than the claim, or cannot be read whole.
    #[error("freeing slot {0}: {1}; refused, since nobody knows which machine may still write there")]
    Keys(Slot, String),
    /// The last incarnation is not shown to be gone for good.
    #[error(
        "freeing slot {slot}: incarnation {incarnation} is not released, not superseded by a new boot, and not confirmed. \
             If the machine is off for good: `leasefence confirm {name} --reason TEXT`, then free it"
    )]
    NotGone {
        /// Which slot.
        slot: Slot,
        /// Its highest incarnation.
        incarnation: crate::ids::Incarnation,
        /// The machine's name.
        name: String,
    },
    /// Leases of it are still the newest word on a domain.
    #[error("freeing slot {slot}: its leases are still the last word on {} domain(s), of which the first is {}. Recover \
             them on another host, or start and stop them there, first", .domains.len(), .domains.first().copied().unwrap_or_default())]
    StillTop {
        /// Which slot.
        slot: Slot,
        /// Which domains.
        domains: Vec<DomainId>,
    },
    /// Another host's sector might say more.
    #[error(
        "freeing slot {slot}: slot {other}'s sector of lease page {page} is unreadable ({why}), so nobody knows whether a \
             domain's newest lease is the freed machine's. It is mended when that host rejoins"
    )]
    PageUnreadable {
        /// Which slot.
        slot: Slot,
        /// Whose sector.
        other: Slot,
        /// Of which page.
        page: u8,
        /// What is wrong.
        why: String,
    },
    /// The slot was changed meanwhile.
    #[error(
        "freeing slot {0}: it was changed by somebody else meanwhile ({1}): a machine writes there. Not freed"
    )]
    Changed(Slot, &'static str),
    /// A write has no known outcome.
    #[error(
        "freeing slot {slot}: {what} has an unknown outcome ({error}). It may still land: this host touches the slot no \
             more until it is known; then run the command again, on this host"
    )]
    Unknown {
        /// Which slot.
        slot: Slot,
        /// Which write.
        what: &'static str,
        /// What the storage said.
        error: IoError,
    },
}
