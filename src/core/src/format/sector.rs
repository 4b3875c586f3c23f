//! The 64 bytes with which every sector starts, its CRC, and what can be wrong with a sector.
//!
//! ```text
//!  0 magic 4 | kind 1 | version 1 | slot 2      8 file_id 16
//! 24 unit number 4 | generation 4              32 boot id 16
//! 48 sequence 8                                56 CRC 4 | spare 4
//! ```
//!
//! The CRC (CRC-32, IEEE) covers every byte of the record but itself: 512 bytes for claims, host records and journal
//! notes, 4096 for the rest. These 64 bytes and the rule of the CRC stay the same in every version, so that a sector of
//! a later version is told from a damaged one.

use super::layout::Place;
use super::raw;
use crate::ids::{BootId, FileId, Generation, Incarnation, Sequence, Slot};

/// The first four bytes of every sector.
pub const MAGIC: [u8; 4] = *b"LFNC";
/// The version of this format.
pub const FORMAT_VERSION: u8 = 1;

const MAGIC_AT: usize = 0;
const KIND_AT: usize = MAGIC_AT + 4;
const VERSION_AT: usize = KIND_AT + 1;
const SLOT_AT: usize = VERSION_AT + 1;
const FILE_ID_AT: usize = SLOT_AT + 2;
const UNIT_NUMBER_AT: usize = FILE_ID_AT + 16;
const GENERATION_AT: usize = UNIT_NUMBER_AT + 4;
const BOOT_ID_AT: usize = GENERATION_AT + 4;
const SEQUENCE_AT: usize = BOOT_ID_AT + 16;
const CRC_AT: usize = SEQUENCE_AT + 8;
const SPARE_AT: usize = CRC_AT + 4;
/// Bytes of the sector header: where a record's own fields begin.
pub(super) const HEADER_LEN: usize = SPARE_AT + 4;
const _: () = assert!(HEADER_LEN == 64);
const _: () = assert!(CRC_AT == 56);

/// What a sector holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SectorKind {
    /// The file's header.
    Header,
    /// A machine's claim of a slot.
    Claim,
    /// A host's record.
    HostRecord,
    /// The sign of life of an observer without a slot.
    Observer,
    /// A note for people.
    Journal,
    /// A host's sector of a lease page.
    LeasePage,
}

impl SectorKind {
    const ALL: [Self; 6] =
        [Self::Header, Self::Claim, Self::HostRecord, Self::Observer, Self::Journal, Self::LeasePage];

    /// Its code on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Claim => 2,
            Self::HostRecord => 3,
            Self::Observer => 4,
            Self::Journal => 5,
            Self::LeasePage => 6,
        }
    }

    /// The kind of a code, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// How many bytes the record has: what its CRC covers. The rest of its unit is zero.
    #[must_use]
    pub fn record_len(self) -> usize {
        match self {
            Self::Claim | Self::HostRecord | Self::Journal => 512,
            Self::Header | Self::Observer | Self::LeasePage => 4096,
        }
    }

    /// The word for it in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Claim => "claim",
            Self::HostRecord => "host record",
            Self::Observer => "observer sector",
            Self::Journal => "journal note",
            Self::LeasePage => "lease page sector",
        }
    }
}

/// Why bytes are not a record. All but [`DecodeError::Empty`] mean *unreadable*: never a verdict, never "free".
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum DecodeError {
    /// All bytes are zero: never written. (A lease page sector counts as empty only while both copies of that slot's
    /// record are zero or `free`, PROTOCOL 4.)
    #[error("never written: all bytes are zero")]
    Empty,
    /// Fewer or more bytes came back than the sector has.
    #[error("{got} bytes were read where the sector has {want}")]
    Length {
        /// Bytes read.
        got: usize,
        /// Bytes of the sector.
        want: usize,
    },
    /// It does not begin with the magic: foreign bytes.
    #[error("not a Leasefence sector: it begins with {0:02x?}")]
    BadMagic([u8; 4]),
    /// The CRC does not fit: torn or damaged.
    #[error("damaged: its CRC says {stored:08x}, its bytes say {computed:08x}")]
    BadCrc {
        /// The CRC in the sector.
        stored: u32,
        /// The CRC of its bytes.
        computed: u32,
    },
    /// Whole, but of a format that this version does not know.
    #[error("format version {0}; this program knows version {FORMAT_VERSION}: upgrade it")]
    WrongVersion(u8),
    /// Whole, but another kind of sector than belongs here.
    #[error("sector kind {got} where a {} belongs", want.as_str())]
    WrongKind {
        /// The code found.
        got: u8,
        /// What belongs here.
        want: SectorKind,
    },
    /// Whole, but of another lease file.
    #[error("belongs to another lease file, {0}")]
    ForeignFile(FileId),
    /// Whole, but written for another place: the storage misdirected a write.
    #[error("misdirected: it was written for byte {}, and lies at byte {}", u64::from(*got) * 512, u64::from(*want) * 512)]
    Misdirected {
        /// Unit number in the sector.
        got: u32,
        /// Unit number of the place.
        want: u32,
    },
    /// Whole, but it names another slot than the one whose place this is.
    #[error("names slot {got} in the place of slot {want}")]
    WrongSlot {
        /// Slot in the sector.
        got: Slot,
        /// Slot of the place.
        want: Slot,
    },
    /// What follows the record in its unit is not zero.
    #[error("byte {at} after the record is not zero")]
    Padding {
        /// Index of the first such byte in the unit.
        at: usize,
    },
    /// Whole, but a field has a value that this version does not know.
    #[error("field '{field}' has the unknown value {value}")]
    BadValue {
        /// Which field.
        field: &'static str,
        /// Its value (0 where it is not a number).
        value: u64,
    },
}

/// What every sector says of itself, beside what its [`Place`] tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SectorHeader {
    /// Whose it is. The header and observer sectors have slot 0.
    pub slot: Slot,
    /// Which life of that slot wrote it; 0 for the header, claims and observer sectors.
    pub generation: Generation,
    /// The boot in which it was written; zero for the header.
    pub boot_id: BootId,
    /// Number of the write.
    pub sequence: Sequence,
}

impl SectorHeader {
    /// Of a sector that this incarnation writes.
    pub(super) fn of(incarnation: Incarnation, boot_id: BootId, sequence: Sequence) -> Self {
        let Incarnation { slot, generation } = incarnation;
        Self { slot, generation, boot_id, sequence }
    }

    /// Which incarnation wrote it.
    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation { slot: self.slot, generation: self.generation }
    }

    /// The bytes of a sector of `kind` at `place`, its header and CRC in place, with `fill` putting in the record's own fields.
    pub(super) fn encode(&self, kind: SectorKind, place: &Place, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut unit = vec![0; place.len];
        let record = &mut unit[..kind.record_len()];
        raw::put(record, MAGIC_AT, &MAGIC);
        record[KIND_AT] = kind.code();
        record[VERSION_AT] = FORMAT_VERSION;
        raw::put_u16(record, SLOT_AT, self.slot.0);
        raw::put(record, FILE_ID_AT, &place.file_id.0);
        raw::put_u32(record, UNIT_NUMBER_AT, place.unit_number());
        raw::put_u32(record, GENERATION_AT, self.generation.0);
        raw::put(record, BOOT_ID_AT, &self.boot_id.0);
        raw::put_u64(record, SEQUENCE_AT, self.sequence.0);
        fill(record);
        let crc = crc_of(record);
        raw::put_u32(record, CRC_AT, crc);
        unit
    }

    /// Checks all that can be checked of a sector of `kind` at `place`; gives its header and the record's bytes.
    pub(super) fn decode<'a>(
        kind: SectorKind,
        place: &Place,
        unit: &'a [u8],
    ) -> Result<(Self, &'a [u8]), DecodeError> {
        let (header, found) = Self::decode_of_any_file(kind, place, unit)?;
        if found != place.file_id {
            return Err(DecodeError::ForeignFile(found));
        }
        check_place(&header, place, unit)?;
        Ok((header, &unit[..kind.record_len()]))
    }

    /// As [`Self::decode`], without comparing the file's identity and the place: gives the identity found.
    pub(super) fn decode_of_any_file(
        kind: SectorKind,
        place: &Place,
        unit: &[u8],
    ) -> Result<(Self, FileId), DecodeError> {
        if unit.len() != place.len || unit.len() < kind.record_len() {
            return Err(DecodeError::Length { got: unit.len(), want: place.len });
        }
        if raw::is_zero(unit) {
            return Err(DecodeError::Empty);
        }
        check_whole(kind, unit)?;
        let padding = &unit[kind.record_len()..];
        if !raw::is_zero(padding)
            && let Some(index) = padding.iter().position(|byte| *byte != 0)
        {
            return Err(DecodeError::Padding { at: kind.record_len() + index });
        }
        Ok((Self::fields(unit), FileId(raw::get(unit, FILE_ID_AT))))
    }

    fn fields(unit: &[u8]) -> Self {
        Self {
            slot: Slot(raw::get_u16(unit, SLOT_AT)),
            generation: Generation(raw::get_u32(unit, GENERATION_AT)),
            boot_id: BootId(raw::get(unit, BOOT_ID_AT)),
            sequence: Sequence(raw::get_u64(unit, SEQUENCE_AT)),
        }
    }
}

/// What bytes that begin like a sector say of themselves, without checking them: the kind, and a place as long as its record.
pub(super) fn probe(offset: u64, unit: &[u8]) -> Option<(SectorKind, Place)> {
    if unit.len() < HEADER_LEN || !unit.starts_with(&MAGIC) {
        return None;
    }
    let kind = SectorKind::from_code(unit[KIND_AT])?;
    let file_id = FileId(raw::get(unit, FILE_ID_AT));
    Some((kind, Place { file_id, offset, len: kind.record_len(), slot: None }))
}

/// Magic, CRC, version and kind, in this order: a damaged byte of version or kind is damage, not another version.
fn check_whole(kind: SectorKind, unit: &[u8]) -> Result<(), DecodeError> {
    let magic = raw::get(unit, MAGIC_AT);
    if magic != MAGIC {
        return Err(DecodeError::BadMagic(magic));
    }
    // A whole sector of another kind has a CRC over that kind's length.
    let found = SectorKind::from_code(unit[KIND_AT]).unwrap_or(kind);
    let covered = found.record_len().min(unit.len());
    let (stored, computed) = (raw::get_u32(unit, CRC_AT), crc_of(&unit[..covered]));
    if stored != computed {
        return Err(DecodeError::BadCrc { stored, computed });
    }
    if unit[VERSION_AT] != FORMAT_VERSION {
        return Err(DecodeError::WrongVersion(unit[VERSION_AT]));
    }
    if unit[KIND_AT] != kind.code() {
        return Err(DecodeError::WrongKind { got: unit[KIND_AT], want: kind });
    }
    Ok(())
}

fn check_place(header: &SectorHeader, place: &Place, unit: &[u8]) -> Result<(), DecodeError> {
    let (got, want) = (raw::get_u32(unit, UNIT_NUMBER_AT), place.unit_number());
    if got != want {
        return Err(DecodeError::Misdirected { got, want });
    }
    match place.slot {
        Some(want) if want != header.slot => Err(DecodeError::WrongSlot { got: header.slot, want }),
        _ => Ok(()),
    }
}

fn crc_of(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..CRC_AT]);
    hasher.update(&record[CRC_AT + 4..]);
    hasher.finalize()
}
