//! The agent's end of the link: connects, offers its copy of the page, and learns which page to use. Every call has a
//! short deadline and is made again by the caller; it never waits for a fencer to appear.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasefence_core::ids::BootId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::message::{LinkError, Message, Received, receive, send_hello};
use crate::page::Page;

/// The longest that one call of the client may take to send, or to wait for the answer. A fencer that has lost its page
/// answers within this too: it takes an offered copy at once.
const DEADLINE: Duration = Duration::from_millis(500);

/// Which page to use from now on.
#[derive(Debug)]
pub enum Attached {
    /// The one that the agent holds already.
    Same,
    /// Another one: the agent's first, or, when `attach` offered a copy, a page that the fencer made because it had lost the
    /// old one and could not take the copy. What the agent had written must be written again.
    New(Page),
}

/// The agent's link to the fencer.
#[derive(Debug)]
pub struct FencerLink {
    path: PathBuf,
    boot_id: BootId,
    socket: Option<OwnedFd>,
}

impl FencerLink {
    /// A link to the fencer that listens on `path` (`<run_dir>/fencer.sock`). Connects to nothing yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, boot_id: BootId) -> Self {
        Self { path: path.into(), boot_id, socket: None }
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connects (anew), offers `held`, and returns the page to use. Blocks for at most a second; call it from a thread that
    /// may wait that long, again every 100 ms or so while it fails.
    ///
    /// # Errors
    /// When no fencer listens, it does not answer in time, or it hands out something that is no page.
    pub fn attach(&mut self, held: Option<&Page>) -> Result<Attached, LinkError> {
        self.socket = None;
        let socket = self.connect()?;
        send_hello(socket.as_fd(), self.boot_id, held.map(AsFd::as_fd)).map_err(self.failed("writing to"))?;
        let page = match receive(&socket) {
            Ok(Received::Message(Message::Welcome { page })) => Page::from_fd(page)?,
            Ok(Received::Message(Message::Hello { .. })) | Err(Errno::PROTO) => {
                return Err(LinkError::Protocol);
            }
            Ok(Received::Nothing) => return Err(self.failed("waiting for an answer on")(Errno::TIMEDOUT)),
            Ok(Received::Closed) => return Err(LinkError::Closed),
            Err(error) => return Err(self.failed("reading from")(error)),
        };
        self.socket = Some(socket);
        match held {
            Some(held) if held.is_same(&page)? => Ok(Attached::Same),
            _ => Ok(Attached::New(page)),
        }
    }

    /// True while the fencer that was attached to last holds the link open. Never blocks. When it turns false the fencer has
    /// ended: attach again, with the page in hand.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            // The fencer sends nothing after its welcome, so that whatever is to be read is the end.
            Ok(ready) => ready == 0,
            Err(error) => error == Errno::INTR,
        }
    }

    fn connect(&self) -> Result<OwnedFd, LinkError> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(self.failed("making"))?;
        for side in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, side, Some(DEADLINE)).map_err(self.failed("limiting"))?;
        }
        let address = SocketAddrUnix::new(&self.path).map_err(self.failed("naming"))?;
        connect(&socket, &address).map_err(self.failed("connecting to"))?;
        Ok(socket)
    }

    fn failed(&self, doing: &'static str) -> impl Fn(Errno) -> LinkError + use<> {
        let path = self.path.clone();
        move |source| LinkError::Socket { doing, path: path.clone(), source }
    }
}
