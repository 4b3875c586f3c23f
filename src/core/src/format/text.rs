//! Short texts of a fixed room in a record: names and notes for people.
//!
//! A value that exists fits its room and holds no control character, so it can be written, read back and printed.

use std::fmt;

use super::sector::DecodeError;

/// Text of at most `N` bytes of UTF-8 without control characters, zero-padded in the record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FixedText<const N: usize>(String);

/// A host's name, as in its record and claim: at most 48 bytes.
pub type HostName = FixedText<48>;
/// A cluster's name, as in the header: at most 64 bytes.
pub type ClusterName = FixedText<64>;
/// The text of a journal note: at most 432 bytes.
pub type JournalText = FixedText<432>;

impl<const N: usize> FixedText<N> {
    /// The text without its control characters, cut to `N` bytes at a character's boundary.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let mut kept = String::with_capacity(N);
        for letter in text.chars().filter(|letter| !letter.is_control()) {
            if kept.len() + letter.len_utf8() > N {
                break;
            }
            kept.push(letter);
        }
        Self(kept)
    }

    /// The text, if it fits as it is; none when [`Self::cut`] would change it.
    #[must_use]
    pub fn exact(text: &str) -> Option<Self> {
        let cut = Self::cut(text);
        (cut.0 == text).then_some(cut)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn encode(&self, room: &mut [u8]) {
        room[..self.0.len()].copy_from_slice(self.0.as_bytes());
    }

    pub(super) fn decode(room: &[u8], field: &'static str) -> Result<Self, DecodeError> {
        let len = room.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text =
            std::str::from_utf8(&room[..len]).map_err(|_| DecodeError::BadValue { field, value: 0 })?;
        Self::exact(text).ok_or(DecodeError::BadValue { field, value: 0 })
    }
}

impl<const N: usize> fmt::Display for FixedText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const N: usize> fmt::Debug for FixedText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
