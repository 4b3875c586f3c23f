//! Goes through a file without headers: every sector that still says what it is, wherever it lies.

use super::chunks::Chunks;
use super::item::{Content, Counts, Item, Role};
use super::{ReadAt, Sink};
use crate::format::init::LARGEST_SIZE;
use crate::format::sector::{SectorKind, probe};
use crate::format::{Claim, DecodeError, Header, HostRecord, JournalNote, LeasePage, ObserverSector, Place};
use crate::ids::FileId;

/// The smallest unit: where a sector can begin.
const STEP: usize = 512;

/// Hands out every sector that is found; stretches of other bytes are one item each.
pub(super) fn search(size: u64, read: &mut ReadAt<'_>, sink: &mut Sink<'_>) -> Counts {
    let mut counts = Counts::default();
    let mut stray = Stray::default();
    each(size, read, &mut |found| {
        let (offset, len, content) = match found {
            Found::Sector(offset, len, content) => (offset, len, content),
            Found::Other(offset) => return stray.grow(offset, &mut counts, sink),
            Found::Zeroes => {
                counts.empty += 1;
                return;
            }
        };
        stray.end(&mut counts, sink);
        emit(&mut counts, sink, Item { offset, len, role: Role::Unknown, content, remarks: Vec::new() });
    });
    stray.end(&mut counts, sink);
    counts
}

/// The identity in the first whole sector of a file.
pub(super) fn first_file_id(size: u64, read: &mut ReadAt<'_>) -> Option<FileId> {
    let mut chunks = Chunks::new(size.min(LARGEST_SIZE), read);
    let mut offset = 0;
    while offset < chunks.size() {
        let bytes = chunks.get(offset, 4096).unwrap_or_default();
        for (index, unit) in bytes.chunks(STEP).enumerate() {
            let at = offset + (index * STEP) as u64;
            if let Some((kind, place)) = probe(at, unit)
                && matches!(whole(kind, &place, &mut chunks), Ok(Ok(_)))
            {
                return Some(place.file_id);
            }
        }
        offset += 4096;
    }
    None
}

enum Found {
    /// A sector, whole or damaged, its offset and length.
    Sector(u64, u64, Content),
    /// 512 bytes of something else, or that could not be read.
    Other(u64),
    /// 512 bytes of nothing.
    Zeroes,
}

fn each(size: u64, read: &mut ReadAt<'_>, take: &mut dyn FnMut(Found)) {
    let mut chunks = Chunks::new(size.min(LARGEST_SIZE), read);
    let mut offset = 0;
    while offset < chunks.size() {
        let unit = chunks.get(offset, STEP).unwrap_or_default();
        let mut len = STEP as u64;
        if let Some((kind, place)) = probe(offset, &unit) {
            let content = match whole(kind, &place, &mut chunks) {
                Ok(Ok(content)) => {
                    len = kind.record_len() as u64;
                    content
                }
                Ok(Err(error)) => Content::Damaged(error),
                Err(error) => Content::Unreadable(error),
            };
            take(Found::Sector(offset, len, content));
        } else if !unit.is_empty() && unit.iter().all(|byte| *byte == 0) {
            take(Found::Zeroes);
        } else {
            take(Found::Other(offset));
        }
        offset += len;
    }
}

fn whole(
    kind: SectorKind,
    place: &Place,
    chunks: &mut Chunks<'_, '_>,
) -> Result<Result<Content, DecodeError>, String> {
    let bytes = chunks.get(place.offset, place.len)?;
    Ok(match kind {
        SectorKind::Header => Header::decode(place.offset, &bytes).map(|it| Content::Header(Box::new(it))),
        SectorKind::Claim => Claim::decode(place, &bytes).map(Content::Claim),
        SectorKind::HostRecord => {
            HostRecord::decode(place, &bytes).map(|it| Content::HostRecord(Box::new(it)))
        }
        SectorKind::Observer => ObserverSector::decode(place, &bytes).map(Content::Observer),
        SectorKind::Journal => JournalNote::decode(place, &bytes).map(Content::Journal),
        SectorKind::LeasePage => LeasePage::decode(place, &bytes).map(|it| Content::LeasePage(Box::new(it))),
    })
}

/// A stretch of bytes that are no sector.
#[derive(Default)]
struct Stray {
    start: u64,
    end: u64,
}

impl Stray {
    fn grow(&mut self, offset: u64, counts: &mut Counts, sink: &mut Sink<'_>) {
        if self.end != offset {
            self.end(counts, sink);
            self.start = offset;
        }
        self.end = offset + STEP as u64;
    }

    fn end(&mut self, counts: &mut Counts, sink: &mut Sink<'_>) {
        let len = self.end - self.start;
        if len > 0 {
            let item = Item {
                offset: self.start,
                len,
                role: Role::Unknown,
                content: Content::Stray,
                remarks: Vec::new(),
            };
            emit(counts, sink, item);
        }
        self.start = self.end;
    }
}

fn emit(counts: &mut Counts, sink: &mut Sink<'_>, item: Item) {
    counts.add(&item);
    sink(item);
}
