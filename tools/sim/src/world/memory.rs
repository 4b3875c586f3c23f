//! The agent's half of the page as words of memory, from the moment on at which a fault strikes it; until then what is read is
//! what was written. The words are moved by `leasefence-page`, as it is shipped; here their writer dies between two of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use leasefence_core::fencing::{AgentHalf, HalfReading};
use leasefence_page::{AGENT_HALF_BYTES, AgentHalfIn, Words};

/// As many words as nobody writes at once.
const ALIVE: u64 = u64::MAX;
/// A word inside the contents of each slot that was ever written: of the boot id.
const STRUCK: [usize; 2] = [32, AGENT_HALF_BYTES / 2 + 32];

/// The words, how many more its writer lives to write, and whether it wanted to write one too many.
#[derive(Clone)]
struct Memory {
    words: Arc<[AtomicU64]>,
    left: Arc<AtomicU64>,
    died: Arc<AtomicBool>,
}

impl Words for Memory {
    fn load(&self, offset: usize, order: Ordering) -> u64 {
        self.words[offset / 8].load(order)
    }

    fn store(&self, offset: usize, value: u64, order: Ordering) {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(if left == ALIVE { ALIVE } else { left - 1 }, Ordering::Relaxed);
            self.words[offset / 8].store(value, order);
        } else {
            self.died.store(true, Ordering::Relaxed);
        }
    }
}

/// The half, its writer, and the fencer as its reader.
pub(crate) struct PageMemory {
    memory: Memory,
    writer: AgentHalfIn<Memory>,
    reader: AgentHalfIn<Memory>,
    found: HalfReading<(u64, AgentHalf)>,
    /// What was last written to its end.
    finished: Option<AgentHalf>,
}

impl fmt::Debug for PageMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageMemory").field("found", &self.found).finish_non_exhaustive()
    }
}

impl PageMemory {
    /// Memory to which these were written, one after the other.
    pub(crate) fn new<'a>(written: impl IntoIterator<Item = &'a AgentHalf>) -> Self {
        let words = (0..AGENT_HALF_BYTES / 8).map(|_| AtomicU64::new(0)).collect();
        let memory = Memory { words, left: Arc::new(AtomicU64::new(ALIVE)), died: Arc::default() };
        let mut this = Self {
            writer: AgentHalfIn::take_over(memory.clone()),
            reader: AgentHalfIn::new(memory.clone()),
            memory,
            found: HalfReading::Empty,
            finished: None,
        };
        written.into_iter().for_each(|half| this.write(half));
        this.fencer_reads();
        this
    }

    /// The agent writes.
    pub(crate) fn write(&mut self, half: &AgentHalf) {
        // A half that does not fit is not written.
        if self.writer.write(half).is_ok() {
            self.finished = Some(half.clone());
        }
    }

    /// The agent writes, and dies when so many words are stored. True when that was all of it.
    pub(crate) fn write_and_die(&mut self, half: &AgentHalf, words: u64) -> bool {
        let before = self.finished.take();
        self.memory.left.store(words, Ordering::Relaxed);
        self.write(half);
        self.memory.left.store(ALIVE, Ordering::Relaxed);
        let finished = !self.memory.died.swap(false, Ordering::Relaxed);
        if !finished {
            self.finished = before;
        }
        finished
    }

    /// Something else has written into both slots.
    pub(crate) fn strike(&mut self) {
        for offset in STRUCK {
            let word = self.memory.load(offset, Ordering::Relaxed);
            self.memory.store(offset, word ^ 0x55, Ordering::Relaxed);
        }
    }

    /// A new agent takes over what the one before it left, and reads it.
    pub(crate) fn agent_starts(&mut self) -> Option<AgentHalf> {
        self.writer = AgentHalfIn::take_over(self.memory.clone());
        self.copy()
    }

    /// What one reads there that has read nothing before.
    pub(crate) fn copy(&self) -> Option<AgentHalf> {
        AgentHalfIn::new(self.memory.clone()).read().good().map(|(_, half)| half)
    }

    /// A new fencer has read nothing yet.
    pub(crate) fn fencer_starts(&mut self) {
        (self.reader, self.found) = (AgentHalfIn::new(self.memory.clone()), HalfReading::Empty);
    }

    /// The fencer looks.
    pub(crate) fn fencer_reads(&mut self) -> HalfReading<&AgentHalf> {
        self.found = self.reader.read();
        match &self.found {
            HalfReading::Good((_, half)) => HalfReading::Good(half),
            HalfReading::Empty => HalfReading::Empty,
            HalfReading::Bad => HalfReading::Bad,
        }
    }

    /// True unless the fencer has found something that nobody has written to its end.
    pub(crate) fn found_what_was_written(&self) -> bool {
        match &self.found {
            HalfReading::Good((_, half)) => self.finished.as_ref() == Some(half),
            HalfReading::Empty | HalfReading::Bad => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasefence_core::fencing::StartToken;
    use leasefence_core::ids::Sequence;

    fn half(issued: u64) -> AgentHalf {
        let tokens = vec![StartToken::default(); usize::try_from(issued).unwrap_or_default()];
        AgentHalf { issued: Sequence(issued), tokens, ..AgentHalf::default() }
    }

    #[test]
    fn wherever_its_writer_dies_the_half_before_is_read_until_the_last_word_is_there() {
        let mut dead_at = 0;
        loop {
            let mut memory = PageMemory::new([&half(1), &half(2)]);
            let finished = memory.write_and_die(&half(3), dead_at);
            let expected = half(if finished { 3 } else { 2 });
            assert_eq!(memory.fencer_reads(), HalfReading::Good(&expected), "{dead_at} words");
            assert!(memory.found_what_was_written());
            assert_eq!(memory.agent_starts(), Some(expected));
            memory.write(&half(4));
            assert_eq!(memory.fencer_reads(), HalfReading::Good(&half(4)));
            if finished {
                break;
            }
            dead_at += 1;
        }
        assert!(dead_at > 20, "it has more words than that");
    }

    #[test]
    fn a_half_that_was_struck_is_bad_until_its_agent_writes_again() {
        let mut memory = PageMemory::new([&half(1), &half(2)]);
        memory.strike();
        assert_eq!(memory.fencer_reads(), HalfReading::Bad);
        assert_eq!(memory.copy(), None);
        memory.write(&half(3));
        assert_eq!(memory.fencer_reads(), HalfReading::Good(&half(3)));
    }
}
