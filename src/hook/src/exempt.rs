//! The domains that the configuration exempts, by uuid, in a file that the agent keeps: they start also while it is away. It
//! counts only for the very text of the configuration that the agent had read; a changed one is asked about.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Configured;

const FILE: &str = "exempt";
const HEAD: &str = "leasefence-exempt 1";

/// The file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExemptFile {
    path: PathBuf,
    checksum: Option<u64>,
}

/// The list could not be replaced.
#[derive(Debug)]
pub struct Unwritten {
    error: io::Error,
    /// Why the old one could not be removed either, and stays in force.
    kept: Option<io::Error>,
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = &self.error;
        match &self.kept {
            None => write!(
                f,
                "the list of exempt domains cannot be written ({error}): none of them starts while the agent is away"
            ),
            Some(kept) => write!(
                f,
                "the list of exempt domains can neither be written ({error}) nor removed ({kept}): what it named before still starts while the agent is away"
            ),
        }
    }
}

impl std::error::Error for Unwritten {}

impl ExemptFile {
    /// The one that belongs to this configuration.
    #[must_use]
    pub fn of(configured: &Configured) -> Self {
        Self { path: configured.state_dir.join(FILE), checksum: configured.checksum }
    }

    /// True when it names the domain. False also when it cannot be read, or is of another configuration.
    #[must_use]
    pub fn names(&self, uuid: &str) -> bool {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let mut lines = text.lines();
        self.head().is_some_and(|head| lines.next() == Some(&head))
            && lines.any(|line| line.eq_ignore_ascii_case(uuid))
    }

    /// Replaces it, in one step. Without a configuration that could be read there is none. One that cannot be replaced is removed: a
    /// domain that it names may be exempt no more.
    ///
    /// # Errors
    /// When the file cannot be written: then these domains wait for the agent, where the old one could be removed.
    pub fn write(&self, uuids: &[String]) -> Result<(), Unwritten> {
        self.replace(uuids).map_err(|error| Unwritten { error, kept: remove(&self.path).err() })
    }

    fn replace(&self, uuids: &[String]) -> io::Result<()> {
        let Some(head) = self.head() else { return remove(&self.path) };
        let new = self.path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        for line in std::iter::once(&head).chain(uuids) {
            writeln!(file, "{line}")?;
        }
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }

    fn head(&self) -> Option<String> {
        self.checksum.map(|checksum| format!("{HEAD} {checksum:016x}"))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6c656173-6566-4e63-a000-000000000003";

    fn file(directory: &Path, config: &str) -> ExemptFile {
        let configured = Configured::of(config.as_bytes()).expect("a lease");
        ExemptFile::of(&Configured { state_dir: directory.into(), ..configured })
    }

    #[test]
    fn it_names_what_was_written_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let exempt = file(directory.path(), "lease = 1");
        assert!(!exempt.names(UUID));
        exempt.write(&[UUID.to_owned()]).expect("it is written");
        assert!(exempt.names(UUID) && !exempt.names("6c656173-6566-4e63-a000-000000000004"));
        exempt.write(&[]).expect("it is written");
        assert!(!exempt.names(UUID));
    }

    /// Catches: a domain that was exempt once, and that a changed configuration protects, starts before the agent has read that.
    #[test]
    fn it_says_nothing_under_a_changed_configuration() {
        let directory = tempfile::tempdir().expect("a directory");
        file(directory.path(), "lease = 1").write(&[UUID.to_owned()]).expect("it is written");
        assert!(!file(directory.path(), "lease = 1 ").names(UUID));
        assert!(file(directory.path(), "lease = 1").names(UUID));
    }

    /// Catches: a domain whose exemption is taken back, and that starts by the old list for as long as the disk is full.
    #[test]
    fn a_list_that_cannot_be_replaced_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let exempt = file(directory.path(), "lease = 1");
        exempt.write(&[UUID.to_owned()]).expect("it is written");
        // Stands for a full file system: nothing new can be made there.
        fs::create_dir(directory.path().join("exempt.new")).expect("made");
        let said = exempt.write(&[]).expect_err("it cannot be written").to_string();
        assert!(!exempt.names(UUID) && said.contains("none of them starts"), "{said}");
        // And where that fails as well people are told so.
        fs::create_dir(directory.path().join("exempt")).expect("made");
        let said = exempt.write(&[]).expect_err("nor removed").to_string();
        assert!(said.contains("still starts"), "{said}");
    }
}
