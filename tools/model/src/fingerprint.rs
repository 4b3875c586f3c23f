//! A 128-bit fingerprint of a state: what the search remembers instead of the state. Two states with one fingerprint
//! would hide each other: with ten million states that has a chance of one in 10^24. It never differs between runs.

use std::hash::{Hash, Hasher};

/// The fingerprint of anything that can be hashed.
pub(crate) fn fingerprint(value: &impl Hash) -> u128 {
    let mut lanes = Lanes::default();
    value.hash(&mut lanes);
    lanes.both()
}

/// Two 64-bit hashes with different constants, over the same words.
struct Lanes {
    first: u64,
    second: u64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { first: 0x243f_6a88_85a3_08d3, second: 0x1319_8a2e_0370_7344 }
    }
}

/// The low and the high half.
fn halves(value: u128) -> [u64; 2] {
    let low = u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
    [low, u64::try_from(value >> 64).unwrap_or_default()]
}

/// Both halves of a 128-bit product, folded.
fn fold(a: u64, b: u64) -> u64 {
    let [low, high] = halves(u128::from(a).wrapping_mul(u128::from(b)));
    low ^ high
}

impl Lanes {
    fn word(&mut self, word: u64) {
        self.first = fold(self.first ^ word, 0x9e37_79b9_7f4a_7c15).wrapping_add(0xa409_3822_299f_31d0);
        self.second = fold(
            self.second.rotate_left(23) ^ word.wrapping_add(0x082e_fa98_ec4e_6c89),
            0xc2b2_ae3d_27d4_eb4f,
        )
        .wrapping_add(self.first.rotate_left(32));
    }

    fn both(mut self) -> u128 {
        self.word(0x4528_21e6_38d0_1377);
        (u128::from(self.first) << 64) | u128::from(self.second)
    }
}

impl Hasher for Lanes {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_u128(&mut self, value: u128) {
        let [low, high] = halves(value);
        self.word(low);
        self.word(high);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn finish(&self) -> u64 {
        self.first ^ self.second
    }
}

/// Passes on what is a fingerprint already.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8) {
            self.0 ^= chunk.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = halves(value)[0];
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn equal_values_have_one_fingerprint_and_values_that_differ_anywhere_have_two() {
        assert_eq!(fingerprint(&(1_u8, vec![2_u64])), fingerprint(&(1_u8, vec![2_u64])));
        let different = [fingerprint(&[0_u64, 1]), fingerprint(&[1_u64, 0]), fingerprint(&[0_u64, 0])];
        assert!(different[0] != different[1] && different[1] != different[2] && different[0] != different[2]);
    }
}
