//! What a host's PID 1 is told when it is powered on: a JSON file written by [`crate::Host`], read by [`crate::init`].

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the shared storage appears on every host: a mount point, as an NFS mount would be.
pub const SHARED: &str = "/mnt/shared";

/// Where agent and fencer keep their sockets.
pub const RUN_DIR: &str = "/run/leasefence";

/// A file on each host, holding the host's own name: the guest gets it through QEMU's `fw_cfg`.
pub const HOST_NAME_FILE: &str = "/run/host-name";

/// One boot of a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostSpec {
    /// Its host name.
    pub name: String,
    /// Its machine id: the same over all boots.
    pub machine_id: String,
    /// Its boot id: new with each boot.
    pub boot_id: String,
    /// Name of its control group in every hierarchy.
    pub cgroup: String,
    /// The directory on this machine that is the host's own disk: it survives a power cut.
    pub disk: PathBuf,
    /// The directory on this machine that all hosts share, mounted at [`SHARED`].
    pub shared: PathBuf,
    /// Added to `CLOCK_MONOTONIC`, in seconds.
    pub monotonic_offset_s: i64,
    /// Added to `CLOCK_BOOTTIME`, in seconds.
    pub boottime_offset_s: i64,
    /// What it can run; each starts when asked for.
    pub services: Vec<Service>,
    /// Names of the services that start with the host.
    pub enabled: Vec<String>,
}

/// A program that is started again when it ends, like a systemd unit with `Restart=always`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its name, also that of its log `NAME.log` in [`HostSpec::log_dir`].
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl HostSpec {
    /// Says from inside that this boot's file systems stand.
    ///
    /// # Errors
    /// When the host's disk cannot be written.
    pub fn say_booted(&self) -> io::Result<()> {
        fs::write(self.disk.join("booted"), &self.boot_id)
    }

    /// Whether it was said, as seen from outside.
    #[must_use]
    pub fn has_booted(&self) -> bool {
        fs::read_to_string(self.disk.join("booted")).is_ok_and(|boot_id| boot_id == self.boot_id)
    }

    /// Where the host's services log to.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.disk.join("log")
    }
}
