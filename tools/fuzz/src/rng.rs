//! What a mutant is made of, from a seed.

use leasefence_core::seeded::Seeded;

/// Any number, and shapes of them that a lease file has.
pub struct Rng(Seeded);

impl Rng {
    /// Starts with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Seeded::new(seed))
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0.draw()
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap_or(0)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }

    /// Sixteen bytes.
    pub fn sixteen(&mut self) -> [u8; 16] {
        std::array::from_fn(|_| self.byte())
    }
}
