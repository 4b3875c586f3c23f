//! A host's sector of a lease page: its entries about the domains of that page (PROTOCOL 4).
//!
//! ```text
//! 64 entry 0 (64 bytes) | entry 1 | … | entry 61      4032 spare 64
//!
//! entry:  0 uuid 16 | term 4 | want_term 4       24 state 1 | flags 1 | priority 1 | base 1
//!        28 pred_slot 2 | vcpus 2                32 pred_generation 4 | memory_mib 4
//!        40 definition hash 8 | version 4        52 changed (wall s) 4 | failures 1 | deaths 1 | spare 6
//! ```

use std::collections::BTreeMap;

use super::copies::Versioned;
use super::layout::{Place, SECTOR_LEN};
use super::raw;
use super::sector::{DecodeError, HEADER_LEN, SectorHeader, SectorKind};
use crate::ids::{BootId, DomainId, Generation, Incarnation, Sequence, Slot, Term};

/// How many entries a host has in one page. A full page refuses another; nothing is evicted.
pub const PAGE_ENTRIES: usize = 62;

const ENTRY_LEN: usize = 64;
const ENTRIES_AT: usize = HEADER_LEN;
const ENTRIES_END: usize = ENTRIES_AT + PAGE_ENTRIES * ENTRY_LEN;
const _: () = assert!(ENTRIES_END + 64 == SECTOR_LEN);

const UUID_AT: usize = 0;
const TERM_AT: usize = UUID_AT + 16;
const WANT_TERM_AT: usize = TERM_AT + 4;
const STATE_AT: usize = WANT_TERM_AT + 4;
const FLAGS_AT: usize = STATE_AT + 1;
const PRIORITY_AT: usize = FLAGS_AT + 1;
const BASE_AT: usize = PRIORITY_AT + 1;
const PRED_SLOT_AT: usize = BASE_AT + 1;
const VCPUS_AT: usize = PRED_SLOT_AT + 2;
const PRED_GENERATION_AT: usize = VCPUS_AT + 2;
const MEMORY_AT: usize = PRED_GENERATION_AT + 4;
const HASH_AT: usize = MEMORY_AT + 4;
const VERSION_AT: usize = HASH_AT + 8;
const CHANGED_AT: usize = VERSION_AT + 4;
const FAILURES_AT: usize = CHANGED_AT + 4;
const DEATHS_AT: usize = FAILURES_AT + 1;
const ENTRY_SPARE_AT: usize = DEATHS_AT + 1;
const _: () = assert!(ENTRY_SPARE_AT + 6 == ENTRY_LEN && HASH_AT == 40);

macro_rules! coded {
    ($(#[$doc:meta])* $name:ident, $field:literal: $($(#[$var_doc:meta])* $variant:ident = $code:literal $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub enum $name { $($(#[$var_doc])* $variant),+ }

        impl $name {
            /// Its code on disk.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The word for it in output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn from_code(code: u8) -> Result<Self, DecodeError> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    other => Err(DecodeError::BadValue { field: $field, value: other.into() }),
                }
            }
        }
    };
}

coded! {
    /// What a host says of a domain.
    LeaseState, "state":
    /// Nothing, beside perhaps a want.
    #[default]
    Empty = 0 "empty",
    /// It has the lease: the domain runs here, or may be started here.
    Own = 1 "own",
    /// It ran here and should run again, anywhere.
    Orphan = 2 "orphan",
    /// It was stopped, and nobody restarts it.
    Stopped = 3 "stopped",
    /// It is about to arrive here by a live migration.
    Incoming = 4 "incoming",
    /// Its memory was saved to an image here.
    Saved = 5 "saved",
}

coded! {
    /// What the top entry of the domain was when this one was taken: what a start that never ran goes back to.
    LeaseBase, "base":
    /// There was none.
    #[default]
    None = 0 "none",
    /// An orphan, or own by a gone incarnation.
    Recoverable = 1 "recoverable",
    /// Stopped.
    Stopped = 2 "stopped",
    /// Saved.
    Saved = 3 "saved",
}

/// Flags of an entry. Unknown bits are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LeaseFlags(pub u8);

impl LeaseFlags {
    /// The domain must not run without its lease.
    pub const PROTECTED: Self = Self(1);
    /// It is restarted after its host's death.
    pub const HA: Self = Self(2);
    /// It failed too often: nobody recovers it until an operator says so.
    pub const HOLD: Self = Self(4);
    /// The want is for `incoming`.
    pub const WANT_INCOMING: Self = Self(8);

    /// True when every bit of `other` is set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set or cleared.
    #[must_use]
    pub fn set(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { Self(self.0 & !other.0) }
    }
}

/// A host's entry about one domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LeaseEntry {
    /// Which domain; never the nil uuid, which marks an unused place.
    pub domain: DomainId,
    /// The term of the state.
    pub term: Term,
    /// The term that is wanted; 0 when none is.
    pub want_term: Term,
    /// What this host says of the domain.
    pub state: LeaseState,
    /// How it is guarded.
    pub flags: LeaseFlags,
    /// Among HA domains, higher goes first.
    pub priority: u8,
    /// What the top was when this was taken.
    pub base: LeaseBase,
    /// The gone incarnation from which it was taken; its generation is never 0.
    pub pred: Option<Incarnation>,
    /// Virtual processors.
    pub vcpus: u16,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// H64 of the disk chain.
    pub definition_hash: u64,
    /// Version of the stored definition.
    pub definition_version: u32,
    /// Wall time of the last change in seconds since 1970, for people.
    pub changed_s: u32,
    /// Starts that failed.
    pub failures: u8,
    /// Hosts that died with it.
    pub deaths: u8,
}

impl LeaseEntry {
    fn encode(&self, room: &mut [u8]) {
        let pred = self.pred.unwrap_or_default();
        raw::put(room, UUID_AT, &self.domain.0);
        raw::put_u32(room, TERM_AT, self.term.0);
        raw::put_u32(room, WANT_TERM_AT, self.want_term.0);
        room[STATE_AT] = self.state.code();
        room[FLAGS_AT] = self.flags.0;
        room[PRIORITY_AT] = self.priority;
        room[BASE_AT] = self.base.code();
        raw::put_u16(room, PRED_SLOT_AT, pred.slot.0);
        raw::put_u16(room, VCPUS_AT, self.vcpus);
        raw::put_u32(room, PRED_GENERATION_AT, pred.generation.0);
        raw::put_u32(room, MEMORY_AT, self.memory_mib);
        raw::put_u64(room, HASH_AT, self.definition_hash);
        raw::put_u32(room, VERSION_AT, self.definition_version);
        raw::put_u32(room, CHANGED_AT, self.changed_s);
        room[FAILURES_AT] = self.failures;
        room[DEATHS_AT] = self.deaths;
    }

    fn decode(room: &[u8]) -> Result<Self, DecodeError> {
        let pred = Incarnation {
            slot: Slot(raw::get_u16(room, PRED_SLOT_AT)),
            generation: Generation(raw::get_u32(room, PRED_GENERATION_AT)),
        };
        Ok(Self {
            domain: DomainId(raw::get(room, UUID_AT)),
            term: Term(raw::get_u32(room, TERM_AT)),
            want_term: Term(raw::get_u32(room, WANT_TERM_AT)),
            state: LeaseState::from_code(room[STATE_AT])?,
            flags: LeaseFlags(room[FLAGS_AT]),
            priority: room[PRIORITY_AT],
            base: LeaseBase::from_code(room[BASE_AT])?,
            pred: (pred.generation.0 != 0).then_some(pred),
            vcpus: raw::get_u16(room, VCPUS_AT),
            memory_mib: raw::get_u32(room, MEMORY_AT),
            definition_hash: raw::get_u64(room, HASH_AT),
            definition_version: raw::get_u32(room, VERSION_AT),
            changed_s: raw::get_u32(room, CHANGED_AT),
            failures: room[FAILURES_AT],
            deaths: room[DEATHS_AT],
        })
    }
}

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
        let header = SectorHeader {
            slot: self.incarnation.slot,
            generation: self.incarnation.generation,
            boot_id: self.boot_id,
            sequence: self.sequence,
        };
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
        let incarnation = Incarnation { slot: header.slot, generation: header.generation };
        let mut page = Self::new(incarnation, header.boot_id, header.sequence);
        for room in record[ENTRIES_AT..ENTRIES_END].chunks_exact(ENTRY_LEN) {
            if room.iter().any(|byte| *byte != 0) {
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
