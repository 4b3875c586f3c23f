//! The service manager's side of a test: it reads the fencer's notes and keeps what it is given.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Reads notes up to one that contains `last`. Returns the last descriptor that was sent to be kept.
pub(crate) fn until(manager: &UnixDatagram, last: &str) -> OwnedFd {
    // None that comes is a failure, not a wait for ever.
    manager.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let mut kept = None;
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(8), "{last} never came");
        let (mut bytes, mut space) = ([0; 512], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(manager, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
        let got = got.unwrap_or_else(|error| panic!("{last} never came: {error}")).bytes;
        let text = String::from_utf8_lossy(&bytes[..got]).into_owned();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                assert!(text.contains("FDSTORE=1") && text.contains("FDNAME="), "{text}");
                kept = fds.next();
            }
        }
        if text.contains(last)
            && let Some(kept) = kept.take()
        {
            return kept;
        }
    }
}
