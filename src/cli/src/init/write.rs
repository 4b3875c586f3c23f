//! Writes a lease file: zeroes, the last header, the first header, each on the storage before the next.

use std::fs::File;
use std::io;
use std::path::Path;

use leasefence_core::format::Header;
use leasefence_core::format::init::{LARGEST_SIZE, header_writes};

use super::place::{Target, directory_of};
use crate::medium::{Medium, Mode};
use crate::outcome::CliError;

const MIB: usize = 1 << 20;

/// Writes all of it. Of a new file nothing is left behind if that fails.
///
/// # Errors
/// With the call that failed, and the path.
pub(super) fn write(target: Target, header: &Header) -> Result<(), CliError> {
    match target {
        Target::Existing(medium) => overwrite(&medium, header)
            .map_err(|error| failed(medium.path(), &error, "it has no whole header now")),
        Target::New(path) => create(&path, header),
    }
}

fn create(path: &Path, header: &Header) -> Result<(), CliError> {
    let medium =
        Medium::open(path, Mode::Create).map_err(|error| failed(path, &error, "nothing was made"))?;
    if !medium.is_direct() {
        eprintln!(
            "leasefence: {} has no direct I/O: the agent will refuse a lease file there",
            directory_of(path).display()
        );
    }
    let written = fill(&medium, header).and_then(|()| sync_directory(path));
    written.map_err(|error| {
        let left = match std::fs::remove_file(path).and_then(|()| sync_directory(path)) {
            Ok(()) => "nothing was left behind".to_owned(),
            Err(error) => format!("and it could not be removed again ({error}): remove it by hand"),
        };
        failed(path, &error, &left)
    })
}

/// The old headers go first: what is half written must not look whole.
fn overwrite(medium: &Medium, header: &Header) -> io::Result<()> {
    let zeroes = vec![0; header.layout.first_header().len];
    if medium.size() >= zeroes.len() as u64 {
        medium.write(0, &zeroes)?;
        medium.sync()?;
    }
    fill(medium, header)
}

fn fill(medium: &Medium, header: &Header) -> io::Result<()> {
    let total = header.layout.total_size();
    // All of an old, larger lease file goes too: its last header would outlive it.
    let end = total.max(medium.size().min(LARGEST_SIZE) / 4096 * 4096);
    let zeroes = vec![0; MIB];
    let mut offset = 0;
    while offset < end {
        let len = usize::try_from(end - offset).map_or(MIB, |left| left.min(MIB));
        medium.write(offset, &zeroes[..len])?;
        offset += len as u64;
    }
    medium.set_len(total)?;
    medium.sync()?;
    for (place, bytes) in header_writes(header) {
        medium.write(place.offset, &bytes)?;
        medium.sync()?;
    }
    Ok(())
}

/// A new name is on the storage only once its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn failed(path: &Path, error: &io::Error, left: &str) -> CliError {
    let hint = match error.raw_os_error() {
        Some(nix::libc::ENOSPC | nix::libc::EDQUOT) => ": the storage is full",
        Some(nix::libc::EROFS) => ": it is mounted read-only",
        Some(nix::libc::EACCES | nix::libc::EPERM) => {
            ": run this as root; an NFS export needs no_root_squash"
        }
        Some(nix::libc::EEXIST) => ": somebody else made it just now",
        _ => "",
    };
    CliError::Other(format!("writing {}: {error}{hint}; {left}", path.display()))
}
