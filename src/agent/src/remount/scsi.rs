//! A disk of an iSCSI session that the fencer has deleted: its host scans for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

/// For as long a scan is waited for, which takes no time where its path works.
const SCAN: Duration = Duration::from_secs(1);

/// A SCSI device.
pub(super) struct ScsiNote {
    /// Host, channel, target, LUN: `2:0:0:1`.
    pub(super) at: String,
    /// One that has not ended.
    scan: Option<Receiver<io::Result<()>>>,
}

impl ScsiNote {
    /// What stands in the notes.
    pub(super) fn read(at: &str) -> Self {
        Self { at: at.to_owned(), scan: None }
    }

    /// The fencer ends connections, which iscsid makes anew, and no session. One that is gone was logged out by somebody who may have
    /// meant it, and nothing of ours may log in where he did not ask for it: its disk counts as there, and is not waited for. Without
    /// the disk no barrier of its domains is acknowledged, and no QEMU opens it. One that was begun anew has another host, and brings its
    /// devices itself.
    pub(super) fn is_there(&self) -> bool {
        Path::new("/sys/class/scsi_device").join(&self.at).exists() || !self.scan_file().exists()
    }

    /// Scans; where its path does not answer that may take as long as the session is given to come back, and has a thread of its own.
    ///
    /// # Errors
    /// When it cannot be scanned for, or an earlier scan has not ended.
    pub(super) fn bring_back(&mut self) -> Result<(), String> {
        if self.scan.as_ref().is_some_and(|scan| matches!(scan.try_recv(), Err(TryRecvError::Empty))) {
            return Err("the scan for it has not ended".to_owned());
        }
        let numbers = self.at.split(':').skip(1).collect::<Vec<_>>().join(" ");
        let file = self.scan_file();
        let (ended, scan) = mpsc::channel();
        let scans = move || drop(ended.send(fs::write(file, numbers)));
        thread::Builder::new().name("scan".to_owned()).spawn(scans).map_err(|error| error.to_string())?;
        match scan.recv_timeout(SCAN) {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                self.scan = Some(scan);
                Ok(())
            }
            Err(RecvTimeoutError::Disconnected) => Err("its thread has died".to_owned()),
        }
    }

    fn scan_file(&self) -> PathBuf {
        let host = self.at.split(':').next().unwrap_or_default();
        PathBuf::from(format!("/sys/class/scsi_host/host{host}/scan"))
    }
}
