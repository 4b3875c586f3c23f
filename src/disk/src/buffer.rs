//! Memory that `O_DIRECT` can use: page-aligned, anonymous, reused for every request.
//!
//! It owns the alignment check: ext4 takes a misaligned buffer silently and goes through the page cache, where a read
//! on NFS never sees anything new, so nothing but an own assertion would notice.

use std::io;

use memmap2::MmapMut;

/// Addresses, offsets and lengths of direct I/O are multiples of this: it covers every logical sector size in use, and the page
/// size of every machine that runs KVM guests in practice.
pub const ALIGNMENT: usize = 4096;

/// A buffer that grows to the largest request seen.
#[derive(Debug)]
pub struct AlignedBuffer {
    map: MmapMut,
}

impl AlignedBuffer {
    /// Maps `bytes` rounded up to whole pages.
    ///
    /// # Errors
    /// When there is no memory to be had.
    pub fn new(bytes: usize) -> io::Result<Self> {
        Ok(Self { map: MmapMut::map_anon(bytes.max(1).next_multiple_of(ALIGNMENT))? })
    }

    /// The first `len` bytes, aligned; maps anew, zeroed, when the buffer is too small.
    ///
    /// # Errors
    /// When there is no memory to be had.
    ///
    /// # Panics
    /// If the kernel returned a mapping that is not page-aligned, which it never does.
    pub fn bytes(&mut self, len: usize) -> io::Result<&mut [u8]> {
        if len > self.map.len() {
            *self = Self::new(len)?;
        }
        assert_eq!(self.map.as_ptr().addr() % ALIGNMENT, 0, "O_DIRECT needs an aligned buffer");
        Ok(&mut self.map[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_at_every_size_and_keeps_its_memory_when_it_is_large_enough() {
        let mut buffer = AlignedBuffer::new(1).unwrap();
        for len in [1, 512, 4096, 4097, 1 << 20, 512] {
            let bytes = buffer.bytes(len).unwrap();
            assert_eq!((bytes.len(), bytes.as_ptr().addr() % ALIGNMENT), (len, 0));
        }
    }
}
