//! A machine's claim of a slot: written once in its life, taken for ever while it is not zero (PROTOCOL 2).
//!
//! ```text
//! 64 host_key 16 | nonce 8 | name 48 | spare up to 512
//! ```

use super::layout::Place;
use super::raw;
use super::sector::{DecodeError, HEADER_LEN, SectorHeader, SectorKind};
use super::text::HostName;
use crate::ids::{BootId, Generation, HostKey, Nonce, Sequence, Slot};

const HOST_KEY_AT: usize = HEADER_LEN;
const NONCE_AT: usize = HOST_KEY_AT + 16;
const NAME_AT: usize = NONCE_AT + 8;
const END: usize = NAME_AT + 48;
const _: () = assert!(END == 136);

/// A claim. A sector of all zeroes is none ([`DecodeError::Empty`]); any other sector is a claim, readable or not.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Claim {
    /// Which slot.
    pub slot: Slot,
    /// The boot in which it was made.
    pub boot_id: BootId,
    /// The machine.
    pub host_key: HostKey,
    /// Tells this claim from an earlier one of the same machine.
    pub nonce: Nonce,
    /// The machine's name: what an operator must repeat to free the slot.
    pub name: HostName,
}

impl Claim {
    /// The bytes of one unit.
    #[must_use]
    pub fn encode(&self, place: &Place) -> Vec<u8> {
        let header = SectorHeader {
            slot: self.slot,
            generation: Generation(0),
            boot_id: self.boot_id,
            sequence: Sequence(1),
        };
        header.encode(SectorKind::Claim, place, |record| {
            raw::put(record, HOST_KEY_AT, &self.host_key.0);
            raw::put_u64(record, NONCE_AT, self.nonce.0);
            self.name.encode(&mut record[NAME_AT..END]);
        })
    }

    /// The claim in the bytes of one unit.
    ///
    /// # Errors
    /// [`DecodeError::Empty`] when there is none; else what is wrong with it: such a slot is taken all the same.
    pub fn decode(place: &Place, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (header, record) = SectorHeader::decode(SectorKind::Claim, place, bytes)?;
        Ok(Self {
            slot: header.slot,
            boot_id: header.boot_id,
            host_key: HostKey(raw::get(record, HOST_KEY_AT)),
            nonce: Nonce(raw::get_u64(record, NONCE_AT)),
            name: HostName::decode(&record[NAME_AT..END], "name")?,
        })
    }
}
