//! What the judge says of the guest's disk, with its evidence.

use std::fmt;

use serde::Serialize;

use crate::record::Record;

/// One life of the guest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Life {
    /// Its claim: who, where, since when.
    pub claim: Record,
    /// The last of its writes that reached the disk.
    pub last: Option<Record>,
}

impl Life {
    /// How many writes it made, as far as they reached the disk.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.last.as_ref().map_or(0, |last| last.counter)
    }
}

/// How a second writer showed itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A copy composed new writes after its successor had begun: two ran at once.
    WroteOn,
    /// What a copy had in flight reached the disk after its successor had begun.
    LateWrite,
    /// Two copies began without seeing one another.
    SameGeneration,
    /// A copy wrote where only another may.
    Stranger,
}

/// A record that is where it must not be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Evidence {
    /// Its block on the disk, of 4 KiB.
    pub block: u32,
    /// It.
    pub record: Record,
}

/// Two copies wrote, or one's writes came after another had begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SplitBrain {
    /// How it shows.
    pub fault: Fault,
    /// The claim of the copy that had a right to the disk no more.
    pub older: Box<Record>,
    /// The claim of the copy that had the right to it.
    pub newer: Box<Record>,
    /// What the older one wrote too late, in the order in which it was composed. Empty where the claims say it all.
    pub evidence: Vec<Evidence>,
}

impl fmt::Display for SplitBrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::WroteOn => "TWO WRITERS, the one wrote on after the other had begun",
            Fault::LateWrite => "A LATE WRITE, it reached the disk after the next life had begun",
            Fault::SameGeneration => "TWO WRITERS, begun without seeing one another",
            Fault::Stranger => "TWO WRITERS, the one in the place of the other",
        };
        write!(f, "{what}: {}; then {}", self.newer, self.older_one())?;
        if let Some(late) = self.evidence.last() {
            write!(f, "; {}", self.lateness(&late.record))?;
        }
        Ok(())
    }
}

impl SplitBrain {
    /// The older one's records in words: how many, and the last of them.
    fn older_one(&self) -> String {
        match self.evidence.as_slice() {
            [] => self.older.to_string(),
            [only] => format!("{} in block {}", only.record, only.block),
            [first, .., last] => {
                let count = self.evidence.len();
                format!(
                    "{count} blocks of the other's, from write {} to {} in block {}",
                    first.record.counter, last.record, last.block
                )
            }
        }
    }

    /// How late a record is, as far as the disk can tell: it knows when it was composed, not when it arrived.
    fn lateness(&self, record: &Record) -> String {
        let after = record.at.as_second() - self.newer.at.as_second();
        if after >= 0 {
            format!("composed {after} s after that claim, by the hosts' clocks")
        } else {
            format!("composed {} s before that claim, by the hosts' clocks, and arrived after it", -after)
        }
    }
}

/// A block that is not as the guest, alone or not, can have left it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Damage {
    /// Which, counted in 4 KiB.
    pub block: u32,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}: {}", self.block, self.what)
    }
}

/// The sum of a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// One writer at a time, and nothing lost.
    Clean,
    /// One writer at a time, but the storage tore or lost a write.
    Damaged,
    /// Two writers.
    SplitBrain,
}

/// What is to be said of a disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Verdict {
    /// The lives of the guest, in the order of generations.
    pub lives: Vec<Life>,
    /// Every sign of a second writer.
    pub split_brains: Vec<SplitBrain>,
    /// What the storage has torn or lost.
    pub damage: Vec<Damage>,
    /// What is odd, but no fault.
    pub notes: Vec<String>,
}

impl Verdict {
    /// The worst of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if !self.split_brains.is_empty() {
            Outcome::SplitBrain
        } else if !self.damage.is_empty() {
            Outcome::Damaged
        } else {
            Outcome::Clean
        }
    }

    /// Writes of all lives.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.lives.iter().map(Life::writes).sum()
    }

    /// Nothing, if it is clean.
    ///
    /// # Errors
    /// With the worst that there is.
    pub fn into_result(self) -> Result<Self, Condemned> {
        if let Some(split_brain) = self.split_brains.into_iter().next() {
            return Err(Condemned::SplitBrain(split_brain));
        }
        match self.damage.into_iter().next() {
            Some(damage) => Err(Condemned::Damage(damage)),
            None => Ok(Self { split_brains: Vec::new(), damage: Vec::new(), ..self }),
        }
    }
}

/// Why a disk is not clean.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Condemned {
    /// Two writers.
    #[error("SPLIT BRAIN: {0}")]
    SplitBrain(SplitBrain),
    /// Torn or lost writes.
    #[error("the guest's disk is damaged: {0}")]
    Damage(Damage),
}
