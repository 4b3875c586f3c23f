//! The lease file or device itself: one held descriptor for writes, a freshly opened one for each read.
//!
//! A read that goes through a fresh descriptor, after the path was shown to lead to the held file still, is what makes
//! a replaced file a lost lease instead of two lease files with one holder each (ARCHITECTURE 5).

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use leasefence_core::member::LeaseMedium;
use leasefence_core::storage::{IoError, IoOp};
use nix::errno::Errno;
use nix::libc;
use nix::sys::statfs::{FsType, fstatfs};
use nix::sys::uio::{pread, pwrite};

use crate::block_device::block_device_size;
use crate::buffer::AlignedBuffer;
use crate::error::OpenError;

/// The least unit of direct I/O; larger ones divide every length that format 1 uses.
const SECTOR: u64 = 512;
/// Enough for a scan of 64 hosts' records; larger requests make it grow.
const BUFFER_BYTES: usize = 512 * 1024;
const RAMFS_MAGIC: u32 = 0x8584_58f6;

/// The opened lease file.
pub(crate) struct LeaseFile {
    path: PathBuf,
    held: File,
    identity: FileIdentity,
    medium: LeaseMedium,
    buffer: AlignedBuffer,
}

/// What makes two descriptors the same file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FileIdentity {
    /// File system and inode.
    Regular { device: u64, inode: u64 },
    /// The device itself: its node may be made anew by udev.
    Block { device: u64 },
}

impl LeaseFile {
    /// Opens `path` for direct, synchronous I/O.
    ///
    /// # Errors
    /// [`OpenError`] when it is missing, of the wrong kind, not permitted, read-only, or has no direct I/O.
    pub(crate) fn open(path: &Path, read_only: bool) -> Result<Self, OpenError> {
        let held = open_direct(path, !read_only)
            .map_err(|errno| refine_open_error(path, OpenError::from_errno(path, "open", errno)))?;
        let call = |what: &'static str| {
            move |error: io::Error| OpenError::Call(path.to_path_buf(), what, words(&error))
        };
        let metadata = held.metadata().map_err(call("stat"))?;
        let identity = FileIdentity::of(&metadata).map_err(|kind| wrong_kind(path, kind))?;
        refuse_memory_file_system(path, &held)?;
        let medium = medium(&held, &metadata).map_err(call("reading the size"))?;
        let buffer = AlignedBuffer::new(BUFFER_BYTES).map_err(call("mapping the buffer"))?;
        let mut file = Self { path: path.to_path_buf(), held, identity, medium, buffer };
        file.try_direct_read()?;
        Ok(file)
    }

    /// What lies behind the path.
    pub(crate) fn medium(&self) -> LeaseMedium {
        self.medium
    }

    /// Executes one operation. Blocks for as long as the storage does.
    ///
    /// # Errors
    /// [`IoError::Replaced`] when the path leads elsewhere by now, else [`IoError::Failed`] with path, offset and errno.
    pub(crate) fn execute(&mut self, op: &IoOp) -> Result<Vec<u8>, IoError> {
        match op {
            IoOp::Read { offset, len } => {
                self.check_aligned("reading", *offset, *len)?;
                let fresh = self.open_fresh()?;
                self.read(&fresh, *offset, *len)
            }
            IoOp::Write { offset, data } => {
                self.check_aligned("writing", *offset, data.len())?;
                self.write(*offset, data).map(|()| Vec::new())
            }
        }
    }

    fn open_fresh(&self) -> Result<File, IoError> {
        let replaced = |why: &str| IoError::Replaced(format!("{}: {why}", self.path.display()));
        let fresh = open_direct(&self.path, false).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR => replaced("there is no such file any more"),
            _ if self.leads_elsewhere() => replaced("something else lies there now"),
            _ => self.failed("opening", 0, errno.desc()),
        })?;
        let unread = |error: io::Error| self.failed("stat of", 0, &words(&error));
        let now = fresh.metadata().map_err(unread)?;
        // The server gave the opened file up, and it stays so. The path may lead to another that got its inode's number.
        let held = self.held.metadata().map_err(|error| match error.raw_os_error() {
            Some(libc::ESTALE) => replaced("the server has given up the file that was opened"),
            _ => unread(error),
        })?;
        if FileIdentity::of(&now) != Ok(self.identity) {
            return Err(replaced("the path leads to another file than the one that was opened"));
        }
        if now.nlink() == 0 || held.nlink() == 0 {
            return Err(replaced("it was deleted"));
        }
        Ok(fresh)
    }

    /// What took the file's place may refuse the flags of the open with an errno of its own.
    fn leads_elsewhere(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|now| FileIdentity::of(&now) != Ok(self.identity))
    }

    fn read(&mut self, fresh: &File, offset: u64, len: usize) -> Result<Vec<u8>, IoError> {
        let (path, what) = (&self.path, "reading");
        let at = file_offset(path, what, offset)?;
        let buffer = self.buffer.bytes(len).map_err(|error| failed(path, what, offset, &words(&error)))?;
        match uninterrupted(|| pread(fresh.as_fd(), buffer, at)) {
            Ok(read) if read == len => Ok(buffer.to_vec()),
            Ok(read) => Err(failed(path, what, offset, &came_short(read, len))),
            Err(errno) => Err(failed(path, what, offset, errno.desc())),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), IoError> {
        let (path, what) = (&self.path, "writing");
        let at = file_offset(path, what, offset)?;
        let buffer =
            self.buffer.bytes(data.len()).map_err(|error| failed(path, what, offset, &words(&error)))?;
        buffer.copy_from_slice(data);
        match uninterrupted(|| pwrite(self.held.as_fd(), buffer, at)) {
            Ok(written) if written == data.len() => Ok(()),
            Ok(written) => Err(failed(path, what, offset, &came_short(written, data.len()))),
            Err(errno) => Err(failed(path, what, offset, errno.desc())),
        }
    }

    fn check_aligned(&self, what: &str, offset: u64, len: usize) -> Result<(), IoError> {
        let unit = u64::from(self.medium.sector_size);
        let length = u64::try_from(len).unwrap_or(u64::MAX);
        let whole = length > 0 && offset.is_multiple_of(unit) && length.is_multiple_of(unit);
        let inside = offset.checked_add(length).is_some_and(|end| i64::try_from(end).is_ok());
        if whole && inside {
            return Ok(());
        }
        Err(self.failed(what, offset, &format!("{len} bytes there are not whole sectors of {unit} bytes")))
    }

    /// A file system may take the flag and refuse the read: found here and not at the first renewal.
    fn try_direct_read(&mut self) -> Result<(), OpenError> {
        if self.medium.size < 4096 {
            return Ok(()); // nothing to read: whoever decodes the header says what is wrong with it
        }
        let buffer = match self.buffer.bytes(4096) {
            Ok(buffer) => buffer,
            Err(error) => {
                return Err(OpenError::Call(self.path.clone(), "mapping the buffer", words(&error)));
            }
        };
        match uninterrupted(|| pread(self.held.as_fd(), buffer, 0)) {
            Err(Errno::EINVAL) => {
                Err(OpenError::NoDirectIo(self.path.clone(), "a direct read says EINVAL".into()))
            }
            _ => Ok(()), // damaged media is for the reader of the header to report, with its offset
        }
    }

    fn failed(&self, what: &str, offset: u64, why: &str) -> IoError {
        failed(&self.path, what, offset, why)
    }
}

impl FileIdentity {
    fn of(metadata: &Metadata) -> Result<Self, &'static str> {
        let kind = metadata.file_type();
        if kind.is_file() {
            Ok(Self::Regular { device: metadata.dev(), inode: metadata.ino() })
        } else if kind.is_block_device() {
            Ok(Self::Block { device: metadata.rdev() })
        } else if kind.is_dir() {
            Err("directory")
        } else if kind.is_char_device() {
            Err("character device")
        } else {
            Err("pipe or socket")
        }
    }
}

/// `O_NONBLOCK` changes nothing for files and devices; without it, a pipe put in the file's place would hold the
/// storage thread for ever.
fn open_direct(path: &Path, write: bool) -> Result<File, Errno> {
    let flags = libc::O_DIRECT | libc::O_DSYNC | libc::O_NONBLOCK;
    uninterrupted(|| {
        OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(path)
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    })
}

fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Pipes, sockets and character devices refuse the flags with errnos of their own: say what it is, not which flag.
fn refine_open_error(path: &Path, error: OpenError) -> OpenError {
    let Ok(metadata) = std::fs::metadata(path) else { return error };
    match (FileIdentity::of(&metadata), error) {
        (Err(kind), _) => wrong_kind(path, kind),
        (Ok(_), error) => error,
    }
}

fn wrong_kind(path: &Path, kind: &'static str) -> OpenError {
    match kind {
        "directory" => OpenError::Directory(path.to_path_buf()),
        _ => OpenError::Kind(path.to_path_buf(), kind),
    }
}

/// Newer kernels let tmpfs take `O_DIRECT`, and serve it from memory that no other host sees.
fn refuse_memory_file_system(path: &Path, file: &File) -> Result<(), OpenError> {
    let kind = fstatfs(file)
        .map_err(|errno| OpenError::Call(path.to_path_buf(), "statfs", errno.desc().to_owned()))?
        .filesystem_type();
    let ramfs = FsType(libc::__fsword_t::from(RAMFS_MAGIC));
    let block_device = file.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device());
    if !block_device && (kind == nix::sys::statfs::TMPFS_MAGIC || kind == ramfs) {
        return Err(OpenError::NoDirectIo(
            path.to_path_buf(),
            "it lies in this host's memory: tmpfs".to_owned(),
        ));
    }
    Ok(())
}

fn medium(file: &File, metadata: &Metadata) -> io::Result<LeaseMedium> {
    if metadata.file_type().is_block_device() {
        let (size, sector_size) = block_device_size(file)?;
        return Ok(LeaseMedium { size, block_device: true, sector_size });
    }
    let sector_size = u32::try_from(SECTOR).unwrap_or(512);
    Ok(LeaseMedium { size: metadata.len(), block_device: false, sector_size })
}

fn file_offset(path: &Path, what: &str, offset: u64) -> Result<libc::off_t, IoError> {
    libc::off_t::try_from(offset).map_err(|_| failed(path, what, offset, "beyond the largest offset"))
}

fn failed(path: &Path, what: &str, offset: u64, why: &str) -> IoError {
    IoError::Failed(format!("{what} {} at offset {offset}: {why}", path.display()))
}

fn came_short(done: usize, wanted: usize) -> String {
    format!("only {done} of {wanted} bytes (truncated, or the storage is full)")
}

fn words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |raw| Errno::from_raw(raw).desc().to_owned())
}
