//! Numbers that follow from a seed: the core draws no random number of its own.

/// A small generator (`SplitMix64`): its numbers look random, and are the same for a seed everywhere. They spread tries in time and
/// tell requests apart; nothing's safety rests on them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The sequence that belongs to this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number: any. No two of the first 2^64 are the same.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number, below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the generator's reference (Vigna, `splitmix64.c`), seed 0.
    #[test]
    fn the_numbers_are_splitmix64s() {
        let mut seeded = Seeded::new(0);
        let first: [u64; 3] = std::array::from_fn(|_| seeded.draw());
        assert_eq!(first, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
        assert_eq!(seeded.below(0), 0);
    }
}
