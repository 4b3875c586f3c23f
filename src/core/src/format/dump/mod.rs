//! The whole of a lease file, decoded sector by sector, whatever state it is in.
//!
//! It reads through the caller's closure, at most 256 KiB at a time, and hands each sector to the caller as soon as it
//! is decoded, so that its memory is bounded. It never gives up: a damaged sector is an item like any other, and a file
//! without headers is searched for sectors that still say what they are.

mod chunks;
mod find;
mod item;
mod search;
mod walk;

pub use find::{Shape, find_headers};
pub use item::{Content, Counts, Headers, Item, Role, Summary};

use walk::Walk;

/// Reads bytes at an offset: fewer than asked for at the medium's end, or why they cannot be read.
pub type ReadAt<'a> = dyn FnMut(u64, usize) -> Result<Vec<u8>, String> + 'a;
/// Takes each item, in the order of the file.
pub type Sink<'a> = dyn FnMut(Item) + 'a;

/// Decodes a lease file of `size` bytes.
///
/// `shape` is what the operator says of a file whose headers are both gone; without it, such a file is searched for
/// whole sectors. What is wrong with a sector is in its item; the summary counts.
pub fn dump(size: u64, shape: Option<Shape>, read: &mut ReadAt<'_>, sink: &mut Sink<'_>) -> Summary {
    let headers = find_headers(size, read);
    let layout = headers.layout().or_else(|| find::layout_of_shape(size, shape, read));
    let counts = match layout {
        Some(layout) => Walk::new(layout, size, read, sink).areas(&headers),
        None => search::search(size, read, sink),
    };
    Summary { size, layout, headers, counts }
}
