//! Whether this host is shutting down: then the end of a domain that looks like a user's is not one.
//!
//! At a shutdown libvirt-guests stops the domains in the same way as a user would; only systemd knows the difference.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long systemd's answer is waited for.
const DEADLINE: Duration = Duration::from_secs(1);

/// True when systemd says that the host is stopping. False without systemd, and when it does not answer in a second.
/// Blocks for at most that.
#[must_use]
pub fn host_is_stopping() -> bool {
    if !Path::new("/run/systemd/system").exists() {
        return false;
    }
    let (sender, receiver) = mpsc::channel();
    let asking = std::thread::Builder::new().name("host-stopping".to_owned()).spawn(move || {
        let _nobody_waits = sender.send(system_state());
    });
    match asking {
        Ok(_thread) => receiver.recv_timeout(DEADLINE).is_ok_and(|state| state == "stopping"),
        Err(_) => false,
    }
}

fn system_state() -> String {
    let mut state = String::new();
    let asked = Command::new("systemctl")
        .arg("is-system-running")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut asked) = asked {
        if let Some(output) = asked.stdout.as_mut() {
            // What cannot be read is no "stopping".
            let _unreadable = output.read_to_string(&mut state);
        }
        let _reaped = asked.wait();
    }
    state.trim().to_owned()
}
