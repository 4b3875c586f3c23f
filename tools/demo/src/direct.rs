//! Reads files past the page cache, as another machine would see them.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Alignment that direct I/O asks of memory, offset and length, at most.
const ALIGNMENT: usize = 4096;

/// A file that is open for direct reads.
#[derive(Debug)]
pub struct DirectFile(File);

impl DirectFile {
    /// Opens it for reading.
    ///
    /// # Errors
    /// When it cannot be opened for direct I/O.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path).map(Self)
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn size_bytes(&self) -> io::Result<usize> {
        usize::try_from(self.0.metadata()?.len()).map_err(io::Error::other)
    }

    /// Reads `length` bytes from `start`; the file must reach to the next multiple of 4096 after them.
    ///
    /// # Errors
    /// When the storage refuses, or the file is shorter.
    pub fn read(&self, start: usize, length: usize) -> io::Result<Vec<u8>> {
        let first = start / ALIGNMENT * ALIGNMENT;
        let span = (start + length).next_multiple_of(ALIGNMENT) - first;
        let mut memory = vec![0; span + ALIGNMENT];
        let skip = memory.as_ptr().align_offset(ALIGNMENT);
        let aligned = &mut memory[skip..skip + span];
        self.0.read_exact_at(aligned, u64::try_from(first).map_err(io::Error::other)?)?;
        Ok(aligned[start - first..start - first + length].to_vec())
    }
}
