//! Each reset of a hypervisor, as its QEMU tells it: the one witness of a host that can say nothing any more.

use std::fmt;
use std::time::SystemTime;

use crate::qmp::Event;

/// What has reset a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// Its emulated watchdog, an i6300esb.
    Watchdog,
    /// Its own kernel: a reboot, a panic, or a softdog.
    Kernel,
    /// Somebody who pressed its reset button.
    Button,
}

/// A machine was reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    /// When, by this machine's wall clock.
    pub at: SystemTime,
    /// Which machine.
    pub host: &'static str,
    /// By what.
    pub by: By,
}

/// Tells a machine's resets from what its QEMU says: a watchdog that fires is told first, and then the reset.
#[derive(Debug)]
pub struct Resets {
    host: &'static str,
    fired: bool,
}

impl Resets {
    /// Of this machine.
    #[must_use]
    pub fn of(host: &'static str) -> Self {
        Self { host, fired: false }
    }

    /// Takes the next event.
    pub fn next(&mut self, event: &Event) -> Option<Reset> {
        match event.name.as_str() {
            "WATCHDOG" => {
                self.fired = true;
                None
            }
            "RESET" => {
                let by = match event.data["guest"].as_bool() {
                    Some(true) if self.fired => By::Watchdog,
                    Some(true) => By::Kernel,
                    _ => By::Button,
                };
                self.fired = false;
                Some(Reset { at: event.at(), host: self.host, by })
            }
            _ => None,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watchdog => "its watchdog",
            Self::Kernel => "its own kernel",
            Self::Button => "its reset button",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// As QEMU 7.2 says them.
    #[test]
    fn a_watchdog_s_reset_is_told_from_a_kernel_s_and_from_the_button() {
        let mut resets = Resets::of("host-1");
        let mut next = |text: &str| {
            let stamp = r#""timestamp": {"seconds": 7, "microseconds": 500000}"#;
            let event: Event = serde_json::from_str(&format!("{{{stamp}, {text}}}")).unwrap();
            resets.next(&event)
        };
        let guest = r#""event": "RESET", "data": {"guest": true, "reason": "guest-reset"}"#;
        let button = r#""event": "RESET", "data": {"guest": false, "reason": "host-qmp-system-reset"}"#;
        let reset = |by| Some(Reset { at: UNIX_EPOCH + Duration::from_millis(7500), host: "host-1", by });
        assert_eq!(next(r#""event": "STOP""#), None);
        assert_eq!(next(guest), reset(By::Kernel));
        assert_eq!(next(r#""event": "WATCHDOG", "data": {"action": "reset"}"#), None);
        assert_eq!(next(guest), reset(By::Watchdog));
        assert_eq!(next(guest), reset(By::Kernel), "each fires for one reset");
        assert_eq!(next(button), reset(By::Button));
    }
}
