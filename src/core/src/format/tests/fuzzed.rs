//! Mutants of a full file, most of them with a CRC that fits again, so that the fields behind it are reached: a short,
//! fixed budget here; `tools/fuzz` goes on for as long as one likes.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::any::{any_file, small_layout};
use super::dumped::dumped;
use crate::format::MAGIC;
use crate::format::dump::Shape;
use crate::seeded::Seeded;

/// How many mutants a test run looks at.
const MUTANTS: u64 = 400;

struct Rng(Seeded);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap()
    }
}

/// Changes some bytes of one sector, and mostly gives it a CRC that fits.
fn mutate(file: &mut [u8], rng: &mut Rng) {
    let used = usize::try_from(small_layout().lease_pages().end).unwrap();
    let starts: Vec<usize> = (0..used).step_by(512).filter(|at| file[*at..].starts_with(&MAGIC)).collect();
    let start = starts[rng.below(starts.len())];
    let len = if matches!(file[start + 4], 2 | 3 | 5) { 512 } else { 4096 };
    for _ in 0..=rng.below(6) {
        let at = start + 4 + rng.below(len - 4);
        file[at] = u8::try_from(rng.below(256)).unwrap();
    }
    if rng.below(8) != 0 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&file[start..start + 56]);
        hasher.update(&file[start + 60..start + len]);
        file[start + 56..start + 60].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

#[test]
fn no_mutant_of_a_full_file_makes_the_dump_panic() {
    let file = any_file().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    for seed in 0..MUTANTS {
        let mut mutant = file.clone();
        let outcome = std::panic::catch_unwind(move || {
            let mut rng = Rng(Seeded::new(seed));
            for _ in 0..=rng.below(8) {
                mutate(&mut mutant, &mut rng);
            }
            if rng.below(4) == 0 {
                mutant[..4096].fill(0);
            }
            if rng.below(8) == 0 {
                mutant.truncate(rng.below(70_000));
            }
            dumped(&mutant, None);
            dumped(&mutant, Some(Shape { unit: small_layout().unit(), max_hosts: 3, pages: 1 }));
        });
        assert!(outcome.is_ok(), "seed {seed}: to replay it alone, let this test's loop begin and end there");
    }
}
