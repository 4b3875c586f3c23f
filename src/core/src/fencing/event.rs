//! What the fencer tells people: each event once, in words. Nothing is decided by it.

use std::fmt;
use std::time::Duration;

use crate::fencing::Unproven;
use crate::ids::Incarnation;

/// Why a lease ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndCause {
    /// Its end passed.
    Passed,
    /// The agent published an end that has come: a planned fence, a conviction, a foreign record, a replaced file.
    CutShort,
    /// The host was suspended (R4).
    Suspended,
    /// The page was lost, or no slot of the agent's half can be read (bounded grace of one pet interval).
    PageLost,
}

/// Why an arming or an end was not taken over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The end lies beyond now + ttl.
    BeyondTtl,
    /// An arming whose end has passed already.
    EndPassed,
    /// A new incarnation while the one before has not ended with CLEAN (R10).
    NotClean,
    /// An incarnation that is not newer than the one that ended.
    NotNewer,
    /// After disarming, a new incarnation while domains run.
    DomainsRun,
}

/// Something that people should read in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// From now on every domain process is killed at the lease's end.
    Armed(Incarnation, u32),
    /// The lease's end is latched.
    Latched(Incarnation, EndCause),
    /// Every domain process is gone, no token is open, the storage is quiet; so long after the latch.
    Clean(Incarnation, Duration),
    /// The proof waits for something else than before.
    Waits(Incarnation, Unproven),
    /// There is no proof.
    Unproven(Incarnation, Unproven),
    /// There is no proof, and the budget ends: the host resets itself.
    Resets(Incarnation, Unproven),
    /// Nothing is killed any more.
    Disarmed(u32),
    /// The agent's half asks for what it may not have.
    Refused(Incarnation, Refusal),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Armed(who, count) => write!(f, "armed for {who}, arming {count} since boot"),
            Self::Latched(who, cause) => write!(f, "lease end latched for {who}: {cause}"),
            Self::Clean(who, after) => write!(f, "CLEAN for {who}, {} ms after the latch", after.as_millis()),
            Self::Waits(who, reason) => write!(f, "not proven yet for {who}: {reason}"),
            Self::Unproven(who, reason) => write!(f, "unproven for {who}, no receipt can be given: {reason}"),
            Self::Resets(who, reason) => {
                write!(f, "resets this host, which cannot be shown to be fenced, for {who}: {reason}")
            }
            Self::Disarmed(count) => write!(f, "disarmed, arming {count}: nothing is killed from here on"),
            Self::Refused(who, refusal) => write!(f, "refused for {who}: {refusal}"),
        }
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "it passed",
            Self::CutShort => "the agent cut it short",
            Self::Suspended => "the host was suspended",
            Self::PageLost => "the page with the agent's half is lost or unreadable",
        })
    }
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProcessLeft => "a domain process is still there",
            Self::TokenOpen => "a start was permitted and its process may still appear",
            Self::TokensUnknown => {
                "the agent's half cannot be read, nobody knows which starts were permitted"
            }
            Self::StorageUnprovable => "a storage is of a kind whose quiescence cannot be shown",
            Self::StorageNotQuiet => "a storage is not shown quiet",
            Self::StorageUnknown => "domains ran, and no storage of theirs is named",
            Self::ScanFailed => "the host's domain processes are not all known",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeyondTtl => "a lease end more than one ttl ahead",
            Self::EndPassed => "an arming whose lease end has passed",
            Self::NotClean => "a new incarnation before the one before it ended with CLEAN",
            Self::NotNewer => "an incarnation that is not newer than the one that ended",
            Self::DomainsRun => "a new incarnation after disarming while domains run",
        })
    }
}
