//! Writers that are no domain's process: a server of disks (qemu-nbd, a vhost-user daemon, a target of the kernel's) that has a
//! storage of a domain open for writing. The fencer does not end them, so that the exits of the domains' processes say nothing of
//! what they write, whoever it is that has them write it (R6).

use crate::fencing::QuiesceTarget;
use crate::fencing::fencer::{Fencer, MOST};

/// Stands for every device: what somebody writes to cannot be told.
pub const ANY_DEVICE: u64 = u64::MAX;

impl Fencer {
    /// Takes the device numbers of what such writers have open for writing, as they were found last: call it before
    /// [`Self::handle_scan`]. While a storage that must be shown quiet is among them nothing is proven, and what was shown quiet
    /// before counts no more.
    pub fn handle_writers(&mut self, devices: &[u64]) {
        self.written.clear();
        // What has no room is not forgotten: no storage counts as free of them then.
        self.too_many_writers = devices.len() > MOST;
        if !self.too_many_writers {
            self.written.extend_from_slice(devices);
        }
    }

    /// True while a writer that is no domain's has it open.
    pub(super) fn is_written(&self, target: &QuiesceTarget) -> bool {
        self.too_many_writers
            || self.written.iter().any(|device| [target.device, ANY_DEVICE].contains(device))
    }
}
