//! The sign of life of an observer without a slot: a nonce that it writes and reads back, which shows that its read
//! path is live (ARCHITECTURE 3). Whoever finds foreign bytes on the read-back takes another sector.
//!
//! ```text
//! 64 nonce 8 | wall ns 8 | name 48 | spare up to 4096
//! ```

use super::layout::Place;
use super::raw;
use super::sector::{DecodeError, HEADER_LEN, SectorHeader, SectorKind};
use super::text::HostName;
use crate::ids::{BootId, Generation, Nonce, Sequence, Slot};

const NONCE_AT: usize = HEADER_LEN;
const WALL_AT: usize = NONCE_AT + 8;
const NAME_AT: usize = WALL_AT + 8;
const END: usize = NAME_AT + 48;
const _: () = assert!(END == 128);

/// What an observer writes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObserverSector {
    /// The observer's boot.
    pub boot_id: BootId,
    /// Number of its write.
    pub sequence: Sequence,
    /// Drawn anew for each write: what the read-back must show.
    pub nonce: Nonce,
    /// Wall time in nanoseconds since 1970, for people.
    pub wall_ns: u64,
    /// The observer's machine, for people.
    pub name: HostName,
}

impl ObserverSector {
    /// The 4096 bytes of an observer sector.
    #[must_use]
    pub fn encode(&self, place: &Place) -> Vec<u8> {
        let header = SectorHeader {
            slot: Slot(0),
            generation: Generation(0),
            boot_id: self.boot_id,
            sequence: self.sequence,
        };
        header.encode(SectorKind::Observer, place, |record| {
            raw::put_u64(record, NONCE_AT, self.nonce.0);
            raw::put_u64(record, WALL_AT, self.wall_ns);
            self.name.encode(&mut record[NAME_AT..END]);
        })
    }

    /// What an observer wrote into these 4096 bytes.
    ///
    /// # Errors
    /// What is wrong with the sector.
    pub fn decode(place: &Place, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (header, record) = SectorHeader::decode(SectorKind::Observer, place, bytes)?;
        Ok(Self {
            boot_id: header.boot_id,
            sequence: header.sequence,
            nonce: Nonce(raw::get_u64(record, NONCE_AT)),
            wall_ns: raw::get_u64(record, WALL_AT),
            name: HostName::decode(&record[NAME_AT..END], "name")?,
        })
    }
}
