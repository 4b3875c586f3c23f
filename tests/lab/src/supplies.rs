//! What the machines get besides their image: the package under test, this program, and the guest's ROM, on a small file
//! system that all see read-only at `/lab`. It is made anew with each lab, so the image need not be.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use leasefence_demo::command::{self, CommandError};
use leasefence_demo::guest::{Guest, GuestError};

use crate::guest::{NAME, UUID};
use crate::image::Image;
use crate::run::RunDir;

/// Why there are no supplies.
#[derive(Debug, thiserror::Error)]
pub enum SuppliesError {
    /// No package was built.
    #[error("there is no package {0}: build it with `make deb`, or name one with --deb")]
    NoPackage(PathBuf),
    /// The guest's ROM.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The file system.
    #[error(transparent)]
    FileSystem(#[from] CommandError),
    /// A file.
    #[error("cannot collect what the machines need: {0}")]
    Io(#[from] io::Error),
}

/// Makes the file system.
///
/// # Errors
/// When something of it is missing.
pub fn make(run: &RunDir, image: &Image, package: Option<&Path>) -> Result<(), SuppliesError> {
    let package = package.map_or_else(default_package, Path::to_owned);
    if !package.is_file() {
        return Err(SuppliesError::NoPackage(package));
    }
    let tree = run.path().join("supplies");
    fs::create_dir_all(&tree)?;
    fs::copy(&package, tree.join("leasefence.deb"))?;
    fs::copy(env::current_exe()?, tree.join("leasefence-lab"))?;
    let workshop = run.path().join("workshop");
    Guest::create(&workshop, NAME, UUID)?;
    fs::copy(workshop.join("guests/guest.rom"), tree.join("guest.rom"))?;
    if image.capabilities().exists() {
        let mut copy = Command::new("cp");
        command::run(copy.arg("-rp").arg(image.capabilities()).arg(tree.join("capabilities")))?;
    }
    let mut mkfs = Command::new("mke2fs");
    mkfs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", "supplies", "-d"]).arg(&tree);
    mkfs.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command::run(mkfs.arg(run.supplies()).arg("160M"))?;
    fs::remove_dir_all(tree)?;
    Ok(())
}

/// The package that `make deb` builds.
fn default_package() -> PathBuf {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist");
    let architecture = if env::consts::ARCH == "x86_64" { "amd64" } else { env::consts::ARCH };
    dist.join(format!("leasefence_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")))
}
