//! Goes through a file area by area, by its layout.

use std::ops::Range;

use super::chunks::Chunks;
use super::item::{Content, Counts, Headers, Item, Role};
use super::{ReadAt, Sink};
use crate::format::{
    Claim, DecodeError, Header, HostRecord, HostState, JOURNAL_RING, JournalNote, Layout, LeasePage,
    OBSERVER_SECTORS, ObserverSector, Place, RecordCopy, SECTOR_LEN,
};
use crate::ids::{HostKey, Slot};

/// Decodes one kind of sector.
type Decode = fn(&Place, &[u8]) -> Result<Content, DecodeError>;

/// One pass over a file whose layout is known.
pub(super) struct Walk<'a, 'b> {
    layout: Layout,
    chunks: Chunks<'a, 'b>,
    sink: &'a mut Sink<'b>,
    slots: Vec<SlotSeen>,
    counts: Counts,
}

/// What was seen of a slot before its other sectors are read.
#[derive(Clone, Default)]
struct SlotSeen {
    /// Whose claim it is: zero for nobody's, none when it could not be read.
    claimed_by: Option<HostKey>,
    /// True when a copy of its record is neither empty nor `free`.
    in_use: bool,
}

impl<'a, 'b> Walk<'a, 'b> {
    pub(super) fn new(layout: Layout, size: u64, read: &'a mut ReadAt<'b>, sink: &'a mut Sink<'b>) -> Self {
        let slots = vec![SlotSeen::default(); usize::from(layout.max_hosts())];
        Self { layout, chunks: Chunks::new(size, read), sink, slots, counts: Counts::default() }
    }

    /// All areas, in the order of the file.
    pub(super) fn areas(mut self, headers: &Headers) -> Counts {
        let layout = self.layout;
        self.header(Role::FirstHeader, 0, Some(&headers.first), Vec::new());
        self.claims();
        self.unused(layout.claims().end..layout.host_records().start);
        self.host_records();
        self.unused(layout.host_records().end..layout.observers().start);
        self.observers();
        self.journal();
        self.unused(layout.journals().end..layout.lease_pages().start);
        self.lease_pages();
        let end = layout.last_header().offset;
        self.unused(layout.lease_pages().end..end);
        let last = headers.last.as_ref().filter(|(at, _)| *at == end).map(|(_, header)| header);
        let differ = headers.differ().then(|| "the two headers say different things".to_owned());
        self.header(Role::LastHeader, end, last, differ.into_iter().collect());
        self.counts
    }

    fn header(
        &mut self,
        role: Role,
        at: u64,
        seen: Option<&Result<Header, DecodeError>>,
        mut remarks: Vec<String>,
    ) {
        let content = match seen {
            Some(Ok(header)) => Content::Header(Box::new(header.clone())),
            Some(Err(DecodeError::Empty)) => Content::Empty,
            Some(Err(error)) => Content::Damaged(error.clone()),
            None => {
                let place = Place { offset: at, ..self.layout.first_header() };
                self.content(&place, |place, bytes| {
                    Header::decode(place.offset, bytes).map(|header| Content::Header(Box::new(header)))
                })
            }
        };
        if let Content::Header(header) = &content
            && !header.features.readable()
        {
            remarks.push(
                "features that this version does not know: what follows may mean something else".to_owned(),
            );
        }
        self.emit(Item { offset: at, len: SECTOR_LEN as u64, role, content, remarks });
    }

    fn claims(&mut self) {
        for slot in self.layout.slots() {
            let place = self.layout.claim(slot);
            let content =
                self.content(&place, |place, bytes| Claim::decode(place, bytes).map(Content::Claim));
            self.slots[slot.index()].claimed_by = match &content {
                Content::Claim(claim) => Some(claim.host_key),
                Content::Empty => Some(HostKey::ZERO),
                _ => None,
            };
            self.found(place, Role::Claim(slot), content, Vec::new());
        }
    }

    fn host_records(&mut self) {
        for copy in RecordCopy::BOTH {
            for slot in self.layout.slots() {
                let place = self.layout.host_record(slot, copy);
                let content = self.content(&place, |place, bytes| {
                    HostRecord::decode(place, bytes).map(|record| Content::HostRecord(Box::new(record)))
                });
                let remark = self.note_record(slot, &content);
                self.found(place, Role::HostRecord(slot, copy), content, remark.into_iter().collect());
            }
        }
    }

    /// Remembers whether the slot is in use; says so when record and claim are of two machines.
    fn note_record(&mut self, slot: Slot, content: &Content) -> Option<String> {
        let seen = &mut self.slots[slot.index()];
        let Content::HostRecord(record) = content else {
            seen.in_use |= *content != Content::Empty;
            return None;
        };
        if record.state == HostState::Free {
            return None;
        }
        seen.in_use = true;
        match seen.claimed_by {
            Some(HostKey::ZERO) => Some("a host has a record here without a claim".to_owned()),
            Some(key) if key != record.host_key => {
                Some("the record is not of the machine that claimed the slot".to_owned())
            }
            _ => None,
        }
    }

    fn observers(&mut self) {
        for index in 0..OBSERVER_SECTORS {
            let place = self.layout.observer(index);
            let content = self
                .content(&place, |place, bytes| ObserverSector::decode(place, bytes).map(Content::Observer));
            self.found(place, Role::Observer(index), content, Vec::new());
        }
    }

    fn journal(&mut self) {
        for slot in self.layout.slots() {
            for index in 0..JOURNAL_RING {
                let place = self.layout.journal(slot, index);
                let content = self
                    .content(&place, |place, bytes| JournalNote::decode(place, bytes).map(Content::Journal));
                self.found(place, Role::Journal(slot, index), content, Vec::new());
            }
        }
    }

    fn lease_pages(&mut self) {
        for page in 0..self.layout.pages() {
            for copy in RecordCopy::BOTH {
                for slot in self.layout.slots() {
                    self.lease_page(page, slot, copy);
                }
            }
        }
    }

    fn lease_page(&mut self, page: u8, slot: Slot, copy: RecordCopy) {
        let place = self.layout.lease_page(page, slot, copy);
        let content = self.content(&place, |place, bytes| {
            LeasePage::decode(place, bytes).map(|sector| Content::LeasePage(Box::new(sector)))
        });
        let role = Role::LeasePage(page, slot, copy);
        match &content {
            Content::LeasePage(sector) => {
                let strayed = sector.entries().filter(|entry| self.layout.page_of(entry.domain) != page);
                let remarks =
                    strayed.map(|entry| format!("{} does not belong in this page", entry.domain)).collect();
                self.found(place, role, content, remarks);
            }
            // Only the sectors of a slot that nobody uses may be empty: a host writes all of its own when it joins.
            Content::Empty if self.slots[slot.index()].in_use => {
                let remark = format!(
                    "never written, although slot {slot} is in use: to every reader it is unreadable"
                );
                self.item(place, role, content, vec![remark]);
            }
            _ => self.found(place, role, content, Vec::new()),
        }
    }

    fn unused(&mut self, range: Range<u64>) {
        let mut offset = range.start;
        while offset < range.end.min(self.chunks.size()) {
            let len =
                usize::try_from(range.end - offset).unwrap_or(SECTOR_LEN).min(SECTOR_LEN - low_bits(offset));
            let place = Place { offset, len, ..self.layout.first_header() };
            match self.chunks.get(offset, len) {
                Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => {}
                Ok(_) => self.item(place, Role::Unused, Content::Stray, Vec::new()),
                Err(error) => self.item(place, Role::Unused, Content::Unreadable(error), Vec::new()),
            }
            offset += len as u64;
        }
    }

    /// Decodes a sector; one that is damaged in a long read is read again by itself before it counts as damaged.
    fn content(&mut self, place: &Place, decode: Decode) -> Content {
        let first = self.chunks.get(place.offset, place.len).map(|bytes| decode(place, &bytes));
        let sure = match first {
            Ok(Err(error)) if error != DecodeError::Empty && place.range().end <= self.chunks.size() => {
                self.chunks.alone(place.offset, place.len).map(|bytes| decode(place, &bytes))
            }
            other => other,
        };
        match sure {
            Ok(Ok(content)) => content,
            Ok(Err(DecodeError::Empty)) => Content::Empty,
            Ok(Err(error)) => Content::Damaged(error),
            Err(error) => Content::Unreadable(error),
        }
    }

    /// An empty sector is only counted.
    fn found(&mut self, place: Place, role: Role, content: Content, remarks: Vec<String>) {
        if content == Content::Empty {
            self.counts.empty += 1;
        } else {
            self.item(place, role, content, remarks);
        }
    }

    fn item(&mut self, place: Place, role: Role, content: Content, remarks: Vec<String>) {
        self.emit(Item { offset: place.offset, len: place.len as u64, role, content, remarks });
    }

    fn emit(&mut self, item: Item) {
        self.counts.add(&item);
        (self.sink)(item);
    }
}

/// How far an offset lies behind a multiple of 4096.
fn low_bits(offset: u64) -> usize {
    usize::try_from(offset % SECTOR_LEN as u64).unwrap_or(0)
}
