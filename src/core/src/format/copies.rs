//! The two copies of a host record or of a lease page's sector, as read, and which of them counts.

use super::host_record::HostRecord;
use super::layout::{Layout, RecordCopy};
use super::lease_page::LeasePage;
use super::sector::DecodeError;
use crate::ids::{Generation, Sequence, Slot};

/// What two copies are compared by.
pub trait Versioned {
    /// Generation first, then the number of the write.
    fn version(&self) -> (Generation, Sequence);
}

/// Both copies as read: a valid record each, or why not.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Copies<T> {
    /// Copy A.
    pub a: Result<T, DecodeError>,
    /// Copy B.
    pub b: Result<T, DecodeError>,
}

impl<T: Versioned> Copies<T> {
    /// The valid copy with the highest (generation, sequence), and which it is; none when neither is valid.
    #[must_use]
    pub fn newest(&self) -> Option<(RecordCopy, &T)> {
        match (&self.a, &self.b) {
            (Ok(a), Ok(b)) if b.version() > a.version() => Some((RecordCopy::B, b)),
            (Ok(a), _) => Some((RecordCopy::A, a)),
            (Err(_), Ok(b)) => Some((RecordCopy::B, b)),
            (Err(_), Err(_)) => None,
        }
    }
}

impl<T> Copies<T> {
    /// One of the two.
    ///
    /// # Errors
    /// What is wrong with that copy.
    pub fn get(&self, copy: RecordCopy) -> &Result<T, DecodeError> {
        match copy {
            RecordCopy::A => &self.a,
            RecordCopy::B => &self.b,
        }
    }

    /// True when both were never written.
    #[must_use]
    pub fn both_empty(&self) -> bool {
        matches!((&self.a, &self.b), (Err(DecodeError::Empty), Err(DecodeError::Empty)))
    }

    /// The valid copies, A first.
    pub fn valid(&self) -> impl Iterator<Item = &T> {
        self.a.iter().chain(self.b.iter())
    }
}

impl Copies<HostRecord> {
    /// Both copies of a slot's record in the bytes of a scan, which begin at [`Layout::host_records`]`.start`.
    #[must_use]
    pub fn in_scan(layout: &Layout, slot: Slot, scan: &[u8]) -> Self {
        let start = layout.host_records().start;
        let read = |copy| {
            let place = layout.host_record(slot, copy);
            HostRecord::decode(&place, place.within(start, scan))
        };
        Self { a: read(RecordCopy::A), b: read(RecordCopy::B) }
    }
}

impl Copies<LeasePage> {
    /// Both copies of a slot's sector in the bytes of a page scan, which begin at [`Layout::lease_page_range`]`.start`.
    #[must_use]
    pub fn in_page_scan(layout: &Layout, page: u8, slot: Slot, scan: &[u8]) -> Self {
        let start = layout.lease_page_range(page).start;
        let read = |copy| {
            let place = layout.lease_page(page, slot, copy);
            LeasePage::decode(&place, place.within(start, scan))
        };
        Self { a: read(RecordCopy::A), b: read(RecordCopy::B) }
    }
}
