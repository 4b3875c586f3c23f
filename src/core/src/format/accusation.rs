//! What a host's record says about other incarnations: fence requests and convictions.

use super::codes::codes;
use super::raw;
use super::sector::DecodeError;
use crate::ids::{Generation, Incarnation, Sequence, Slot};

/// How many fence requests a record holds.
pub const FENCE_REQUESTS: usize = 4;
/// How many convictions a record holds.
pub const CONVICTIONS: usize = 8;
pub(super) const REQUEST_LEN: usize = 20;
pub(super) const CONVICTION_LEN: usize = 12;

/// A host asks an incarnation to fence itself (PROTOCOL 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FenceRequest {
    /// Whom; its generation is never 0.
    pub target: Incarnation,
    /// Tells this request from an earlier one of the same target.
    pub nonce: u32,
    /// The requester's sequence when the request was first written: its age is counted from there.
    pub since_sequence: Sequence,
}

/// What a conviction rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConvictionKind {
    /// The convicting host's own observation: no evidence for others, who derive their own.
    Expired,
    /// An operator's or fence agent's word: evidence for every reader.
    Confirmed,
}

/// A host holds an incarnation for gone, published before any lease is acquired under it (ARCHITECTURE 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Conviction {
    /// Whom; its generation is never 0.
    pub target: Incarnation,
    /// On what it rests.
    pub kind: ConvictionKind,
    /// Wall time in seconds since 1970, for people.
    pub since_s: u32,
}

codes! { ConvictionKind, "conviction kind": Expired = 1 "expired", Confirmed = 2 "confirmed" }

impl FenceRequest {
    pub(super) fn encode(&self, room: &mut [u8]) {
        raw::put_u16(room, 0, self.target.slot.0);
        raw::put_u32(room, 4, self.target.generation.0);
        raw::put_u32(room, 8, self.nonce);
        raw::put_u64(room, 12, self.since_sequence.0);
    }

    /// None when the place is not in use: generations begin at 1.
    pub(super) fn decode(room: &[u8]) -> Option<Self> {
        let generation = Generation(raw::get_u32(room, 4));
        (generation.0 != 0).then(|| Self {
            target: Incarnation { slot: Slot(raw::get_u16(room, 0)), generation },
            nonce: raw::get_u32(room, 8),
            since_sequence: Sequence(raw::get_u64(room, 12)),
        })
    }
}

impl Conviction {
    pub(super) fn encode(&self, room: &mut [u8]) {
        raw::put_u16(room, 0, self.target.slot.0);
        room[2] = self.kind.code();
        raw::put_u32(room, 4, self.target.generation.0);
        raw::put_u32(room, 8, self.since_s);
    }

    pub(super) fn decode(room: &[u8]) -> Result<Option<Self>, DecodeError> {
        let generation = Generation(raw::get_u32(room, 4));
        if generation.0 == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            target: Incarnation { slot: Slot(raw::get_u16(room, 0)), generation },
            kind: ConvictionKind::from_code(room[2])?,
            since_s: raw::get_u32(room, 8),
        }))
    }
}
