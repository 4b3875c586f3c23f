//! The one thread per process on which libvirt's client library reads its sockets and sends its pings.
//!
//! Keepalive and events come to nothing without it, so it must run before the first connection is made.

use std::sync::OnceLock;
use std::time::Duration;

use virt::event::{event_register_default_impl, event_run_default_impl};

static STARTED: OnceLock<Result<(), String>> = OnceLock::new();

/// Starts the loop at the first call; later calls give the first one's answer.
pub(super) fn run() -> Result<(), String> {
    STARTED.get_or_init(start).clone()
}

fn start() -> Result<(), String> {
    // Else libvirt prints each error on stderr, past the log.
    virt::error::clear_error_callback();
    event_register_default_impl().map_err(|error| error.message().to_owned())?;
    let thread = std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(turn_for_ever);
    thread.map(drop).map_err(|error| format!("no thread for it: {error}"))
}

fn turn_for_ever() {
    loop {
        if let Err(error) = event_run_default_impl() {
            tracing::warn!("libvirt's event loop: {}", error.message());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
