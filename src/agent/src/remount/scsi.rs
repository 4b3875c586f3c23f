//! A disk of an iSCSI session that the fencer has deleted: its host scans for it.

use std::fs;
use std::path::{Path, PathBuf};

/// A SCSI device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ScsiNote {
    /// Host, channel, target, LUN: `2:0:0:1`.
    pub(super) at: String,
}

impl ScsiNote {
    /// What stands in the notes.
    pub(super) fn read(at: &str) -> Self {
        Self { at: at.to_owned() }
    }

    /// The fencer ends connections, which iscsid makes anew, and no session. One that is gone was logged out by somebody who may have
    /// meant it, and nothing of ours may log in where he did not ask for it: its disk counts as there, and is not waited for. Without
    /// the disk no barrier of its domains is acknowledged, and no QEMU opens it. One that was begun anew has another host, and brings its
    /// devices itself.
    pub(super) fn is_there(&self) -> bool {
        Path::new("/sys/class/scsi_device").join(&self.at).exists() || !self.scan_file().exists()
    }

    /// Scans, which may take as long as the session is given to come back where its path does not answer.
    ///
    /// # Errors
    /// When it cannot be scanned for.
    pub(super) fn bring_back(&self) -> Result<(), String> {
        let numbers = self.at.split(':').skip(1).collect::<Vec<_>>().join(" ");
        fs::write(self.scan_file(), numbers).map_err(|error| error.to_string())
    }

    fn scan_file(&self) -> PathBuf {
        let host = self.at.split(':').next().unwrap_or_default();
        PathBuf::from(format!("/sys/class/scsi_host/host{host}/scan"))
    }
}
