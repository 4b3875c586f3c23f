//! Short texts of a bounded length, that are copied about without an allocation.

use std::fmt;

/// At most `N` bytes of UTF-8; `N` is below 256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// The text; none when it is longer than `N` bytes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= N).then(|| Self::cut(text))
    }

    /// The text, without what is beyond `N` bytes.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        const { assert!(N < 256, "the length is one byte") };
        let mut end = text.len().min(N);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; N];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self { len: u8::try_from(end).unwrap_or_default(), bytes }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { len: 0, bytes: [0; N] }
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_cut_between_two_characters() {
        assert_eq!(Text::<4>::cut("abcdé").as_str(), "abcd");
        assert_eq!(Text::<5>::cut("abcdé").as_str(), "abcd");
        assert_eq!(Text::<6>::cut("abcdé").as_str(), "abcdé");
        assert_eq!(Text::<4>::new("abcde"), None);
    }
}
