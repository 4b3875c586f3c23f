//! What the machines start from: made by `image/build`, kept for each Debian release.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The script could not be run.
    #[error("cannot run {0}: {1}")]
    Start(PathBuf, #[source] io::Error),
    /// It failed, and has said why.
    #[error("the image of {0} could not be made: see above")]
    Failed(String),
}

/// A Debian release.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Suite {
    /// Debian 12, Linux 6.1.
    Bookworm,
    /// Debian 13, Linux 6.12.
    Trixie,
}

impl Suite {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// An image, made or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    suite: Suite,
    directory: PathBuf,
}

impl Image {
    /// The image of a release, below the lab's directory.
    #[must_use]
    pub fn of(suite: Suite, lab: &Path) -> Self {
        Self { suite, directory: lab.join(suite.word()) }
    }

    /// Makes it unless it is current. The script shows its progress itself.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn ensure(&self) -> Result<(), ImageError> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/build");
        let status = Command::new(&script).arg(self.suite.word()).arg(&self.directory).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(ImageError::Failed(self.suite.word().into())),
            Err(error) => Err(ImageError::Start(script, error)),
        }
    }

    /// The system disk that all machines share through overlays.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        self.directory.join("base.qcow2")
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    /// The initial RAM disk.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.directory.join("initrd")
    }

    /// The key that opens the machines.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.directory.join("id_ed25519")
    }

    /// What libvirt found out about QEMU in a machine of this image: kept, since it takes each new machine 10 s.
    #[must_use]
    pub fn capabilities(&self) -> PathBuf {
        self.directory.join(format!("capabilities-{}", self.key()))
    }

    fn key(&self) -> String {
        fs::read_to_string(self.directory.join("key")).unwrap_or_default().trim().to_owned()
    }

    /// The kernel's version.
    #[must_use]
    pub fn kernel_version(&self) -> String {
        fs::read_to_string(self.directory.join("version")).unwrap_or_default().trim().to_owned()
    }
}
