//! Reads a medium in long pieces, and sector by sector where a long one fails.

use super::ReadAt;

/// The longest single read.
const CHUNK: u64 = 256 << 10;

/// The pieces of a medium, the last one kept.
pub(super) struct Chunks<'a, 'b> {
    size: u64,
    read: &'a mut ReadAt<'b>,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a, 'b> Chunks<'a, 'b> {
    pub(super) fn new(size: u64, read: &'a mut ReadAt<'b>) -> Self {
        Self { size, read, start: 0, bytes: Vec::new() }
    }

    /// How long the medium is.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes at `offset`: fewer than `len` at the medium's end.
    ///
    /// # Errors
    /// What the medium said when it was asked for these bytes alone.
    pub(super) fn get(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        if let Some(bytes) = self.kept(offset, len) {
            return Ok(bytes);
        }
        // Whole chunks at whole multiples: a read at an odd offset would be refused by a device.
        let from = offset - offset % 4096;
        let want = CHUNK.min(self.size.saturating_sub(from)).next_multiple_of(4096);
        let Ok(want) = usize::try_from(want) else { return Ok(Vec::new()) };
        if want == 0 {
            return Ok(Vec::new());
        }
        match (self.read)(from, want) {
            Ok(bytes) => {
                (self.start, self.bytes) = (from, bytes);
                Ok(self.kept(offset, len).unwrap_or_else(|| self.rest(offset, len)))
            }
            Err(_) => self.alone(offset, len),
        }
    }

    /// The bytes at `offset`, read by themselves: a long read can tear where a short one does not.
    ///
    /// # Errors
    /// What the medium said.
    pub(super) fn alone(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        (self.read)(offset, len)
    }

    fn kept(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?).map(<[u8]>::to_vec)
    }

    /// What there is of bytes that go beyond the medium's end.
    fn rest(&self, offset: u64, len: usize) -> Vec<u8> {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let tail = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        tail[..tail.len().min(len)].to_vec()
    }
}
