//! What a scenario is, and how one fails.

use std::fmt;

use leasefence_demo::wait::WaitError;

use crate::cluster::ClusterError;
use crate::lab::LabError;
use crate::stage::Stage;
use crate::storage::Storage;

/// Why a scenario is red.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The one thing that must never happen.
    #[error("SPLIT BRAIN: {text}")]
    SplitBrain {
        /// Whether all signs of it are writes that came late, and nobody wrote on.
        late: bool,
        /// What the disk shows.
        text: String,
    },
    /// The disk holds what nobody wrote.
    #[error("{0}")]
    Damaged(String),
    /// A host is known to be gone by another evidence than the one that there should be.
    #[error("{0}")]
    Evidence(String),
    /// Something that must be seen was not.
    #[error("{0}")]
    Unmet(String),
    /// Leasefence does not do, or not in time, what it should.
    #[error(transparent)]
    Cluster(ClusterError),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Whether the disk shows it for ever, so that the next scenario needs a new one.
    #[must_use]
    pub fn spoils_the_disk(&self) -> bool {
        matches!(self, Self::SplitBrain { .. } | Self::Damaged(_))
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Wait(WaitError::Interrupted)
            | ClusterError::Lab(LabError::Wait(WaitError::Interrupted)) => Self::Interrupted,
            other => Self::Cluster(other),
        }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        ClusterError::from(error).into()
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Self {
        ClusterError::from(error).into()
    }
}

/// In which way a scenario is known to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Red {
    /// The disk shows that a dead guest's writes came late, and nothing else.
    LateWrite,
    /// All is seen but the evidence.
    Evidence,
}

/// A failure that is expected.
#[derive(Clone, Copy, Debug)]
pub struct KnownRed {
    /// Where.
    pub on: Storage,
    /// How.
    pub red: Red,
    /// Why.
    pub why: &'static str,
}

impl KnownRed {
    /// Whether this is the failure that is expected.
    #[must_use]
    pub fn is(&self, failure: &Failure) -> bool {
        match failure {
            Failure::SplitBrain { late, .. } => *late && self.red == Red::LateWrite,
            Failure::Evidence(_) => self.red == Red::Evidence,
            _ => false,
        }
    }
}

/// A scenario: what is done to the host that runs the guest, and what must be seen.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done and what must be seen, in a sentence that begins with the victim.
    pub what: &'static str,
    /// On which storage it means something.
    pub on: &'static [Storage],
    /// On which storage CI plays it.
    pub in_ci: &'static [Storage],
    /// It leaves the hosts so little time that no other lab may be played on this machine meanwhile.
    pub alone: bool,
    /// What it does lies outside the promise: what comes of it is reported, and is neither green nor red.
    pub outside: bool,
    /// Where it is known to be red, and why. When it passes there, or fails otherwise, that is red, too: the list is wrong.
    pub known_reds: &'static [KnownRed],
    /// Plays it.
    pub play: fn(&mut Stage<'_>) -> Result<(), Failure>,
}

/// Both kinds of storage.
pub const EVERYWHERE: &[Storage] = &[Storage::Nfs, Storage::Iscsi];

impl Scenario {
    /// A scenario that is played everywhere, by `lab-full` alone, and must pass.
    #[must_use]
    pub const fn new(
        name: &'static str,
        what: &'static str,
        play: fn(&mut Stage<'_>) -> Result<(), Failure>,
    ) -> Self {
        Self { name, what, on: EVERYWHERE, in_ci: &[], alone: false, outside: false, known_reds: &[], play }
    }

    /// The same, played by CI on some storage, too.
    #[must_use]
    pub const fn in_ci(self, on: &'static [Storage]) -> Self {
        Self { in_ci: on, ..self }
    }

    /// The same, on some storage only.
    #[must_use]
    pub const fn only_on(self, on: &'static [Storage]) -> Self {
        Self { on, ..self }
    }

    /// The same, known to be red.
    #[must_use]
    pub const fn known_red(self, known_reds: &'static [KnownRed]) -> Self {
        Self { known_reds, ..self }
    }

    /// The same, played while no other lab of this machine plays.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// The same, outside the promise.
    #[must_use]
    pub const fn outside(self) -> Self {
        Self { outside: true, ..self }
    }

    /// As CI plays it, if it does.
    #[must_use]
    pub fn as_in_ci(&self) -> Option<Self> {
        (!self.in_ci.is_empty()).then_some(Self { on: self.in_ci, ..*self })
    }

    /// How it is expected to be red on this storage, if it is.
    #[must_use]
    pub fn known_red_on(&self, storage: Storage) -> Option<&'static KnownRed> {
        self.known_reds.iter().find(|red| red.on == storage)
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
