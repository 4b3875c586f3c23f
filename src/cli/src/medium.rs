//! A lease file or device as `init` and `dump` use it: direct reads and writes of whole sectors by offset.
//!
//! Buffered reads of a quiet file may come from this host's cache and never show what others wrote: direct I/O is used
//! wherever the file system has it, and [`Medium::is_direct`] says where it has not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use leasefence_disk::{ALIGNMENT, AlignedBuffer};
use nix::errno::Errno;
use nix::libc;
use nix::sys::uio::{pread, pwrite};

/// How to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// What exists, for reading.
    Read,
    /// What exists, for reading and writing; a device only while nobody else has it exclusively, as a mount does.
    Write,
    /// A new file of mode 0600.
    Create,
}

/// An opened lease file or device.
#[derive(Debug)]
pub(crate) struct Medium {
    file: File,
    path: PathBuf,
    direct: bool,
    size: u64,
    logical_sector: Option<u32>,
}

impl Medium {
    /// Opens `path`, directly where that works.
    pub(crate) fn open(path: &Path, mode: Mode) -> io::Result<Self> {
        let device = std::fs::metadata(path).is_ok_and(|it| it.file_type().is_block_device());
        let exclusive = if device && mode == Mode::Write { libc::O_EXCL } else { 0 };
        let (file, direct) = match options(mode, exclusive | libc::O_DIRECT).open(path) {
            // A file that O_CREAT has made before O_DIRECT was refused is not ours twice: it is removed first.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                if mode == Mode::Create {
                    std::fs::remove_file(path).or_else(ignore_missing)?;
                }
                (options(mode, exclusive).open(path)?, false)
            }
            opened => (opened?, true),
        };
        let (size, logical_sector) =
            if device { device_size(&file)? } else { (file.metadata()?.len(), None) };
        let mut medium = Self { file, path: path.to_owned(), direct, size, logical_sector };
        medium.try_direct_read(mode, exclusive)?;
        Ok(medium)
    }

    /// The path that was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// False when reads may come from this host's cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Size in bytes when it was opened.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The logical sector size of a block device; none for a file.
    pub(crate) fn logical_sector(&self) -> Option<u32> {
        self.logical_sector
    }

    /// The bytes at `offset`: fewer than `len` at the end.
    pub(crate) fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let before = usize::try_from(offset % ALIGNMENT as u64).unwrap_or(0);
        let whole = (before + len).next_multiple_of(ALIGNMENT);
        let mut buffer = AlignedBuffer::new(whole)?;
        let bytes = buffer.bytes(whole)?;
        let got = self.read_whole(offset - before as u64, bytes)?;
        Ok(bytes[..got].get(before..).map_or_else(Vec::new, |it| it[..it.len().min(len)].to_vec()))
    }

    /// Writes all of `data`; offset and length are multiples of 4096.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut buffer = AlignedBuffer::new(data.len())?;
        let bytes = buffer.bytes(data.len())?;
        bytes.copy_from_slice(data);
        let mut done = 0;
        while done < data.len() {
            let at = libc::off_t::try_from(offset + done as u64).map_err(io::Error::other)?;
            match pwrite(self.file.as_fd(), &bytes[done..], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Everything written is on the storage.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Cuts or grows a file; a device stays as it is.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        if self.logical_sector.is_some() { Ok(()) } else { self.file.set_len(len) }
    }

    fn read_whole(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let at = libc::off_t::try_from(offset + done as u64).map_err(io::Error::other)?;
            match pread(self.file.as_fd(), &mut buffer[done..], at) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            // A direct read that came short ended at the end; going on from there would be misaligned.
            if !done.is_multiple_of(ALIGNMENT) {
                break;
            }
        }
        Ok(done)
    }

    /// A file system may take the flag and refuse the read.
    fn try_direct_read(&mut self, mode: Mode, exclusive: i32) -> io::Result<()> {
        if !self.direct || mode == Mode::Create {
            return Ok(());
        }
        if self.read(0, ALIGNMENT).is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
            self.file = options(mode, exclusive).open(&self.path)?;
            self.direct = false;
        }
        Ok(())
    }
}

/// `O_NONBLOCK` changes nothing for files and devices; without it a pipe would hold the command for ever.
fn options(mode: Mode, flags: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(mode != Mode::Read).create_new(mode == Mode::Create).mode(0o600);
    options.custom_flags(flags | libc::O_NONBLOCK);
    options
}

fn device_size(device: &File) -> io::Result<(u64, Option<u32>)> {
    let (bytes, sector) = leasefence_disk::block_device_size(device)?;
    Ok((bytes, Some(sector)))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
