//! The sealed memfd itself: made by the fencer, checked by whoever is given it. It owns the descriptor and the mapping,
//! and knows nothing of what the halves mean.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use memmap2::MmapRaw;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::io::Errno;

use crate::layout::{LAYOUT_VERSION, MAGIC, PAGE_BYTES};
use crate::slots::{Shared, Words};

/// Why a page could not be made, or a descriptor is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A system call failed.
    #[error("{doing} the page that agent and fencer share")]
    Sys {
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// Mapping failed.
    #[error("mapping the page that agent and fencer share ({PAGE_BYTES} bytes)")]
    Map(#[source] std::io::Error),
    /// The descriptor is of another size.
    #[error("the descriptor given as page has {0} bytes instead of {PAGE_BYTES}: it is not a page")]
    Size(i64),
    /// The descriptor is not sealed, so that its size could change under the mapping.
    #[error("the descriptor given as page is not a memfd sealed against changes of size: it is not a page")]
    NotSealed,
    /// Not the magic of a page.
    #[error("the descriptor given as page does not start as a page does")]
    Magic,
    /// Another layout.
    #[error(
        "the page has layout version {0}, this program knows {LAYOUT_VERSION}: agent and fencer are of different \
         releases; disarm this host, then restart both, the fencer first"
    )]
    Version(u32),
}

/// The page: a memfd of [`PAGE_BYTES`], sealed (`F_SEAL_SHRINK|GROW|SEAL`), mapped shared.
pub struct Page {
    fd: OwnedFd,
    shared: Shared,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl Page {
    /// Makes a new, empty page.
    ///
    /// # Errors
    /// When the kernel refuses a memfd, its size, its mapping or its seals.
    pub fn create() -> Result<Self, PageError> {
        let sys = |doing| move |source| PageError::Sys { doing, source };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create(c"leasefence-page", flags).map_err(sys("making"))?;
        ftruncate(&fd, PAGE_BYTES as u64).map_err(sys("sizing"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&fd, seals).map_err(sys("sealing"))?;
        let shared = Shared::new(MmapRaw::map_raw(&fd).map_err(PageError::Map)?);
        shared.store(8, u64::from(LAYOUT_VERSION) | (PAGE_BYTES as u64) << 32, Ordering::Relaxed);
        shared.store(0, u64::from_le_bytes(MAGIC), Ordering::Release);
        Ok(Self { fd, shared })
    }

    /// Takes a descriptor that somebody handed over, after checking that it is a page: seals, size, magic, layout version.
    ///
    /// # Errors
    /// When it is not, or cannot be mapped.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, PageError> {
        let needed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        let seals = fcntl_get_seals(&fd).map_err(|_| PageError::NotSealed)?;
        if !seals.contains(needed) {
            return Err(PageError::NotSealed);
        }
        let stat = fstat(&fd).map_err(|source| PageError::Sys { doing: "examining", source })?;
        if usize::try_from(stat.st_size) != Ok(PAGE_BYTES) {
            return Err(PageError::Size(stat.st_size));
        }
        let shared = Shared::new(MmapRaw::map_raw(&fd).map_err(PageError::Map)?);
        if shared.load(0, Ordering::Acquire) != u64::from_le_bytes(MAGIC) {
            return Err(PageError::Magic);
        }
        let version = u32::try_from(shared.load(8, Ordering::Relaxed) & u64::from(u32::MAX)).unwrap_or(0);
        if version == LAYOUT_VERSION { Ok(Self { fd, shared }) } else { Err(PageError::Version(version)) }
    }

    /// A second handle on the same page.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self, PageError> {
        let fd = self.fd.try_clone().map_err(PageError::Map)?;
        Ok(Self { fd, shared: self.shared.clone() })
    }

    /// True when both are the same memory.
    ///
    /// # Errors
    /// When the kernel does not say which file a descriptor leads to.
    pub fn is_same(&self, other: &Self) -> Result<bool, PageError> {
        let id = |page: &Self| {
            fstat(&page.fd)
                .map(|stat| (stat.st_dev, stat.st_ino))
                .map_err(|source| PageError::Sys { doing: "examining", source })
        };
        Ok(id(self)? == id(other)?)
    }

    pub(crate) fn shared(&self) -> Shared {
        self.shared.clone()
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
