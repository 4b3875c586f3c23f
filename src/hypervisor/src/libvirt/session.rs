//! One connection to libvirt, from its opening to its close.
//!
//! Opening and dropping it talk to the daemon and can hang with it: both are done on threads that nobody waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use virt::connect::Connect;

use super::callbacks::{self, Listener};

/// How many pings in a row may go unanswered. The first is sent after one interval without traffic, and the
/// connection is closed one interval after the last: with two pings a second apart, 3.0 s after the daemon hung
/// (measured; with three 4.0 s).
const PINGS: u32 = 2;

/// A connection with its callbacks.
#[derive(Debug)]
pub(super) struct Session {
    connect: Connect,
    listener: Arc<Listener>,
    registrations: Vec<i32>,
    opened: Instant,
}

impl Session {
    /// Connects, turns pings on and subscribes to events. Events flow once [`Session::listen`] was called.
    pub(super) fn open(
        uri: &str,
        ping: Duration,
        listener: Arc<Listener>,
    ) -> Result<Self, virt::error::Error> {
        let connect = Connect::open(Some(uri))?;
        let mut session = Self { connect, listener, registrations: Vec::new(), opened: Instant::now() };
        // From here on an early return drops the session, which closes the connection.
        let seconds = i32::try_from(ping.as_secs()).unwrap_or(i32::MAX).max(1);
        session.connect.set_keep_alive(seconds, PINGS)?;
        callbacks::register_close(&session.connect, &session.listener)?;
        session.registrations = callbacks::register_events(&session.connect, &session.listener)?;
        Ok(session)
    }

    pub(super) fn connect(&self) -> &Connect {
        &self.connect
    }

    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Its number: a later session has a higher one.
    pub(super) fn number(&self) -> u64 {
        self.listener.session()
    }

    /// For how long the connection has stood.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether the connection's socket is still open. Asks nobody.
    pub(super) fn is_open(&self) -> bool {
        self.connect.is_alive().unwrap_or(false)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.listener.shut();
        // Each registration holds a reference: with one left, the connection would never be closed.
        callbacks::deregister(&self.connect, &self.registrations);
        if let Err(error) = self.connect.close() {
            tracing::debug!("closing a connection to libvirt: {}", error.message());
        }
    }
}
