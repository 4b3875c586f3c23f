//! The two copies of a host record or of a lease page's sector, as read, and which of them counts.

use super::layout::RecordCopy;
use super::sector::DecodeError;
use crate::ids::{Generation, Sequence};

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
