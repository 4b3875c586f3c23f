//! The fencer's end of the link. Nothing here ever blocks: the fencer looks in between two beats.

use std::fs::{self, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use leasefence_core::ids::BootId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::geteuid;

use super::message::{LinkError, Message, Received, receive, send_welcome};
use crate::page::Page;

/// The most links held open at once: one agent, its successor, and a few strangers. The oldest goes first.
const MOST_LINKS: usize = 8;

const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Names the agent that made an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfferId(u64);

/// An agent that has said hello and waits for a page.
#[derive(Debug)]
pub struct Offer {
    /// To answer by.
    pub id: OfferId,
    /// The agent's boot.
    pub boot_id: BootId,
    /// Its copy of the page, already checked to be one.
    pub page: Option<Page>,
}

struct Link {
    id: u64,
    socket: OwnedFd,
}

/// Listens for agents.
pub struct LinkServer {
    path: PathBuf,
    listener: OwnedFd,
    links: Vec<Link>,
    next: u64,
}

impl std::fmt::Debug for LinkServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkServer").field("path", &self.path).field("links", &self.links.len()).finish()
    }
}

impl LinkServer {
    /// Listens on `path`, in the place of a socket that a predecessor left there.
    ///
    /// # Errors
    /// When the socket cannot be made or its mode not be set.
    pub fn bind(path: &Path) -> Result<Self, LinkError> {
        let failed = |doing| move |source| LinkError::Socket { doing, path: path.to_owned(), source };
        let file = |doing| move |source| LinkError::File { doing, path: path.to_owned(), source };
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("removing the old socket")(error));
            }
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("making"))?;
        let address = SocketAddrUnix::new(path).map_err(failed("naming"))?;
        bind(&listener, &address).map_err(failed("binding"))?;
        // Nobody can connect before `listen`, so that the mode is right by then.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(file("setting the mode of"))?;
        listen(&listener, 8).map_err(failed("listening on"))?;
        Ok(Self { path: path.to_owned(), listener, links: Vec::with_capacity(MOST_LINKS), next: 0 })
    }

    /// Takes new connections and returns the next agent that waits for a page, if any. Links whose peer is gone, who may not
    /// take part, or who speak another protocol, are closed.
    pub fn poll(&mut self) -> Option<Offer> {
        if !self.is_asked() {
            return None;
        }
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.admit(socket);
        }
        let mut offer = None;
        self.links.retain(|link| {
            if offer.is_some() {
                return true;
            }
            match receive(&link.socket) {
                Ok(Received::Nothing) => true,
                Ok(Received::Message(Message::Hello { boot_id, page })) => {
                    // A descriptor that is no page is as good as none.
                    let page = page.and_then(|fd| Page::from_fd(fd).ok());
                    offer = Some(Offer { id: OfferId(link.id), boot_id, page });
                    true
                }
                Ok(Received::Closed | Received::Message(Message::Welcome { .. })) | Err(_) => false,
            }
        });
        offer
    }

    /// True when somebody connects, speaks or has gone. `accept` is not asked: where nobody connects, the kernel makes a socket
    /// and a file for it before it looks, in each beat, and where memory has run out it waits for some (R7).
    fn is_asked(&self) -> bool {
        let mut all: [_; MOST_LINKS + 1] = std::array::from_fn(|place| {
            let socket = self.links.get(place).map_or(&self.listener, |link| &link.socket);
            PollFd::new(socket, PollFlags::IN)
        });
        poll(&mut all, Some(&NO_WAIT)) != Ok(0)
    }

    fn admit(&mut self, socket: OwnedFd) {
        let admitted = socket_peercred(&socket).is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid());
        if !admitted {
            return;
        }
        if self.links.len() == MOST_LINKS {
            self.links.remove(0);
        }
        self.links.push(Link { id: self.next, socket });
        self.next += 1;
    }

    /// Answers an offer with the page to use: the fencer's own, or the agent's copy taken over.
    ///
    /// # Errors
    /// When the agent is gone; it will come again.
    pub fn welcome(&mut self, id: OfferId, page: &Page) -> Result<(), LinkError> {
        let sent = match self.links.iter().find(|link| link.id == id.0) {
            Some(link) => send_welcome(link.socket.as_fd(), page.as_fd()),
            None => Err(Errno::NOTCONN),
        };
        sent.map_err(|source| {
            self.links.retain(|link| link.id != id.0);
            LinkError::Socket { doing: "answering on", path: self.path.clone(), source }
        })
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

    use super::*;

    const LOOKS: u64 = 20_000;

    /// The kernel numbers its sockets, on each processor by itself.
    fn next_number() -> u64 {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        rustix::fs::fstat(socket.unwrap()).unwrap().st_ino
    }

    #[test]
    fn a_look_at_nobody_makes_no_socket() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = LinkServer::bind(&directory.path().join("fencer.sock")).unwrap();
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(None, &here).unwrap();
        let first = next_number();
        assert!((0..LOOKS).all(|_| server.poll().is_none()));
        let made = next_number() - first;
        assert!(made < LOOKS / 2, "{made} sockets in {LOOKS} looks");
    }
}
