//! Finds the headers of a file, or what can stand in for them.

use super::item::Headers;
use super::{ReadAt, search};
use crate::format::init::LARGEST_SIZE;
use crate::format::{DecodeError, Header, Layout, MIB, SECTOR_LEN, Unit};

/// What an operator knows of a file whose headers are gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// The unit of claims, records and notes.
    pub unit: Unit,
    /// How many hosts it holds.
    pub max_hosts: u16,
    /// How many lease pages it has.
    pub pages: u8,
}

/// Reads both headers of a medium of `size` bytes.
///
/// The first says where the last is. With a bad first header, each whole MiB is tried, and the medium's own end.
pub fn find_headers(size: u64, read: &mut ReadAt<'_>) -> Headers {
    let first = header_at(0, read);
    let last = match &first {
        Ok(header) => {
            let at = header.layout.last_header().offset;
            Some((at, header_at(at, read)))
        }
        Err(_) => last_without_first(size, read),
    };
    Headers { first, last }
}

fn header_at(offset: u64, read: &mut ReadAt<'_>) -> Result<Header, DecodeError> {
    let bytes = read(offset, SECTOR_LEN).unwrap_or_default();
    Header::decode(offset, &bytes)
}

fn last_without_first(size: u64, read: &mut ReadAt<'_>) -> Option<(u64, Result<Header, DecodeError>)> {
    let whole_mib = (1..=LARGEST_SIZE / MIB).map(|count| count * MIB).take_while(|end| *end <= size);
    let mut at = whole_mib.map(|end| end - SECTOR_LEN as u64);
    at.find_map(|at| header_at(at, read).ok().map(|header| (at, Ok(header))))
}

/// The layout of a file of this shape, with the identity of the first whole sector that is found in it.
pub(super) fn layout_of_shape(size: u64, shape: Option<Shape>, read: &mut ReadAt<'_>) -> Option<Layout> {
    let shape = shape?;
    let file_id = search::first_file_id(size, read)?;
    Layout::new(file_id, shape.unit, shape.max_hosts, shape.pages).ok()
}
