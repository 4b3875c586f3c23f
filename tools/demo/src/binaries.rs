//! The programs under test: built by cargo, or given ready-made.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that a host needs, by file name.
pub const PROGRAMS: [&str; 5] =
    ["leasefence-agent", "leasefence-fencer", "leasefence-hook", "leasefence", "leasefence-demo"];

/// The packages that they are built from.
const PACKAGES: [&str; 5] =
    ["leasefence-agent", "leasefence-fencer", "leasefence-hook", "leasefence-cli", "leasefence-demo"];

/// Why the programs are not there.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// Cargo did not build them.
    #[error("cannot build the programs: `{0}` failed")]
    Build(String),
    /// One is missing.
    #[error("{0} is missing; build it with `cargo build --release`, or name its directory with --bin-dir")]
    Missing(PathBuf),
    /// Copying.
    #[error("cannot copy {0} into the run directory: {1}")]
    Copy(PathBuf, #[source] io::Error),
}

/// A directory that holds all [`PROGRAMS`].
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Takes ready-made programs.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn at(directory: &Path) -> Result<Self, BinariesError> {
        let missing = PROGRAMS.iter().map(|program| directory.join(program)).find(|path| !path.is_file());
        match missing {
            None => Ok(Self { directory: directory.into() }),
            Some(path) => Err(BinariesError::Missing(path)),
        }
    }

    /// Builds them in the profile of the running program, into the directory that the running program was built into.
    ///
    /// # Errors
    /// When cargo fails, or is missing.
    pub fn build() -> Result<Self, BinariesError> {
        let directory =
            own_target_directory().ok_or_else(|| BinariesError::Missing(PathBuf::from(PROGRAMS[0])))?;
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.arg("build").current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.env("CARGO_TARGET_DIR", directory.parent().unwrap_or(&directory));
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        cargo.args(PACKAGES.iter().flat_map(|package| ["-p", *package]));
        match cargo.status() {
            Ok(status) if status.success() => Self::at(&directory),
            _ => Err(BinariesError::Build(format!("{cargo:?}"))),
        }
    }

    /// One of [`PROGRAMS`].
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// The directory, for a `PATH`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The same programs in another place: a build that goes on beside a run replaces the files, and does not change them.
    ///
    /// # Errors
    /// When one cannot be copied.
    pub fn copy_to(&self, directory: &Path) -> Result<Self, BinariesError> {
        fs::create_dir_all(directory).map_err(|error| BinariesError::Copy(directory.into(), error))?;
        for program in PROGRAMS {
            let from = self.path(program);
            let to = directory.join(program);
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .map_err(|error| BinariesError::Copy(from, error))?;
        }
        Ok(Self { directory: directory.into() })
    }
}

/// `target/debug` or `target/release`: this program lies there, or one level deeper if it is a test.
fn own_target_directory() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let directory = program.parent()?;
    let directory = if directory.ends_with("deps") { directory.parent()? } else { directory };
    Some(directory.into())
}
