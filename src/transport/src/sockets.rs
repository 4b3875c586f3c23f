//! The kernel's TCP sockets by `sock_diag(7)`: which ones lead to a server, how they are, and their end
//! (`SOCK_DESTROY`, which needs `CAP_NET_ADMIN`).

#![allow(
    clippy::host_endian_bytes,
    clippy::big_endian_bytes,
    reason = "netlink is in the host's order, ports in the network's"
)]

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Message types, flags and states (`linux/netlink.h`, `linux/sock_diag.h`, `linux/inet_diag.h`, `net/tcp_states.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: u8 = 2;
const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
const TIMER_RETRANSMIT: u8 = 1;

/// Which sockets are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sockets {
    /// Those that may carry calls now or soon. What is being closed carries none, and may be of a probe.
    InUse,
    /// All that may still send what they were given: also those that are being closed and belong to nobody any more.
    MaySend,
}

impl Sockets {
    fn states(self) -> u32 {
        match self {
            Self::InUse => 1 << TCP_ESTABLISHED | 1 << TCP_SYN_SENT,
            Self::MaySend => !(1 << TCP_TIME_WAIT | 1 << TCP_CLOSE | 1 << TCP_LISTEN),
        }
    }
}

/// Sizes in bytes: `nlmsghdr`, `inet_diag_sockid`, `inet_diag_req_v2`, `inet_diag_msg`.
const HEADER: usize = 16;
const SOCKET_ID: usize = 48;
const REQUEST: usize = 8 + SOCKET_ID;
const MESSAGE: usize = 4 + SOCKET_ID + 20;
/// Where in the message the bytes lie that were not acknowledged yet, and the inode: of its last five words the third and fifth.
const UNSENT: usize = MESSAGE - 12;
const INODE: usize = MESSAGE - 4;
/// Where in the socket's id its far end's port and address lie.
const FAR_PORT: usize = 2;
const FAR_ADDRESS: usize = 20;
/// And its cookie, to the end.
const COOKIE: usize = 40;

/// The kernel answers at once; a question without an answer is a bug somewhere.
const ANSWER_SECONDS: i64 = 2;

/// A TCP socket of this network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpSocket {
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    /// As `/proc/PID/fd` names it.
    pub(crate) inode: u32,
    unsent: u32,
    id: [u8; SOCKET_ID],
}

impl TcpSocket {
    /// True while it sends again what nobody acknowledges, or is still being connected.
    pub(crate) fn backs_off(&self) -> bool {
        self.state == TCP_SYN_SENT || (self.timer == TIMER_RETRANSMIT && self.retransmissions > 0)
    }

    /// How many bytes it was given that the far end has not acknowledged.
    #[must_use]
    pub fn unsent(&self) -> u32 {
        self.unsent
    }

    /// True for the same socket: the kernel gives no two of them the same cookie.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id[COOKIE..] == other.id[COOKIE..]
    }

    fn leads_to(&self, server: SocketAddr) -> bool {
        let port = u16::from_be_bytes([self.id[FAR_PORT], self.id[FAR_PORT + 1]]);
        let address = &self.id[FAR_ADDRESS..FAR_ADDRESS + 16];
        let same = match server.ip() {
            IpAddr::V4(ip) => address[..4] == ip.octets(),
            IpAddr::V6(ip) => *address == ip.octets(),
        };
        port == server.port() && same
    }
}

/// The TCP sockets of this network namespace that lead to `server`.
///
/// # Errors
/// What the kernel says; [`ErrorKind::InvalidData`] if its answer makes no sense.
pub fn sockets_to(server: SocketAddr, which: Sockets) -> Result<Vec<TcpSocket>> {
    let family = family_of(server);
    let netlink = open()?;
    send(
        netlink.as_raw_fd(),
        &request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, which, &[0; SOCKET_ID]),
        MsgFlags::empty(),
    )?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for message in Messages(&buffer[..length]) {
            let (kind, body) = message?;
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error_in(body).unwrap_or_else(nonsense)),
                SOCK_DIAG_BY_FAMILY => found.extend(socket_in(body).filter(|socket| socket.leads_to(server))),
                _ => {}
            }
        }
    }
}

/// Ends a socket: whoever uses it sees its connection aborted. One that is gone already is fine.
///
/// # Errors
/// What the kernel says: without `CAP_NET_ADMIN` it refuses, and one built without `INET_DIAG_DESTROY` does not know how.
pub fn destroy(target: &TcpSocket) -> Result<()> {
    let netlink = open()?;
    send(
        netlink.as_raw_fd(),
        &request(SOCK_DESTROY, NLM_F_ACK, target.family, Sockets::MaySend, &target.id),
        MsgFlags::empty(),
    )?;
    let mut buffer = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let (kind, body) = Messages(&buffer[..length]).next().ok_or_else(nonsense)??;
    match error_in(body).filter(|_| kind == NLMSG_ERROR) {
        Some(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn family_of(server: SocketAddr) -> u8 {
    let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    u8::try_from(family as i32).unwrap_or_default()
}

fn open() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
    connect(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(netlink)
}

fn request(kind: u16, flags: u16, family: u8, which: Sockets, id: &[u8; SOCKET_ID]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(u32::try_from(HEADER + REQUEST).unwrap_or_default().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    bytes.extend(which.states().to_ne_bytes());
    bytes.extend(id);
    bytes
}

fn socket_in(body: &[u8]) -> Option<TcpSocket> {
    let body = body.get(..MESSAGE)?;
    let id = body[4..4 + SOCKET_ID].try_into().ok()?;
    let word = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
    let (unsent, inode) = (word(UNSENT)?, word(INODE)?);
    Some(TcpSocket {
        family: body[0],
        state: body[1],
        timer: body[2],
        retransmissions: body[3],
        unsent,
        inode,
        id,
    })
}

/// The error in an `nlmsgerr`; none for an acknowledgement.
fn error_in(body: &[u8]) -> Option<Error> {
    let code = i32::from_ne_bytes(*body.first_chunk()?);
    (code != 0).then(|| Error::from_raw_os_error(code.saturating_neg()))
}

fn nonsense() -> Error {
    Error::new(ErrorKind::InvalidData, "the kernel's answer about sockets makes no sense")
}

/// The messages in one datagram: type and body.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = split(self.0);
        self.0 = message.map_or(&[], |(_, _, rest)| rest);
        Some(message.map(|(kind, body, _)| (kind, body)).ok_or_else(nonsense))
    }
}

fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_found_by_its_far_end_and_ended() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has nothing to show there.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let server = listener.local_addr().expect("bound");
            let mut client = TcpStream::connect(server).expect("connected");
            let _accepted = listener.accept().expect("accepted");
            let found = sockets_to(server, Sockets::InUse).expect("listed");
            assert_eq!(found.len(), 1, "neither the listener nor its end of it leads there: {found:?}");
            assert!(!found[0].backs_off());
            destroy(&found[0]).expect("destroyed");
            assert_eq!(client.read(&mut [0]).expect_err("ended").kind(), ErrorKind::ConnectionAborted);
            destroy(&found[0]).expect("one that is gone is fine");
            assert_eq!(sockets_to(server, Sockets::InUse).expect("listed"), []);
        }
    }

    #[test]
    fn an_answer_that_was_cut_short_is_an_error_and_no_panic() {
        let whole = request(SOCK_DIAG_BY_FAMILY, 0, 2, Sockets::InUse, &[7; SOCKET_ID]);
        for length in 0..whole.len() {
            assert!(Messages(&whole[..length]).all(|message| message.is_err()), "{length}");
        }
        assert_eq!(
            Messages(&whole).map(|message| message.map(|(kind, _)| kind).ok()).collect::<Vec<_>>(),
            [Some(20)]
        );
        assert_eq!(socket_in(&[0; MESSAGE - 1]), None);
    }
}
