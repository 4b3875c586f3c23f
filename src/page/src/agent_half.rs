//! The agent's half by itself, over any memory: the simulator has memory whose writer dies between two words.

use leasefence_core::fencing::{AgentHalf, HalfReading};

use crate::codec::EncodeError;
use crate::layout::AGENT_SLOT_BYTES;
use crate::slots::{Place, Slots, Words};

/// The bytes of both its slots.
pub const AGENT_HALF_BYTES: usize = 2 * AGENT_SLOT_BYTES;

/// The agent's half in memory of [`AGENT_HALF_BYTES`], for one writer or one reader.
pub struct AgentHalfIn<M>(Slots<AgentHalf, M>);

impl<M: Words> AgentHalfIn<M> {
    /// For a reader that has read nothing yet.
    #[must_use]
    pub fn new(memory: M) -> Self {
        Self(Slots::new(memory, Place { offset: 0, slot_bytes: AGENT_SLOT_BYTES }))
    }

    /// For a writer, which goes on where the one before it stopped.
    #[must_use]
    pub fn take_over(memory: M) -> Self {
        Self(Self::new(memory).0.take_over())
    }

    /// The newest whole slot, and its sequence: as [`crate::FencerPage::read_agent`] and [`crate::AgentPage::read_own`] find it.
    pub fn read(&mut self) -> HalfReading<(u64, AgentHalf)> {
        let mut half = AgentHalf::default();
        match self.0.read(&mut half) {
            HalfReading::Good(sequence) => HalfReading::Good((sequence, half)),
            HalfReading::Empty => HalfReading::Empty,
            HalfReading::Bad => HalfReading::Bad,
        }
    }

    /// Writes the half as [`crate::AgentPage::write`] does.
    ///
    /// # Errors
    /// When a list is longer than the page has room for; nothing is written then.
    pub fn write(&mut self, half: &AgentHalf) -> Result<(), EncodeError> {
        self.0.write(half).map(|_| ())
    }
}
