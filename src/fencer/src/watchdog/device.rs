//! The device's calls (the kernel's Documentation/watchdog/watchdog-api.rst). Opening it starts its timer. When its last
//! descriptor closes without the magic letter the kernel pets it once more and lets it run on (`watchdog_release`).
//!
//! After that nobody feeds it: the kernel does so by itself only before a device is first opened (a timer that the firmware
//! started: `WATCHDOG_HANDLE_BOOT_ENABLED`, `open_timeout`), and after the letter where its driver cannot stop it. With nowayout
//! the letter does nothing (`watchdog_stop`).

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::c_int;

/// `WDIOF_SETTIMEOUT`: the driver takes a time-out.
const SETS_TIMEOUT: u32 = 0x0080;
/// `WDIOF_MAGICCLOSE`: without the magic letter it runs on.
const MAGIC_CLOSE: u32 = 0x0100;
/// `WDIOF_PRETIMEOUT`: it can interrupt the kernel before it resets.
const PRETIMEOUT: u32 = 0x0200;
/// `WDIOF_ALARMONLY`: it raises an alarm and resets nothing.
const ALARM_ONLY: u32 = 0x0400;

/// `WDIOF_CARDRESET`: it has reset the machine.
const CARD_RESET: c_int = 0x0020;

/// `struct watchdog_info` of the kernel.
#[repr(C)]
#[derive(Default)]
pub(super) struct Info {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

nix::ioctl_read!(get_support, b'W', 0, Info);
nix::ioctl_read!(get_boot_status, b'W', 2, c_int);
nix::ioctl_read!(keep_alive, b'W', 5, c_int);
nix::ioctl_readwrite!(set_timeout, b'W', 6, c_int);
nix::ioctl_read!(get_timeout, b'W', 7, c_int);
nix::ioctl_readwrite!(set_pretimeout, b'W', 8, c_int);

/// What the driver says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Support {
    pub(super) identity: String,
    pub(super) magic_close: bool,
    pub(super) alarm_only: bool,
    sets_timeout: bool,
    has_pretimeout: bool,
}

/// A device that is open.
pub(super) struct Device {
    file: File,
    path: PathBuf,
    /// The process that had it before may have written the magic letter: the next pet takes that back.
    takes_back: Cell<bool>,
}

impl Device {
    /// Opens the device, and by that starts its timer.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file, path: path.to_owned(), takes_back: Cell::new(false) })
    }

    /// Takes a descriptor that was kept over a restart: the timer runs.
    pub(super) fn restored(fd: OwnedFd) -> Self {
        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default();
        Self { file: fd.into(), path, takes_back: Cell::new(true) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its device number, where it is a character device at all.
    pub(super) fn number(&self) -> Option<u64> {
        use std::os::unix::fs::FileTypeExt;
        let metadata = self.file.metadata().ok()?;
        metadata.file_type().is_char_device().then(|| metadata.rdev())
    }

    /// What its driver says of itself (`WDIOC_GETSUPPORT`).
    pub(super) fn support(&self) -> io::Result<Support> {
        let mut info = Info::default();
        // SAFETY: the descriptor is open, and `info` is a `struct watchdog_info` that outlives the call.
        unsafe { get_support(self.file.as_raw_fd(), &raw mut info) }?;
        let end = info.identity.iter().position(|byte| *byte == 0).unwrap_or(info.identity.len());
        Ok(Support {
            identity: String::from_utf8_lossy(&info.identity[..end]).trim().to_owned(),
            magic_close: info.options & MAGIC_CLOSE != 0,
            alarm_only: info.options & ALARM_ONLY != 0,
            sets_timeout: info.options & SETS_TIMEOUT != 0,
            has_pretimeout: info.options & PRETIMEOUT != 0,
        })
    }

    /// Sets the time-out, in whole seconds and at least one, and returns what the driver then says that it has. A driver
    /// rounds and limits; one that takes none says what it has. An interrupt before the reset is turned off, where there is
    /// one: it would crash the kernel in the place of the reset (hpwdt, by default 9 s before, then stops its own timer). Where it
    /// cannot be turned off the device is no use.
    pub(super) fn set_timeout(&self, wanted: Duration, support: &Support) -> io::Result<Duration> {
        let mut seconds = c_int::try_from(wanted.as_secs().max(1)).unwrap_or(c_int::MAX);
        if support.sets_timeout {
            // SAFETY: the descriptor is open, and `seconds` is an int that outlives the call.
            unsafe { set_timeout(self.file.as_raw_fd(), &raw mut seconds) }?;
        }
        if support.has_pretimeout {
            let mut off: c_int = 0;
            // SAFETY: the descriptor is open, and `off` is an int that outlives the call.
            unsafe { set_pretimeout(self.file.as_raw_fd(), &raw mut off) }.map_err(|error| {
                io::Error::other(format!("its interrupt before the reset stays on: {error}"))
            })?;
        }
        let said = self.timeout();
        if !support.sets_timeout {
            return said;
        }
        // The longer of the two counts: who resets later than he said has broken his word.
        let returned = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        Ok(said.map_or(returned, |said| said.max(returned)))
    }

    /// What its driver says that it is set to (`WDIOC_GETTIMEOUT`).
    pub(super) fn timeout(&self) -> io::Result<Duration> {
        let mut seconds: c_int = 0;
        // SAFETY: the descriptor is open, and `seconds` is an int that outlives the call.
        unsafe { get_timeout(self.file.as_raw_fd(), &raw mut seconds) }?;
        match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
            _ => Err(io::Error::other("its driver does not say what it is set to")),
        }
    }

    /// True when it has reset the machine before this boot, as far as its driver says so (`WDIOC_GETBOOTSTATUS`).
    pub(super) fn has_reset(&self) -> bool {
        let mut status: c_int = 0;
        // SAFETY: the descriptor is open, and `status` is an int that outlives the call.
        let asked = unsafe { get_boot_status(self.file.as_raw_fd(), &raw mut status) };
        asked.is_ok() && status & CARD_RESET != 0
    }

    /// The pet (`WDIOC_KEEPALIVE`); the first of one that was kept by a write of another letter, which is a pet too, and after
    /// which a close lets nothing go (`watchdog_write`).
    pub(super) fn pet(&self) -> io::Result<()> {
        if self.takes_back.get() {
            (&self.file).write_all(b"\0")?;
            self.takes_back.set(false);
            return Ok(());
        }
        let mut unused: c_int = 0;
        // SAFETY: the descriptor is open, and `unused` is an int that outlives the call, should a driver write one.
        unsafe { keep_alive(self.file.as_raw_fd(), &raw mut unused) }?;
        Ok(())
    }

    /// Closes it so that it stops. Only where nothing was promised that it has to keep.
    pub(super) fn close_by_magic(mut self) -> io::Result<()> {
        self.file.write_all(b"V")
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
