//! What the agent says of one host, in stable words.

use serde::{Deserialize, Serialize};

/// What is said of a host. Only `gone` permits anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// It has no lease yet.
    Joining,
    /// Its record advances.
    Alive,
    /// It has begun to fence itself.
    Fencing,
    /// Its record does not advance.
    Stalled,
    /// Its incarnation is provably over.
    Gone,
    /// In maintenance: it never expires.
    Disarmed,
    /// Nothing can be said; the reason says why.
    Unknown,
}

impl HostState {
    /// The word for it, as in the JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Alive => "alive",
            Self::Fencing => "fencing",
            Self::Stalled => "stalled",
            Self::Gone => "gone",
            Self::Disarmed => "disarmed",
            Self::Unknown => "unknown",
        }
    }
}

/// What a verdict means for whoever asked. The command line's exit code follows from it and from nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictClass {
    /// The incarnation is gone: its domains may be started. Exit code 0.
    MayStart,
    /// Alive, in maintenance, or joining and advancing. Exit code 3.
    Alive,
    /// Not provable, or not yet. Exit code 4.
    NotProvable,
}

impl VerdictClass {
    /// The exit code of `leasefence verdict`.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::MayStart => 0,
            Self::Alive => 3,
            Self::NotProvable => 4,
        }
    }
}

/// The answer to "may the domains of this host be started?". It is about the incarnation that was in the host's
/// record when the question came, and about no later one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VerdictAnswer {
    /// The host's name, as in its record.
    pub host: String,
    /// Its slot.
    pub slot: u16,
    /// The life of the slot that the verdict is about.
    pub generation: u32,
    /// The same, as `slot.generation`.
    pub incarnation: String,
    /// What is said.
    pub state: HostState,
    /// What follows from it.
    pub class: VerdictClass,
    /// Why it is gone: `expired`, `fenced`, `superseded`, `released` or `confirmed`; only with state `gone`.
    pub evidence: Option<String>,
    /// When this host could first say so: wall time in milliseconds since 1970, for people; only with `gone`.
    pub since_unix_ms: Option<u64>,
    /// A sentence that says why, and what would have to happen for a verdict where there is none.
    pub reason: String,
    /// Time until the verdict if nothing changes; absent when none can come by waiting.
    pub verdict_left_ms: Option<u64>,
}
