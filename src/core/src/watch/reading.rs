//! One slot's two copies as a read showed them, with the two instants that count (R3).

use std::sync::Arc;

use crate::format::{Copies, DecodeError, HostRecord, HostState, RecordCopy, is_zero};
use crate::planted::planted;
use crate::time::{Instant, Now};

/// Bytes of a host record; what follows it in its unit is zero, and the decoder checks that.
pub(super) const RECORD_BYTES: usize = 512;

/// One slot's two copies, as read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reading {
    /// Shared, since most slots show the same in one scan after another.
    shown: Arc<Shown>,
    /// Before the read was issued: the earliest moment that it can speak of.
    pub started: Instant,
    /// After it returned: from here a stall is counted.
    pub ended: Now,
}

/// What the two copies showed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Shown {
    copies: Copies<HostRecord>,
    /// The records' bytes: a copy that is unreadable in another way than before has changed as well.
    bytes: [Vec<u8>; 2],
}

impl Reading {
    /// A reading of both copies, whose units' bytes are `units` (A, then B).
    #[must_use]
    pub fn new(copies: Copies<HostRecord>, units: [&[u8]; 2], started: Instant, ended: Now) -> Self {
        let bytes = units.map(|unit| unit[..unit.len().min(RECORD_BYTES)].to_vec());
        Self { shown: Arc::new(Shown { copies, bytes }), started, ended }
    }

    /// A later reading of units whose bytes are the same: nothing is decoded again. None when they are not.
    pub(super) fn again(&self, units: [&[u8]; 2], started: Instant, ended: Now) -> Option<Self> {
        let same = RecordCopy::BOTH.into_iter().zip(units).all(|(copy, unit)| self.shows(copy, unit));
        same.then(|| Self { shown: Arc::clone(&self.shown), started, ended })
    }

    /// What a copy says in a later read of a unit whose bytes are the same. None when they are not.
    pub(super) fn copy_again(
        &self,
        copy: RecordCopy,
        unit: &[u8],
    ) -> Option<Result<HostRecord, DecodeError>> {
        self.shows(copy, unit).then(|| self.copies().get(copy).clone())
    }

    /// True when these bytes of a copy's unit say what they said in this reading. Not where it could not understand them:
    /// the bytes behind the record, which are not kept, may be what was wrong with it.
    fn shows(&self, copy: RecordCopy, unit: &[u8]) -> bool {
        let bytes = &self.shown.bytes[usize::from(copy == RecordCopy::B)];
        let whole = matches!(self.copies().get(copy), Ok(_) | Err(DecodeError::Empty));
        let same = |(record, rest): (&[u8], &[u8])| record == bytes && is_zero(rest);
        whole && unit.split_at_checked(RECORD_BYTES).is_some_and(same)
    }

    /// The two copies.
    #[must_use]
    pub fn copies(&self) -> &Copies<HostRecord> {
        &self.shown.copies
    }

    #[cfg(feature = "model-check")]
    pub(super) fn copies_mut(&mut self) -> &mut Copies<HostRecord> {
        &mut Arc::make_mut(&mut self.shown).copies
    }

    /// True when either copy differs from `earlier`: a lower sequence, and valid to unreadable and back included.
    #[must_use]
    pub fn changed_since(&self, earlier: &Self) -> bool {
        if planted!(OneCopyOfTwo) {
            return self.newest() != earlier.newest();
        } else if planted!(StallNeedsHigherSequence) {
            return self.advanced_since(earlier);
        } else if planted!(UnreadableIsUnchanged) {
            let changed = |copy| {
                self.copies().get(copy).is_ok() && self.copies().get(copy) != earlier.copies().get(copy)
            };
            return RecordCopy::BOTH.into_iter().any(changed);
        }
        !self.shows_the_same(earlier)
    }

    pub(super) fn shows_the_same(&self, earlier: &Self) -> bool {
        Arc::ptr_eq(&self.shown, &earlier.shown) || self.shown == earlier.shown
    }

    /// The valid copy with the highest (generation, sequence), the one that is taken.
    #[must_use]
    pub fn newest(&self) -> Option<&HostRecord> {
        self.copies().newest().map(|(_, record)| record)
    }

    /// True when the newest record is further than the newest of `earlier`: a sign of life, not only a change.
    #[must_use]
    pub fn advanced_since(&self, earlier: &Self) -> bool {
        let key =
            |reading: &Self| reading.newest().map(|record| (record.incarnation.generation, record.sequence));
        key(self) > key(earlier)
    }

    /// True when the slot has no host: both copies never written, or the newest is `free`.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.copies().both_empty() || self.newest().is_some_and(|record| record.state == HostState::Free)
    }

    /// Why a copy's version cannot be understood by this program, if so: then nothing can be said of the host.
    #[must_use]
    pub fn unknown_version(&self) -> Option<&DecodeError> {
        [RecordCopy::A, RecordCopy::B].into_iter().find_map(|copy| match self.copies().get(copy) {
            Err(error @ (DecodeError::WrongVersion(_) | DecodeError::BadValue { .. })) => Some(error),
            _ => None,
        })
    }

    /// What is wrong with the copies, in words; empty when both are valid.
    #[must_use]
    pub fn faults(&self) -> String {
        let fault = |name: &str, copy: &Result<HostRecord, DecodeError>| {
            copy.as_ref().err().map(|error| format!("copy {name}: {error}"))
        };
        let both = [fault("A", &self.copies().a), fault("B", &self.copies().b)];
        both.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}
