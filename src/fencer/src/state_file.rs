//! The marker's file, `<run_dir>/state`, on a tmpfs: whether this host was armed since boot, or is disarmed. Written whole
//! or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use leasefence_core::fencing::{Marker, MarkerFound};

const MOST_BYTES: u64 = 4096;

/// Where the marker lies.
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(crate) fn in_dir(run_dir: &Path) -> Self {
        Self { path: run_dir.join("state") }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the marker; whatever is there and cannot be read counts as armed, in the core.
    pub(crate) fn read(&self) -> MarkerFound {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => text.parse::<Marker>().map_or(MarkerFound::Unreadable, MarkerFound::Marker),
            Err(error) if error.kind() == ErrorKind::NotFound => MarkerFound::None,
            Err(_) => MarkerFound::Unreadable,
        }
    }

    /// Puts the marker in its place, by a rename over the old one.
    pub(crate) fn write(&self, marker: &Marker) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{marker}")?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}
