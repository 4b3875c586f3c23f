//! One host's entry about one domain, in its sector of a lease page (PROTOCOL 4). 64 bytes.
//!
//! ```text
//!  0 uuid 16 | term 4 | want_term 4       24 state 1 | flags 1 | priority 1 | base 1
//! 28 pred_slot 2 | vcpus 2                32 pred_generation 4 | memory_mib 4
//! 40 definition hash 8 | version 4        52 changed (wall s) 4 | failures 1 | deaths 1 | spare 6
//! ```

use super::codes::codes;
use super::raw;
use super::sector::DecodeError;
use crate::ids::{DomainId, Generation, Incarnation, Slot, Term};

pub(super) const ENTRY_LEN: usize = 64;

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

/// What a host says of a domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum LeaseState {
    /// Nothing, beside perhaps a want.
    #[default]
    Empty,
    /// It has the lease: the domain runs here, or may be started here.
    Own,
    /// It ran here and should run again, anywhere.
    Orphan,
    /// It was stopped, and nobody restarts it.
    Stopped,
    /// It is about to arrive here by a live migration.
    Incoming,
    /// Its memory was saved to an image here.
    Saved,
}

/// What the top entry of the domain was when this one was taken: what a start that never ran goes back to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum LeaseBase {
    /// There was none.
    #[default]
    None,
    /// An orphan, or own by a gone incarnation.
    Recoverable,
    /// Stopped.
    Stopped,
    /// Saved.
    Saved,
}

codes! { LeaseState, "state":
    Empty = 0 "empty", Own = 1 "own", Orphan = 2 "orphan", Stopped = 3 "stopped", Incoming = 4 "incoming",
    Saved = 5 "saved",
}
codes! { LeaseBase, "base":
    None = 0 "none", Recoverable = 1 "recoverable", Stopped = 2 "stopped", Saved = 3 "saved",
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
    pub(super) fn encode(&self, room: &mut [u8]) {
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

    pub(super) fn decode(room: &[u8]) -> Result<Self, DecodeError> {
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

#[cfg(feature = "model-check")]
impl crate::marks::Marks for LeaseEntry {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.changed_s = 0;
        self.term.each_mark(f);
        self.want_term.each_mark(f);
        if let Some(pred) = &mut self.pred {
            pred.generation.each_mark(f);
        }
    }
}
