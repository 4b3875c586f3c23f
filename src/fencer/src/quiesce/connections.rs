//! The TCP connections to a server, as far as they may carry what a storage had sent.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use leasefence_transport::{Sockets, TcpSocket, destroy, sockets_to};

/// How often it is looked whether the queues have emptied.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Ends all connections to the server that there are now, also those that nobody owns any more. New ones carry nothing of what
/// was taken away before.
pub(super) fn end(server: SocketAddr) -> Result<(), String> {
    let failed = |error| format!("the connections to {server}: {error}");
    let there = sockets_to(server, Sockets::MaySend).map_err(failed)?;
    there.iter().try_for_each(destroy).map_err(failed)?;
    let left = sockets_to(server, Sockets::MaySend).map_err(failed)?;
    // Older kernels leave one that belongs to nobody in its state, and empty its queue.
    let holds = |socket: &TcpSocket| socket.unsent() > 0 && there.iter().any(|ended| ended.is_same(socket));
    match left.iter().any(holds) {
        true => Err(format!("a connection to {server} does not end")),
        false => Ok(()),
    }
}

/// Whether all that was given to the connections to the server was acknowledged, and none is being closed. It looks for a
/// moment: others may use them.
pub(super) fn have_sent_all(server: SocketAddr) -> Result<bool, String> {
    for _ in 0..LOOKS {
        let sockets = sockets_to(server, Sockets::MaySend)
            .map_err(|error| format!("the connections to {server}: {error}"))?;
        if sockets.iter().all(|socket| socket.unsent() == 0) {
            return Ok(!any_is_closing(server)?);
        }
        thread::sleep(BETWEEN_LOOKS);
    }
    Ok(false)
}

/// Whether a connection to the server is being closed: what it was given may still leave.
pub(super) fn any_is_closing(server: SocketAddr) -> Result<bool, String> {
    let count = |which| sockets_to(server, which).map(|sockets| sockets.len());
    let counts = count(Sockets::InUse).and_then(|in_use| Ok((in_use, count(Sockets::MaySend)?)));
    let (in_use, may_send) = counts.map_err(|error| format!("the connections to {server}: {error}"))?;
    Ok(may_send > in_use)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_that_is_closing_is_seen_and_ended_with_what_it_holds() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(server).expect("connected");
        let (mut far, _) = listener.accept().expect("accepted");
        assert_eq!(any_is_closing(server), Ok(false));
        // More than the far end takes without reading: the rest waits in the queue of a socket that nobody owns any more.
        client.set_nonblocking(true).expect("set");
        while client.write(&[7; 65_536]).is_ok() {}
        drop(client);
        assert_eq!(any_is_closing(server), Ok(true));
        end(server).expect("ended");
        assert_eq!(any_is_closing(server), Ok(false));
        let mut received = Vec::new();
        let error = far.read_to_end(&mut received).expect_err("cut off, and not ended in order");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
