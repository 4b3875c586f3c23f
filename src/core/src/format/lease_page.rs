//! A host's sector of a lease page: its entries about the domains of that page (PROTOCOL 4).
//!
//! ```text
//! 64 entry 0 (64 bytes) | entry 1 | … | entry 61      4032 spare 64
//! ```

use std::collections::BTreeMap;

use super::copies::Versioned;
use super::layout::{Place, SECTOR_LEN};
use super::lease_entry::{ENTRY_LEN, LeaseEntry};
use super::raw;
use super::sector::{DecodeError, HEADER_LEN, SectorHeader, SectorKind};
use crate::ids::{BootId, DomainId, Generation, Incarnation, Sequence};

/// How many entries a host has in one page. A full page refuses another; nothing is evicted.
pub const PAGE_ENTRIES: usize = 62;

const ENTRIES_AT: usize = HEADER_LEN;
const ENTRIES_END: usize = ENTRIES_AT + PAGE_ENTRIES * ENTRY_LEN;
const _: () = assert!(ENTRIES_END + 64 == SECTOR_LEN);

/// All places of a page's sector are in use, or the entry names no domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("this host's sector of the lease page is full ({PAGE_ENTRIES} domains): nothing is evicted")]
pub struct PageFull;

/// A host's sector of one lease page: at most [`PAGE_ENTRIES`] entries, one a domain.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct LeasePage {
    /// Whose it is: the incarnation of all its entries.
    pub incarnation: Incarnation,
    /// The boot in which it was written.
    pub boot_id: BootId,
    /// Number of the write.
    pub sequence: Sequence,
    entries: BTreeMap<DomainId, LeaseEntry>,
}

impl LeasePage {
    /// A sector without entries.
    #[must_use]
    pub fn new(incarnation: Incarnation, boot_id: BootId, sequence: Sequence) -> Self {
        Self { incarnation, boot_id, sequence, entries: BTreeMap::new() }
    }

    /// The entry of a domain.
    #[must_use]
    pub fn get(&self, domain: DomainId) -> Option<&LeaseEntry> {
        self.entries.get(&domain)
    }

    /// Puts an entry in, in the place of the domain's former one, which is returned.
    ///
    /// # Errors
    /// [`PageFull`] when it is another domain's and no place is left, or when it has the nil uuid, for which there is none.
    pub fn insert(&mut self, entry: LeaseEntry) -> Result<Option<LeaseEntry>, PageFull> {
        let known = self.entries.contains_key(&entry.domain);
        if entry.domain == DomainId::default() || (!known && self.entries.len() >= PAGE_ENTRIES) {
            return Err(PageFull);
        }
        Ok(self.entries.insert(entry.domain, entry))
    }

    /// Takes a domain's entry out.
    pub fn remove(&mut self, domain: DomainId) -> Option<LeaseEntry> {
        self.entries.remove(&domain)
    }

    /// All entries, by uuid.
    pub fn entries(&self) -> impl Iterator<Item = &LeaseEntry> {
        self.entries.values()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The 4096 bytes of the sector, entries by uuid.
    #[must_use]
    pub fn encode(&self, place: &Place) -> Vec<u8> {
        let header = SectorHeader::of(self.incarnation, self.boot_id, self.sequence);
        header.encode(SectorKind::LeasePage, place, |record| {
            let rooms = record[ENTRIES_AT..ENTRIES_END].chunks_exact_mut(ENTRY_LEN);
            for (room, entry) in rooms.zip(self.entries.values()) {
                entry.encode(room);
            }
        })
    }

    /// The sector in these 4096 bytes.
    ///
    /// # Errors
    /// What is wrong with it. [`DecodeError::Empty`] counts as "no entries" only while both copies of that slot's record
    /// are empty or `free`; else the sector is unreadable like any other damaged one.
    pub fn decode(place: &Place, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (header, record) = SectorHeader::decode(SectorKind::LeasePage, place, bytes)?;
        let incarnation = header.incarnation();
        let mut page = Self::new(incarnation, header.boot_id, header.sequence);
        for room in record[ENTRIES_AT..ENTRIES_END].chunks_exact(ENTRY_LEN) {
            if !raw::is_zero(room) {
                page.admit(LeaseEntry::decode(room)?)?;
            }
        }
        Ok(page)
    }

    /// One domain has one entry, and an entry has a domain: else the reader could believe the wrong one.
    fn admit(&mut self, entry: LeaseEntry) -> Result<(), DecodeError> {
        match self.insert(entry) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(DecodeError::BadValue { field: "uuid (twice)", value: 0 }),
            Err(PageFull) => Err(DecodeError::BadValue { field: "uuid (nil)", value: 0 }),
        }
    }
}

impl Versioned for LeasePage {
    fn version(&self) -> (Generation, Sequence) {
        (self.incarnation.generation, self.sequence)
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for LeasePage {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.incarnation.generation.each_mark(f);
        self.sequence.each_mark(f);
        for entry in self.entries.values_mut() {
            entry.each_mark(f);
        }
    }
}
