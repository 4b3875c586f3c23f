//! What a dump says: of each sector, and at the end.

use crate::format::{
    Claim, DecodeError, Header, HostRecord, JournalNote, Layout, LeasePage, ObserverSector, RecordCopy,
};
use crate::ids::Slot;

/// What belongs in a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// The header at the beginning.
    FirstHeader,
    /// A slot's claim.
    Claim(Slot),
    /// One copy of a slot's record.
    HostRecord(Slot, RecordCopy),
    /// An observer sector.
    Observer(u8),
    /// A slot's journal note.
    Journal(Slot, u8),
    /// A slot's sector in one copy of a lease page.
    LeasePage(u8, Slot, RecordCopy),
    /// Nothing: the space between two areas.
    Unused,
    /// The header at the end.
    LastHeader,
    /// Not known: the file has no header.
    Unknown,
}

/// What lies in a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A header.
    Header(Box<Header>),
    /// A claim.
    Claim(Claim),
    /// A host's record.
    HostRecord(Box<HostRecord>),
    /// An observer's sign of life.
    Observer(ObserverSector),
    /// A note.
    Journal(JournalNote),
    /// A sector of a lease page.
    LeasePage(Box<LeasePage>),
    /// Never written. Only given where something else was to be expected; other empty sectors are counted.
    Empty,
    /// It is no record, and why.
    Damaged(DecodeError),
    /// Bytes that are not zero where nothing belongs.
    Stray,
    /// The medium did not give it.
    Unreadable(String),
}

/// One sector, or one stretch of unused space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Byte offset.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// What belongs there.
    pub role: Role,
    /// What lies there.
    pub content: Content,
    /// What is wrong beyond the sector itself: it does not agree with others.
    pub remarks: Vec<String>,
}

impl Item {
    /// True when something is wrong with it.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        let content = match self.content {
            Content::Empty | Content::Damaged(_) | Content::Stray | Content::Unreadable(_) => true,
            Content::Header(_)
            | Content::Claim(_)
            | Content::HostRecord(_)
            | Content::Observer(_)
            | Content::Journal(_)
            | Content::LeasePage(_) => false,
        };
        content || !self.remarks.is_empty()
    }
}

/// Both headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Headers {
    /// At the beginning.
    pub first: Result<Header, DecodeError>,
    /// At the end, and where; none when no place for one is known.
    pub last: Option<(u64, Result<Header, DecodeError>)>,
}

impl Headers {
    /// The header to believe: the first if it is whole, else the last.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.first.as_ref().ok().or_else(|| self.last.as_ref()?.1.as_ref().ok())
    }

    /// Its layout.
    #[must_use]
    pub fn layout(&self) -> Option<Layout> {
        self.header().map(|header| header.layout)
    }

    /// True when both are whole and say different things.
    #[must_use]
    pub fn differ(&self) -> bool {
        matches!((&self.first, &self.last), (Ok(first), Some((_, Ok(last)))) if first != last)
    }
}

/// The end of a dump.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The medium's size in bytes.
    pub size: u64,
    /// The layout by which it was read; none when it was searched.
    pub layout: Option<Layout>,
    /// Both headers.
    pub headers: Headers,
    /// How many sectors of each sort.
    pub counts: Counts,
}

/// How many sectors there were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Sectors with a whole record, and nothing to remark.
    pub whole: u64,
    /// Sectors that were never written.
    pub empty: u64,
    /// Items with something wrong.
    pub bad: u64,
}

impl Counts {
    pub(super) fn add(&mut self, item: &Item) {
        *(if item.is_bad() { &mut self.bad } else { &mut self.whole }) += 1;
    }
}

impl Summary {
    /// True when nothing at all is wrong: both headers whole and equal, no bad item, the file as long as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let long_enough = self.layout.is_some_and(|layout| self.size >= layout.total_size());
        let headers = self.headers.first.is_ok() && matches!(self.headers.last, Some((_, Ok(_))));
        self.counts.bad == 0 && long_enough && headers && !self.headers.differ()
    }
}
