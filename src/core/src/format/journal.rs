//! Notes for people, a ring of four a host. Nothing decides by them.
//!
//! ```text
//! 64 event 1 | spare 1 | slot 2 | generation 4      72 wall ns 8      80 text 432
//! ```

use super::layout::Place;
use super::raw;
use super::sector::{DecodeError, HEADER_LEN, SectorHeader, SectorKind};
use super::text::JournalText;
use crate::ids::{BootId, Generation, Incarnation, Sequence, Slot};

const EVENT_AT: usize = HEADER_LEN;
const SUBJECT_SLOT_AT: usize = EVENT_AT + 2;
const SUBJECT_GENERATION_AT: usize = SUBJECT_SLOT_AT + 2;
const WALL_AT: usize = SUBJECT_GENERATION_AT + 4;
const TEXT_AT: usize = WALL_AT + 8;
const END: usize = TEXT_AT + 432;
const _: () = assert!(END == 512);

/// What a note is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JournalEvent {
    /// A host joined or rejoined.
    Joined,
    /// A verdict was reached.
    Verdict,
    /// An operator's word: who, why, when.
    Confirmed,
    /// A fence was requested or ended.
    Fence,
    /// A domain was recovered, or given up.
    Recovery,
    /// Maintenance began or ended.
    Maintenance,
    /// A slot was freed.
    SlotFreed,
    /// An event that this version has no word for, by its code.
    Other(u8),
}

impl JournalEvent {
    const NAMED: [(Self, u8, &'static str); 7] = [
        (Self::Joined, 1, "joined"),
        (Self::Verdict, 2, "verdict"),
        (Self::Confirmed, 3, "confirmed"),
        (Self::Fence, 4, "fence"),
        (Self::Recovery, 5, "recovery"),
        (Self::Maintenance, 6, "maintenance"),
        (Self::SlotFreed, 7, "slot-freed"),
    ];

    /// Its code on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Other(code) => code,
            named => {
                Self::NAMED.into_iter().find(|(event, ..)| *event == named).map_or(0, |(_, code, _)| code)
            }
        }
    }

    /// The event of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::NAMED
            .into_iter()
            .find(|(_, named, _)| *named == code)
            .map_or(Self::Other(code), |(event, ..)| event)
    }

    /// The word for it in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMED.into_iter().find(|(event, ..)| *event == self).map_or("other", |(.., word)| word)
    }
}

/// One note.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct JournalNote {
    /// Who wrote it.
    pub writer: Incarnation,
    /// The writer's boot.
    pub boot_id: BootId,
    /// Number of the note: the ring's place is this modulo 4.
    pub sequence: Sequence,
    /// What it is about.
    pub event: JournalEvent,
    /// Whom it is about.
    pub subject: Incarnation,
    /// Wall time in nanoseconds since 1970.
    pub wall_ns: u64,
    /// In words.
    pub text: JournalText,
}

impl JournalNote {
    /// The bytes of one unit.
    #[must_use]
    pub fn encode(&self, place: &Place) -> Vec<u8> {
        let header = SectorHeader::of(self.writer, self.boot_id, self.sequence);
        header.encode(SectorKind::Journal, place, |record| {
            record[EVENT_AT] = self.event.code();
            raw::put_u16(record, SUBJECT_SLOT_AT, self.subject.slot.0);
            raw::put_u32(record, SUBJECT_GENERATION_AT, self.subject.generation.0);
            raw::put_u64(record, WALL_AT, self.wall_ns);
            self.text.encode(&mut record[TEXT_AT..END]);
        })
    }

    /// The note in the bytes of one unit.
    ///
    /// # Errors
    /// What is wrong with the sector.
    pub fn decode(place: &Place, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (header, record) = SectorHeader::decode(SectorKind::Journal, place, bytes)?;
        Ok(Self {
            writer: header.incarnation(),
            boot_id: header.boot_id,
            sequence: header.sequence,
            event: JournalEvent::from_code(record[EVENT_AT]),
            subject: Incarnation {
                slot: Slot(raw::get_u16(record, SUBJECT_SLOT_AT)),
                generation: Generation(raw::get_u32(record, SUBJECT_GENERATION_AT)),
            },
            wall_ns: raw::get_u64(record, WALL_AT),
            text: JournalText::decode(&record[TEXT_AT..END], "text")?,
        })
    }
}
