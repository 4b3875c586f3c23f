//! Reads files past the page cache, as another machine would see them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Alignment that direct I/O asks of memory, offset and length, at most.
const ALIGNMENT: usize = 4096;

/// A file that is open for direct reads.
#[derive(Debug)]
pub struct DirectFile(File);

impl DirectFile {
    /// Opens it for reading. On a file system without direct I/O, as in memory, it is read as any file: what lies there is
    /// nobody else's.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        match File::options().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => File::open(path).map(Self),
            opened => opened.map(Self),
        }
    }

    /// Its size in bytes, also that of a block device.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn size_bytes(&self) -> io::Result<usize> {
        let end = (&self.0).seek(SeekFrom::End(0))?;
        usize::try_from(end).map_err(io::Error::other)
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
