//! What is fuzzed: every decoder, the judgement of `init`, and the whole dump, on bytes that somebody damaged.
//!
//! [`decode_all`] is the target; [`mutant`] makes its input from a seed, so that the same can run without libFuzzer.

mod rng;
mod sample;

use leasefence_core::format::dump::{Shape, dump};
use leasefence_core::format::init::{Contents, Inspection, WatchPlan};
use leasefence_core::format::{
    Claim, Copies, Header, HostRecord, JournalNote, LeasePage, MAGIC, ObserverSector, RecordCopy, Unit,
};
use leasefence_core::ids::Slot;

pub use rng::Rng;

/// Decodes these bytes as a lease file, in every way there is. It must end, and must not panic.
pub fn decode_all(file: &[u8]) {
    dumped(file, None);
    dumped(file, Some(Shape { unit: Unit::Bytes512, max_hosts: sample::HOSTS, pages: 1 }));
    judged(file);
    scanned(file);
    alone(file);
}

/// A file that was whole, and that this seed damaged.
#[must_use]
pub fn mutant(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut file = sample::file(&mut rng);
    for _ in 0..=rng.below(8) {
        damage(&mut file, &mut rng);
    }
    match rng.below(16) {
        0 | 1 => file.truncate(rng.below(file.len())),
        2 | 3 => file[..4096].fill(0),
        4 => file.extend(std::iter::repeat_n(0, 1 << 20)),
        _ => {}
    }
    file
}

fn dumped(file: &[u8], shape: Option<Shape>) {
    let mut read = |offset: u64, len: usize| {
        assert!(len <= 1 << 20, "reads are bounded");
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
        Ok(file[from..file.len().min(from.saturating_add(len))].to_vec())
    };
    let mut seen = 0_u64;
    let summary = dump(file.len() as u64, shape, &mut read, &mut |item| {
        // What is printed must be printable too.
        seen += u64::from(item.is_bad()) + format!("{item:?}").len() as u64;
    });
    assert!(!summary.is_well() || summary.headers.header().is_some());
}

fn judged(file: &[u8]) {
    let mut inspection = Inspection::default();
    inspection.feed(0, file);
    if let Contents::LeaseFile(header) = inspection.contents() {
        let range = WatchPlan::range_of(&header.layout);
        let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(file.len());
        let plan = WatchPlan::of(&header, &file[start..]);
        assert!(plan.at_least.as_millis() > 0);
    }
}

fn scanned(file: &[u8]) {
    let layout = sample::layout();
    let records = usize::try_from(layout.host_records().start).unwrap_or(usize::MAX).min(file.len());
    let pages = usize::try_from(layout.lease_page_range(0).start).unwrap_or(usize::MAX).min(file.len());
    for slot in layout.slots() {
        if let Some((_, record)) = Copies::<HostRecord>::in_scan(&layout, slot, &file[records..]).newest() {
            let terms = record.effective_terms();
            assert!(terms.verdict_after_with_survival(record.survival_max) >= terms.lease_ttl);
        }
        drop(Copies::<LeasePage>::in_page_scan(&layout, 0, slot, &file[pages..]));
    }
}

/// The same bytes in every place, at every length.
fn alone(file: &[u8]) {
    let layout = sample::layout();
    for len in [0, 64, 511, 512, 4096, 4097] {
        let bytes = &file[..file.len().min(len)];
        drop(Header::decode(0, bytes));
        drop(Claim::decode(&layout.claim(Slot(0)), bytes));
        drop(HostRecord::decode(&layout.host_record(Slot(0), RecordCopy::A), bytes));
        drop(ObserverSector::decode(&layout.observer(0), bytes));
        drop(JournalNote::decode(&layout.journal(Slot(0), 0), bytes));
        drop(LeasePage::decode(&layout.lease_page(0, Slot(0), RecordCopy::A), bytes));
    }
}

/// Changes some bytes of one sector, and mostly gives it a CRC that fits again, so that what lies behind it is reached.
fn damage(file: &mut [u8], rng: &mut Rng) {
    let starts: Vec<usize> =
        (0..file.len()).step_by(512).filter(|at| file[*at..].starts_with(&MAGIC)).collect();
    let Some(start) = starts.get(rng.below(starts.len().max(1))).copied() else { return };
    let len = if matches!(file[start + 4], 2 | 3 | 5) { 512 } else { 4096 }.min(file.len() - start);
    for _ in 0..=rng.below(6) {
        let at = start + 4 + rng.below(len - 4);
        file[at] = rng.byte();
    }
    if rng.below(8) != 0 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&file[start..start + 56]);
        hasher.update(&file[start + 60..start + len]);
        file[start + 56..start + 60].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}
