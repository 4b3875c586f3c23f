//! The two messages of the link, each one packet with at most one descriptor.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use leasefence_core::ids::BootId;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::page::PageError;

const MAGIC: [u8; 4] = *b"LFLK";
const VERSION: u8 = 1;
const HELLO: u8 = 1;
const WELCOME: u8 = 2;
/// magic 4 | version 1 | kind 1 | spare 2 | boot id 16
const MESSAGE_BYTES: usize = 24;

/// Why agent and fencer could not be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A call on the socket failed.
    #[error("{doing} the fencer's socket {}; is leasefence-fencer running?", path.display())]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The file system refused something about the socket.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// Socket or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// What came is no message of this protocol.
    #[error(
        "the peer on the fencer's socket speaks another protocol: agent and fencer must be of one release"
    )]
    Protocol,
    /// The peer closed the link before it answered.
    #[error("the fencer closed the link without handing out a page: its log says why")]
    Closed,
    /// The peer is neither root nor this process's user.
    #[error("the peer on the fencer's socket runs as user {0}, which may not take part")]
    Peer(u32),
    /// The descriptor that came is no page.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// One packet.
#[derive(Debug)]
pub(crate) enum Message {
    /// The agent's: its boot, and its copy of the page.
    Hello { boot_id: BootId, page: Option<OwnedFd> },
    /// The fencer's: the page to use.
    Welcome { page: OwnedFd },
}

/// Sends a hello.
pub(crate) fn send_hello(
    socket: BorrowedFd<'_>,
    boot_id: BootId,
    page: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    send(socket, &encode(HELLO, boot_id), page)
}

/// Sends a welcome.
pub(crate) fn send_welcome(socket: BorrowedFd<'_>, page: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket, &encode(WELCOME, BootId::ZERO), Some(page))
}

fn encode(kind: u8, boot_id: BootId) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&[VERSION, kind]);
    bytes[8..].copy_from_slice(&boot_id.0);
    bytes
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(|_| ())
}

/// What a receive came to.
pub(crate) enum Received {
    Message(Message),
    /// Nothing there yet, or not in time.
    Nothing,
    /// The peer is gone.
    Closed,
}

/// Receives one packet; the socket's own mode (non-blocking, or with a time-out) says how long it waits.
pub(crate) fn receive(socket: impl AsFd) -> Result<Received, Errno> {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    {
        Ok(got) => got.bytes,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Received::Closed),
        Err(error) => return Err(error),
    };
    if got == 0 {
        return Ok(Received::Closed);
    }
    let page = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    decode(&bytes[..got], page).map(Received::Message).ok_or(Errno::PROTO)
}

fn decode(bytes: &[u8], page: Option<OwnedFd>) -> Option<Message> {
    let (head, boot_id) = bytes.split_first_chunk::<8>()?;
    let boot_id = BootId(boot_id.try_into().ok()?);
    if head[..4] != MAGIC || head[4] != VERSION {
        return None;
    }
    match head[5] {
        HELLO => Some(Message::Hello { boot_id, page }),
        WELCOME => Some(Message::Welcome { page: page? }),
        _ => None,
    }
}
