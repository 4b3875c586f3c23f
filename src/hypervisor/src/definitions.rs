//! The store of definitions on shared storage: what a survivor starts a dead host's domain from.
//!
//! A directory (0700) with files `UUID.VERSION.xml` (0600), each written whole: to a file of its own, synced, renamed,
//! the directory synced. Only the host that owns a domain's lease stores its definition. It keeps the two latest
//! versions, and never guesses: a file that is cut or altered is damaged, and one of another disk chain is no match.
//! Every call may block for as long as the storage does: call from a thread of one's own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use leasefence_core::ids::DomainId;

use crate::Definition;
use crate::domain_xml::LONGEST_XML_BYTES;
use crate::stored::{Damage, StoredDefinition, safe_name};

/// How many versions of a definition are kept.
const VERSIONS_KEPT: usize = 2;

/// Why the store cannot be used. The message says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionsError {
    /// A call of the file system failed.
    #[error("definitions: {doing} {}: {source}; is the shared storage mounted there, and may this host write to it?", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others may read the passwords in the definitions, or replace what will be run.
    #[error("definitions: {} has mode {mode:03o}: others than its owner get at it, and definitions hold passwords; run `chmod 0700` on it", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// 2^32 - 1 versions were stored, or somebody made such a file.
    #[error("definitions: {} already has the highest version there is; remove the domain's files there and store it again", path.display())]
    VersionsUsedUp {
        /// The directory.
        path: PathBuf,
    },
}

/// What the store has for a domain and a disk chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// The newest undamaged version of the wanted chain.
    Found(StoredDefinition),
    /// There is no definition of this domain.
    Missing,
    /// There are definitions, but of other chains: the disks have changed since, or before.
    HashMismatch {
        /// The chain of the newest version.
        found: u64,
        /// That version.
        version: u32,
    },
    /// None matches, and at least one is damaged: which, and how.
    Damaged(String),
}

/// The directory of definitions.
#[derive(Debug)]
pub struct Definitions {
    directory: PathBuf,
    host: String,
    /// Two stores of one domain at once would pick the same version.
    storing: Mutex<()>,
}

impl Definitions {
    /// Opens the directory, making it if its parent is there. `host` names this host in the files' headers.
    ///
    /// # Errors
    /// [`DefinitionsError::Io`], and [`DefinitionsError::Open`] when others than its owner may enter it.
    pub fn open(directory: &Path, host: &str) -> Result<Self, DefinitionsError> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("making the directory", directory)(error));
            }
            _ => {}
        }
        let mode = fs::metadata(directory).map_err(io_error("looking at", directory))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(DefinitionsError::Open { path: directory.to_owned(), mode });
        }
        let this = Self { directory: directory.to_owned(), host: safe_name(host), storing: Mutex::new(()) };
        this.remove_left_overs()?;
        Ok(this)
    }

    /// Stores a definition and returns its version: one above the highest there, or the highest itself when that is
    /// the same already. On an error the versions before are still there.
    ///
    /// # Errors
    /// [`DefinitionsError`]: nothing that is there was changed.
    pub fn store(&self, domain: DomainId, definition: &Definition) -> Result<u32, DefinitionsError> {
        let _one_at_a_time = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = self.versions(domain)?;
        let newest = versions.first().copied();
        if let Some(version) = newest
            && let Ok(stored) = self.read(domain, version)?
            && stored.definition == *definition
        {
            return Ok(version);
        }
        let version = newest
            .unwrap_or(0)
            .checked_add(1)
            .ok_or_else(|| DefinitionsError::VersionsUsedUp { path: self.directory.clone() })?;
        let stored = StoredDefinition { definition: definition.clone(), version, host: self.host.clone() };
        self.write(domain, &stored)?;
        self.remove_old(domain, &versions);
        Ok(version)
    }

    /// The newest undamaged version whose disk chains hash to `wanted`. Versions of other chains are never taken, also
    /// when they are newer: the lease entry says which chain ran last.
    ///
    /// # Errors
    /// [`DefinitionsError::Io`] when the storage does not answer: that says nothing of what it has.
    pub fn load(&self, domain: DomainId, wanted: u64) -> Result<Loaded, DefinitionsError> {
        let mut damage = None;
        let mut other = None;
        for version in self.versions(domain)? {
            match self.read(domain, version)? {
                Ok(stored) if stored.definition.chain_hash == wanted => return Ok(Loaded::Found(stored)),
                Ok(stored) => {
                    other
                        .get_or_insert(Loaded::HashMismatch { found: stored.definition.chain_hash, version });
                }
                Err(found) => {
                    damage.get_or_insert(Loaded::Damaged(format!(
                        "{}: {found}",
                        self.path(domain, version).display()
                    )));
                }
            }
        }
        Ok(damage.or(other).unwrap_or(Loaded::Missing))
    }

    /// The highest version that is stored of a domain, 0 for none.
    ///
    /// # Errors
    /// [`DefinitionsError::Io`].
    pub fn version(&self, domain: DomainId) -> Result<u32, DefinitionsError> {
        Ok(self.versions(domain)?.first().copied().unwrap_or(0))
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, domain: DomainId, version: u32) -> PathBuf {
        self.directory.join(format!("{domain}.{version}.xml"))
    }

    /// Highest first.
    fn versions(&self, domain: DomainId) -> Result<Vec<u32>, DefinitionsError> {
        let prefix = format!("{domain}.");
        let mut versions: Vec<u32> = self
            .names()?
            .iter()
            .filter_map(|name| name.strip_prefix(&prefix)?.strip_suffix(".xml")?.parse().ok())
            .collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        Ok(versions)
    }

    fn names(&self) -> Result<Vec<String>, DefinitionsError> {
        let listing = io_error("listing", &self.directory);
        let entries = fs::read_dir(&self.directory).map_err(&listing)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<Result<_, io::Error>>().map_err(&listing)
    }

    fn read(
        &self,
        domain: DomainId,
        version: u32,
    ) -> Result<Result<StoredDefinition, Damage>, DefinitionsError> {
        let path = self.path(domain, version);
        let reading = io_error("reading", &path);
        let mut bytes = Vec::new();
        let limit = u64::try_from(LONGEST_XML_BYTES).unwrap_or(u64::MAX).saturating_add(4096);
        let file = match File::open(&path) {
            // Removed by its owner, who has stored two newer ones, after it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Damage::Gone)),
            other => other.map_err(&reading)?,
        };
        file.take(limit).read_to_end(&mut bytes).map_err(&reading)?;
        Ok(StoredDefinition::from_bytes(&bytes, domain, version))
    }

    fn write(&self, domain: DomainId, stored: &StoredDefinition) -> Result<(), DefinitionsError> {
        let path = self.path(domain, stored.version);
        let temporary = self.directory.join(format!(".{domain}.{}.{}.tmp", stored.version, self.host));
        write_synced(&temporary, stored.to_text().as_bytes()).map_err(io_error("writing", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("renaming to", &path))?;
        let directory = File::open(&self.directory).and_then(|directory| directory.sync_all());
        directory.map_err(io_error("syncing", &self.directory))
    }

    /// Best effort: a version too many harms nothing.
    fn remove_old(&self, domain: DomainId, before: &[u32]) {
        for version in before.iter().skip(VERSIONS_KEPT - 1) {
            let path = self.path(domain, *version);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("definitions: removing the old {}: {error}", path.display());
            }
        }
    }

    /// What this host's process left half written when it died.
    fn remove_left_overs(&self) -> Result<(), DefinitionsError> {
        let suffix = format!(".{}.tmp", self.host);
        for name in self.names()?.iter().filter(|name| name.starts_with('.') && name.ends_with(&suffix)) {
            let path = self.directory.join(name);
            fs::remove_file(&path).map_err(io_error("removing", &path))?;
        }
        Ok(())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> DefinitionsError + use<'a> {
    move |source| DefinitionsError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
