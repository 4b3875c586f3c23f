//! Whether what lies on the medium may be overwritten.

use leasefence_core::format::Header;
use leasefence_core::format::init::{Contents, Inspection, LARGEST_SIZE, WatchPlan};

use super::place::Target;
use super::{InitArgs, watch};
use crate::medium::Medium;
use crate::outcome::CliError;

/// Read at once while looking for anything that is not zero.
const PIECE: u64 = 1 << 20;

/// Permits a new or empty place, and, with `--force`, a lease file of the same cluster in which nothing moves.
///
/// # Errors
/// In all other cases, with what lies there and what to do.
pub(super) fn permit(target: &mut Target, args: &InitArgs, header: &Header) -> Result<(), CliError> {
    let Target::Existing(medium) = target else { return Ok(()) };
    let path = medium.path().display().to_string();
    let refused =
        |why: String| Err(CliError::Other(format!("{path} is not empty: {why}. Nothing was written.")));
    match inspect(medium)? {
        Contents::Empty => Ok(()),
        Contents::Foreign { at, bytes } => refused(format!(
            "byte {at} begins {bytes:02x?}, which is not Leasefence's; --force does not overwrite that either. If it is really \
             of no use, remove the file, or wipe the device (blkdiscard --zeroout, or dd if=/dev/zero)"
        )),
        Contents::Newer(error) => refused(format!("it is a lease file of a later version ({error})")),
        Contents::LeaseFile(found) if !args.force => refused(format!(
            "it is the lease file of cluster '{}' (see leasefence dump); --force replaces it if nothing in it moves",
            found.cluster_name
        )),
        Contents::LeaseFile(found) if found.cluster_name != header.cluster_name => refused(format!(
            "it is the lease file of another cluster, '{}'; --force replaces only a lease file of the same cluster. If that \
             cluster is really gone, remove the file, or wipe the device (blkdiscard --zeroout, or dd if=/dev/zero)",
            found.cluster_name
        )),
        Contents::LeaseFile(found) => watch::quiet(medium, Some(&found)),
        Contents::Headless { at } if !args.force => refused(format!(
            "sectors of a lease file lie there, the first at byte {at}, but no whole header (see leasefence dump); --force \
             replaces it if nothing in it moves"
        )),
        Contents::Headless { .. } => watch::quiet(medium, None),
    }
}

/// Looks at as much as the largest lease file has, and at the end, where other owners of a device leave their marks.
fn inspect(medium: &Medium) -> Result<Contents, CliError> {
    let mut inspection = Inspection::default();
    let size = medium.size();
    let front = size.min(LARGEST_SIZE);
    let tail = (size.saturating_sub(PIECE) / 4096 * 4096).max(front);
    for range in [0..front, tail..size] {
        let mut offset = range.start;
        while offset < range.end {
            let len = usize::try_from(PIECE.min(range.end - offset)).map_err(CliError::from_display)?;
            let bytes = medium.read(offset, len).map_err(|error| {
                CliError::Other(format!(
                    "reading {} at byte {offset}: {error}. What cannot be read is not overwritten",
                    medium.path().display()
                ))
            })?;
            inspection.feed(offset, &bytes);
            offset += PIECE;
        }
    }
    Ok(inspection.contents())
}

/// What is watched before a lease file is replaced, and for how long: all of it where no header says what is where.
pub(super) fn plan(header: Option<&Header>, scan: &[u8], size: u64) -> WatchPlan {
    header.map_or_else(|| WatchPlan::of_headless(size), |header| WatchPlan::of(header, scan))
}
