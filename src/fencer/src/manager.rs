//! The service manager's side: descriptors that it kept over a restart, and notes to it. Notes are datagrams that are never
//! waited for: a manager that does not read them must not stop the fencer.

use std::env;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, socket_with,
};

/// The first descriptor that a manager passes (`SD_LISTEN_FDS_START`).
const FIRST_FD: i32 = 3;
/// The page's name in the manager's store.
const PAGE: &str = "page";

/// The device's name there.
const WATCHDOG: &str = "watchdog";

/// What the manager kept over a restart.
#[derive(Default)]
pub(crate) struct Restored {
    /// The page.
    pub(crate) page: Option<OwnedFd>,
    /// The watchdog's device, open: its timer has run on.
    pub(crate) watchdog: Option<OwnedFd>,
}

/// What the manager kept, if it started this process with anything. Call it once, before anything is opened.
pub(crate) fn restored() -> Restored {
    let number = |name| env::var(name).ok()?.parse::<i32>().ok();
    let own_pid = i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|count| (1..=64).contains(count)).unwrap_or(0);
    if number("LISTEN_PID") != own_pid {
        return Restored::default();
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut restored = Restored::default();
    for (fd, name) in (FIRST_FD..FIRST_FD + count).zip(names.split(':')) {
        let place = match name {
            PAGE => &mut restored.page,
            WATCHDOG => &mut restored.watchdog,
            _ => continue,
        };
        // Of two of one name the later one was stored later. A device's other descriptor is closed: it is the same device.
        *place = take(fd);
    }
    restored
}

fn take(fd: i32) -> Option<OwnedFd> {
    // SAFETY: the manager passed open descriptors from FIRST_FD on, to this process alone (LISTEN_PID); each is taken once,
    // and nothing else here takes them.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let flags = fcntl_getfd(&fd).ok()?;
    fcntl_setfd(&fd, flags | FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// Sends notes to the manager that `NOTIFY_SOCKET` names; without one it does nothing.
pub(crate) struct Manager {
    socket: Option<(OwnedFd, SocketAddrUnix)>,
}

impl Manager {
    pub(crate) fn from_env() -> Self {
        Self { socket: env::var("NOTIFY_SOCKET").ok().and_then(|name| connect(&name).ok()) }
    }

    /// Ready: the socket listens and the page is there.
    pub(crate) fn ready(&self) -> Result<(), Errno> {
        self.send("READY=1\n", None)
    }

    /// Asks the manager to keep the page, in the place of the one it may have.
    pub(crate) fn store_page(&self, page: &impl AsFd) -> Result<(), Errno> {
        self.forget(PAGE)?;
        self.store(PAGE, page)
    }

    /// Asks the manager to keep the watchdog's device too. It knows a descriptor of the same device by itself, and the one
    /// before must not be closed in between.
    pub(crate) fn store_watchdog(&self, device: &impl AsFd) -> Result<(), Errno> {
        self.store(WATCHDOG, device)
    }

    /// Asks the manager to close what it keeps of the watchdog: only its last descriptor lets the device go.
    pub(crate) fn forget_watchdog(&self) -> Result<(), Errno> {
        self.forget(WATCHDOG)
    }

    fn store(&self, name: &str, fd: &impl AsFd) -> Result<(), Errno> {
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n"), Some(fd.as_fd()))
    }

    fn forget(&self, name: &str) -> Result<(), Errno> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), None)
    }

    fn send(&self, text: &str, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let Some((socket, address)) = &self.socket else { return Ok(()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg_addr(socket, address, &[IoSlice::new(text.as_bytes())], &mut control, flags).map(|_| ())
    }
}

fn connect(name: &str) -> Result<(OwnedFd, SocketAddrUnix), Errno> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(name)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok((socket, address))
}
