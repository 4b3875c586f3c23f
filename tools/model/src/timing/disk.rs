//! The victim's record on storage: two copies, each an atomic sector, and what a read of them shows.

use leasefence_core::format::{
    CONVICTIONS, Copies, DecodeError, FENCE_REQUESTS, HostName, HostRecord, HostState, RecordCopy,
    RecordFlags,
};
use leasefence_core::ids::{BootId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot};
use leasefence_core::marks::{Mark, Marks};

use super::rules::Rules;

/// The victim's machine.
pub(crate) const KEY: HostKey = HostKey([5; 16]);
/// Its boot.
pub(crate) const BOOT: BootId = BootId([6; 16]);
/// Its incarnation.
pub(crate) const VICTIM: Incarnation = Incarnation { slot: Slot(0), generation: Generation(1) };

/// What of a record differs between the writes of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Rec {
    /// Number of the write.
    pub(crate) sequence: Sequence,
    /// What it says.
    pub(crate) state: Says,
    /// The ttl that it carries, in ticks.
    pub(crate) ttl: u8,
    /// The ttl that the fencer keeps, in ticks.
    pub(crate) echo: u8,
}

/// The states that the victim's record passes through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Says {
    /// Not guarded yet.
    Joining,
    /// Held.
    Held,
    /// The end is latched.
    Fencing,
    /// The receipt.
    Fenced,
}

/// One copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Sector {
    /// A valid record.
    Valid(Rec),
    /// Unreadable.
    Damaged,
}

/// Both copies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Disk(pub(crate) [Sector; 2]);

/// The place of a copy in arrays.
pub(crate) fn index(copy: RecordCopy) -> usize {
    usize::from(copy == RecordCopy::B)
}

impl Disk {
    /// A write lands.
    pub(crate) fn land(&mut self, rec: Rec) {
        self.0[index(RecordCopy::of_sequence(rec.sequence))] = Sector::Valid(rec);
    }

    /// The valid copies.
    pub(crate) fn valid(&self) -> impl Iterator<Item = &Rec> {
        self.0.iter().filter_map(|sector| match sector {
            Sector::Valid(rec) => Some(rec),
            Sector::Damaged => None,
        })
    }
}

impl Sector {
    /// As a reader decodes it.
    pub(crate) fn decoded(&self, rules: &Rules) -> Result<HostRecord, DecodeError> {
        match self {
            Self::Valid(rec) => Ok(rec.record(rules)),
            Self::Damaged => Err(DecodeError::BadCrc { stored: 0, computed: 1 }),
        }
    }
}

/// Both, as a reader decodes them.
pub(crate) fn decoded(sectors: &[Sector; 2], rules: &Rules) -> Copies<HostRecord> {
    Copies { a: sectors[0].decoded(rules), b: sectors[1].decoded(rules) }
}

impl Rec {
    /// The whole record.
    fn record(&self, rules: &Rules) -> HostRecord {
        let promise = rules.promise(self.ttl);
        HostRecord {
            incarnation: VICTIM,
            boot_id: BOOT,
            sequence: self.sequence,
            host_key: KEY,
            process_nonce: Nonce(1),
            state: match self.state {
                Says::Joining => HostState::Joining,
                Says::Held => HostState::Held,
                Says::Fencing => HostState::Fencing,
                Says::Fenced => HostState::Fenced,
            },
            watchdog_class: promise.watchdog,
            flags: RecordFlags::default()
                .set(RecordFlags::RESET_ON, promise.reset_on)
                .set(RecordFlags::EXPIRE_WITHOUT_HARDWARE, promise.expire_without_hardware),
            terms: promise.terms,
            echo: rules.terms(self.echo),
            protocol_min: 1,
            protocol_max: 1,
            host_name: HostName::cut("victim"),
            fence_requests: [None; FENCE_REQUESTS],
            convictions: [None; CONVICTIONS],
            ..HostRecord::default()
        }
    }
}

impl std::fmt::Display for Rec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.state {
            Says::Joining => "joining",
            Says::Held => "held",
            Says::Fencing => "fencing",
            Says::Fenced => "fenced",
        };
        let copy = if RecordCopy::of_sequence(self.sequence) == RecordCopy::A { "A" } else { "B" };
        write!(f, "{word} no. {} (copy {copy}, ttl {}", self.sequence, self.ttl)?;
        if self.echo != self.ttl {
            write!(f, ", echo {}", self.echo)?;
        }
        f.write_str(")")
    }
}

impl std::fmt::Display for Sector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Valid(rec) => rec.fmt(f),
            Self::Damaged => f.write_str("unreadable"),
        }
    }
}

impl Marks for Rec {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.sequence.each_mark(f);
    }
}

impl Marks for Sector {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        if let Self::Valid(rec) = self {
            rec.each_mark(f);
        }
    }
}

impl Marks for Disk {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.0.each_mark(f);
    }
}
