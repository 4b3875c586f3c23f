//! Whether a server can be reached now, asked by new connections to it.

use std::collections::VecDeque;
use std::io::Result;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, getsockopt, socket, sockopt,
};

/// Between two attempts while none is answered, each a packet. A path that has come back is noticed within this and its own
/// delay; a cut of 0.9 of a ttl of 12 s leaves four of them in the worst case.
pub(crate) const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// An attempt without an answer for so long says that the path is dead. A slow server is to be left alone (ARCHITECTURE 3), and one
/// whose answers take less than a second is only slow: TCP itself waits so long before it takes a first packet for lost (RFC 6298,
/// 2.1). What is shorter calls such a server dead before anything was sent again. The end of a cut is noticed no later by it, since
/// an attempt begins each [`BETWEEN_ATTEMPTS`].
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1);

/// The path to a server, and the connections that are being tried over it.
#[derive(Debug)]
pub(crate) struct Path {
    server: SocketAddr,
    attempts: VecDeque<(Instant, OwnedFd)>,
}

impl Path {
    /// The path to this server; nothing is tried yet.
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self { server, attempts: VecDeque::new() }
    }

    /// Begins one more attempt, waits for [`BETWEEN_ATTEMPTS`] at most, and says whether the server has accepted one; `None`
    /// while that is open. When it has, no attempt is left.
    ///
    /// # Errors
    /// When no socket is to be had.
    pub(crate) fn try_it(&mut self) -> Result<Option<bool>> {
        let begun = Instant::now();
        let mut refused = !self.attempt(begun)?;
        loop {
            let left = BETWEEN_ATTEMPTS.saturating_sub(begun.elapsed());
            match self.ended(left)? {
                Some((_, true)) => {
                    self.give_up();
                    return Ok(Some(true));
                }
                Some((index, false)) => {
                    self.attempts.remove(index);
                    refused = true;
                }
                None if left.is_zero() => break,
                None => {}
            }
        }
        let overdue = |(since, _): &(Instant, OwnedFd)| since.elapsed() >= LONGEST_ATTEMPT;
        let dead = refused || self.attempts.front().is_some_and(overdue);
        self.attempts.retain(|attempt| !overdue(attempt));
        Ok(dead.then_some(false))
    }

    /// Gives up what is being tried.
    pub(crate) fn give_up(&mut self) {
        self.attempts.clear();
    }

    /// Begins an attempt. False where the kernel knows no way.
    fn attempt(&mut self, now: Instant) -> Result<bool> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let family = if self.server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, flags, None)?;
        let connecting = match self.server {
            SocketAddr::V4(server) => connect(socket.as_raw_fd(), &SockaddrIn::from(server)),
            SocketAddr::V6(server) => connect(socket.as_raw_fd(), &SockaddrIn6::from(server)),
        };
        let begun = matches!(connecting, Ok(()) | Err(Errno::EINPROGRESS));
        if begun {
            self.attempts.push_back((now, socket));
        }
        Ok(begun)
    }

    /// The first attempt that ends within `limit`, and whether it was accepted.
    fn ended(&self, limit: Duration) -> Result<Option<(usize, bool)>> {
        if self.attempts.is_empty() {
            thread::sleep(limit);
            return Ok(None);
        }
        let mut sockets: Vec<PollFd<'_>> =
            self.attempts.iter().map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        match poll(&mut sockets, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = sockets.iter().position(|socket| socket.any() == Some(true));
        Ok(ended.map(|index| {
            let accepted = getsockopt(&self.attempts[index].1, sockopt::SocketError);
            (index, accepted == Ok(0))
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::sys::socket::{Backlog, accept, bind, getsockname, listen};

    use super::*;

    #[test]
    fn a_server_that_listens_answers_at_once_and_one_that_does_not_is_dead() -> Result<()> {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address)?;
            let mut path = Path::to(listener.local_addr()?);
            assert_eq!(path.try_it()?, Some(true), "{address}");
            assert!(path.attempts.is_empty(), "{address}");
            drop(listener);
            assert_eq!(path.try_it()?, Some(false), "{address}");
        }
        Ok(())
    }

    /// A listener whose queue is full leaves new connections without an answer, as a dead path does. Catches: a server that
    /// answers within a second and is called dead; a path that is back and is not noticed at once.
    #[test]
    fn silence_is_open_for_a_while_and_then_death() -> Result<()> {
        let (kept, server) = listener_with_a_full_queue()?;
        let mut path = Path::to(server);
        let begun = Instant::now();
        while path.try_it()?.is_none() {}
        assert!(begun.elapsed() >= Duration::from_secs(1), "an answer may take so long");
        assert!(begun.elapsed() < Duration::from_secs(5), "silence is death in the end");
        assert_eq!(path.try_it()?, Some(false), "and stays so");
        assert!(path.attempts.len() <= 11, "old attempts are given up");

        while accept(kept[0].as_raw_fd()).is_ok() {}
        assert_eq!(path.try_it()?, Some(true), "the first attempt after the path is back finds it");
        Ok(())
    }

    /// With the connections that fill it.
    fn listener_with_a_full_queue() -> Result<(Vec<OwnedFd>, SocketAddr)> {
        let socket = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None);
        let listener = socket()?;
        bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
        listen(&listener, Backlog::new(0)?)?;
        let name: SockaddrIn = getsockname(listener.as_raw_fd())?;
        let mut kept = vec![listener];
        for _ in 0..4 {
            let socket = socket()?;
            connect(socket.as_raw_fd(), &name).ok();
            kept.push(socket);
        }
        Ok((kept, SocketAddr::from((name.ip(), name.port()))))
    }
}
