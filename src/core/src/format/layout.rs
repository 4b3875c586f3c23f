//! Where everything lies in a lease file: the drawing, once.
//!
//! ```text
//! byte 0   header                            4096
//!          claims          max_hosts x unit            one a slot
//!          host records    2 x max_hosts x unit        copy A of every slot, then copy B of every slot
//!          observer sectors        8 x 4096            picked at random
//!          journal         max_hosts x 4 x unit        a ring of 4 notes a slot
//!          lease pages     pages x 2 x max_hosts x 4096
//!                            page 0 copy A of every slot, page 0 copy B of every slot, page 1 copy A …
//!          nothing                                     up to a whole MiB
//! end-4096 header again                      4096
//! ```
//!
//! Every area begins at a multiple of 4096. A *unit* is what one claim, host record or journal note occupies: 4096 bytes,
//! or 512 on a block device with 512-byte logical sectors. The header, observer sectors and sectors of lease pages are
//! always 4096: their copies and CRC protect them, not the atomicity of a sector.

use std::ops::Range;

use crate::hash::h64;
use crate::ids::{DomainId, FileId, MAX_HOSTS, Slot};

/// Bytes of a header, of an observer sector and of a lease page's sector; every area begins at a multiple of it.
pub const SECTOR_LEN: usize = 4096;
const SECTOR: u64 = 4096;
/// The file's size is a multiple of this: where the last header is sought when the first is damaged.
pub const MIB: u64 = 1 << 20;
/// How many sectors there are for observers without a slot.
pub const OBSERVER_SECTORS: u8 = 8;
/// How many journal notes each slot keeps.
pub const JOURNAL_RING: u8 = 4;
/// The most lease pages that a file can have, and the default.
pub const MAX_PAGES: u8 = 16;

/// What one claim, host record or journal note occupies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Unit {
    /// A block device with 512-byte logical sectors.
    Bytes512,
    /// A file, or a block device with 4096-byte logical sectors.
    #[default]
    Bytes4096,
}

impl Unit {
    /// Its length in bytes.
    #[must_use]
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }

    /// The unit of this many bytes, if there is one.
    #[must_use]
    pub fn from_len_bytes(len: u32) -> Option<Self> {
        match len {
            512 => Some(Self::Bytes512),
            4096 => Some(Self::Bytes4096),
            _ => None,
        }
    }

    const fn bytes(self) -> u64 {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }
}

/// One of the two copies of a host record, or of a lease page's sector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RecordCopy {
    /// The first; of host records, the one with even sequences.
    A,
    /// The second; of host records, the one with odd sequences.
    B,
}

impl RecordCopy {
    /// Both, A first: the order in which a lease page's sector is written.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The copy into which the host record with this sequence is written: the two take turns.
    #[must_use]
    pub fn of_sequence(sequence: crate::ids::Sequence) -> Self {
        if sequence.0.is_multiple_of(2) { Self::A } else { Self::B }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn index(self) -> u64 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// The place of one sector: what is written there must say the same of itself, or it is not believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The file's identity.
    pub file_id: FileId,
    /// Byte offset: a multiple of `len`.
    pub offset: u64,
    /// Bytes to read or write.
    pub len: usize,
    /// The slot whose place it is; none for the header and the observer sectors.
    pub slot: Option<Slot>,
}

impl Place {
    /// Its unit number, byte offset / 512: repeated in the sector, so that a misdirected write shows.
    #[must_use]
    pub fn unit_number(&self) -> u32 {
        u32::try_from(self.offset / 512).unwrap_or(u32::MAX)
    }

    /// Its bytes in a longer read that began at byte `start` of the file; fewer, or none, when it does not reach that far
    /// (such a slice decodes to [`super::DecodeError::Length`]).
    #[must_use]
    pub fn within<'a>(&self, start: u64, bytes: &'a [u8]) -> &'a [u8] {
        let Some(from) = self.offset.checked_sub(start).and_then(|from| usize::try_from(from).ok()) else {
            return &[];
        };
        let tail = bytes.get(from..).unwrap_or_default();
        &tail[..tail.len().min(self.len)]
    }

    /// First byte and the byte after the last.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len as u64
    }
}

/// Why a lease file cannot be laid out like that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum LayoutError {
    /// Too few or too many hosts.
    #[error("a lease file holds 1 to {MAX_HOSTS} hosts, not {0}: more hosts use more lease files")]
    MaxHosts(u16),
    /// Too few or too many pages.
    #[error("a lease file has 1 to {MAX_PAGES} lease pages, not {0}")]
    Pages(u8),
}

/// Where every sector of one lease file lies. A value that exists has valid counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Layout {
    file_id: FileId,
    unit: Unit,
    max_hosts: u16,
    pages: u8,
}

impl Layout {
    /// The layout of the file with this identity.
    ///
    /// # Errors
    /// When `max_hosts` is not 1 to [`MAX_HOSTS`], or `pages` not 1 to [`MAX_PAGES`].
    pub const fn new(file_id: FileId, unit: Unit, max_hosts: u16, pages: u8) -> Result<Self, LayoutError> {
        if max_hosts == 0 || max_hosts > MAX_HOSTS {
            return Err(LayoutError::MaxHosts(max_hosts));
        }
        if pages == 0 || pages > MAX_PAGES {
            return Err(LayoutError::Pages(pages));
        }
        Ok(Self { file_id, unit, max_hosts, pages })
    }

    /// The file's identity.
    #[must_use]
    pub fn file_id(&self) -> FileId {
        self.file_id
    }

    /// What a claim, host record or journal note occupies.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// How many hosts the file holds.
    #[must_use]
    pub fn max_hosts(&self) -> u16 {
        self.max_hosts
    }

    /// How many lease pages it has.
    #[must_use]
    pub fn pages(&self) -> u8 {
        self.pages
    }

    /// Every slot, in order.
    pub fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> + use<> {
        (0..self.max_hosts).map(Slot)
    }

    /// The header at the file's beginning.
    #[must_use]
    pub fn first_header(&self) -> Place {
        self.place(0, SECTOR_LEN, None)
    }

    /// The header in the file's last 4096 bytes.
    #[must_use]
    pub fn last_header(&self) -> Place {
        self.place(self.total_size() - SECTOR, SECTOR_LEN, None)
    }

    /// A slot's claim.
    ///
    /// # Panics
    /// As all places of a slot: when the slot is not below [`Self::max_hosts`].
    #[must_use]
    pub fn claim(&self, slot: Slot) -> Place {
        self.place(self.claims().start + self.units(self.index(slot)), self.unit.len_bytes(), Some(slot))
    }

    /// All claims, slot after slot.
    #[must_use]
    pub const fn claims(&self) -> Range<u64> {
        let start = SECTOR;
        start..start + self.units(self.max_hosts as u64)
    }

    /// One copy of a slot's host record.
    ///
    /// # Panics
    /// When the slot is not below [`Self::max_hosts`].
    #[must_use]
    pub fn host_record(&self, slot: Slot, copy: RecordCopy) -> Place {
        let unit = copy.index() * u64::from(self.max_hosts) + self.index(slot);
        self.place(self.host_records().start + self.units(unit), self.unit.len_bytes(), Some(slot))
    }

    /// Both copies of all host records: what a scan reads.
    #[must_use]
    pub const fn host_records(&self) -> Range<u64> {
        let start = after(&self.claims());
        start..start + self.units(2 * self.max_hosts as u64)
    }

    /// An observer sector.
    ///
    /// # Panics
    /// When `index` is not below [`OBSERVER_SECTORS`].
    #[must_use]
    pub fn observer(&self, index: u8) -> Place {
        assert!(index < OBSERVER_SECTORS, "observer sector {index} does not exist");
        self.place(self.observers().start + u64::from(index) * SECTOR, SECTOR_LEN, None)
    }

    /// All observer sectors.
    #[must_use]
    pub const fn observers(&self) -> Range<u64> {
        let start = after(&self.host_records());
        start..start + OBSERVER_SECTORS as u64 * SECTOR
    }

    /// One of a slot's journal notes.
    ///
    /// # Panics
    /// When the slot is not below [`Self::max_hosts`], or `index` not below [`JOURNAL_RING`].
    #[must_use]
    pub fn journal(&self, slot: Slot, index: u8) -> Place {
        assert!(index < JOURNAL_RING, "journal note {index} does not exist");
        let unit = self.index(slot) * u64::from(JOURNAL_RING) + u64::from(index);
        self.place(self.journals().start + self.units(unit), self.unit.len_bytes(), Some(slot))
    }

    /// All journal notes, ring after ring.
    #[must_use]
    pub const fn journals(&self) -> Range<u64> {
        let start = after(&self.observers());
        start..start + self.units(self.max_hosts as u64 * JOURNAL_RING as u64)
    }

    /// A slot's sector in one copy of a lease page.
    ///
    /// # Panics
    /// When `page` is not below [`Self::pages`], or the slot not below [`Self::max_hosts`].
    #[must_use]
    pub fn lease_page(&self, page: u8, slot: Slot, copy: RecordCopy) -> Place {
        let start = self.lease_page_copy(page, copy).start;
        self.place(start + self.index(slot) * SECTOR, SECTOR_LEN, Some(slot))
    }

    /// The lease page in which a domain's entries lie: H64 of its uuid's 16 bytes, modulo the number of pages.
    ///
    /// # Panics
    /// Never: a file has at most 16 pages.
    #[must_use]
    pub fn page_of(&self, domain: DomainId) -> u8 {
        u8::try_from(h64(&[&domain.0]) % u64::from(self.pages)).expect("there are at most 16 pages")
    }

    /// All slots' sectors of one copy of a lease page.
    ///
    /// # Panics
    /// When `page` is not below [`Self::pages`].
    #[must_use]
    pub fn lease_page_copy(&self, page: u8, copy: RecordCopy) -> Range<u64> {
        let whole = self.lease_page_range(page);
        let half = (whole.end - whole.start) / 2;
        let start = whole.start + copy.index() * half;
        start..start + half
    }

    /// Both copies of a lease page, A then B: what a scan of the page reads.
    ///
    /// # Panics
    /// When `page` is not below [`Self::pages`].
    #[must_use]
    pub fn lease_page_range(&self, page: u8) -> Range<u64> {
        assert!(page < self.pages, "lease page {page} does not exist");
        let start = self.lease_pages().start + u64::from(page) * self.page_len();
        start..start + self.page_len()
    }

    /// All lease pages.
    #[must_use]
    pub const fn lease_pages(&self) -> Range<u64> {
        let start = after(&self.journals());
        start..start + self.pages as u64 * self.page_len()
    }

    /// The file's size in bytes: a multiple of [`MIB`].
    #[must_use]
    pub const fn total_size(&self) -> u64 {
        (self.lease_pages().end + SECTOR).next_multiple_of(MIB)
    }

    const fn units(&self, count: u64) -> u64 {
        count * self.unit.bytes()
    }

    const fn page_len(&self) -> u64 {
        2 * self.max_hosts as u64 * SECTOR
    }

    fn index(&self, slot: Slot) -> u64 {
        assert!(slot.0 < self.max_hosts, "slot {slot} does not exist");
        u64::from(slot.0)
    }

    fn place(&self, offset: u64, len: usize, slot: Option<Slot>) -> Place {
        Place { file_id: self.file_id, offset, len, slot }
    }
}

/// Where the area after this one begins.
const fn after(area: &Range<u64>) -> u64 {
    area.end.next_multiple_of(SECTOR)
}

const fn sample(unit: Unit, max_hosts: u16, pages: u8) -> Layout {
    match Layout::new(FileId::ZERO, unit, max_hosts, pages) {
        Ok(layout) => layout,
        Err(_) => panic!("counts out of range"),
    }
}

// The figures that the documentation gives, checked where a change would break them.
const _: () = {
    let usual = sample(Unit::Bytes4096, 64, 16);
    assert!(usual.claims().start == 0x1000);
    assert!(
        usual.host_records().start == 0x4_1000
            && usual.host_records().end - usual.host_records().start == 512 << 10
    );
    assert!(usual.observers().start == 0xc_1000);
    assert!(usual.journals().start == 0xc_9000);
    assert!(usual.lease_pages().start == 0x1c_9000 && usual.page_len() == 512 << 10);
    assert!(usual.lease_pages().end + SECTOR == 0x9c_a000 && usual.total_size() == 10 * MIB);
    assert!(sample(Unit::Bytes4096, MAX_HOSTS, MAX_PAGES).total_size() == 40 * MIB);
    assert!(sample(Unit::Bytes512, 1, 1).total_size() == MIB);
    assert!(sample(Unit::Bytes512, 3, 1).host_records().start.is_multiple_of(SECTOR));
    // A unit number is 32 bits.
    assert!(sample(Unit::Bytes4096, MAX_HOSTS, MAX_PAGES).total_size() / 512 < u32::MAX as u64);
};
