//! Contents of lease page sectors, each kept once and named by a number, so that a state stays small. What a number means
//! never changes; nothing decides by the numbers themselves.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use leasefence_core::format::{Layout, LeaseEntry, LeasePage, LeaseState, RecordCopy, SECTOR_LEN};
use leasefence_core::ids::{Generation, Sequence, Slot};

use super::DOMAIN;
use crate::fingerprint::fingerprint;

/// The content of one sector: what an owner wrote, or damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sector(u32);

/// What is kept of a content.
#[derive(Clone)]
struct Content {
    page: LeasePage,
    /// Of the page under sequence 0.
    body: u64,
    /// Copies A and B, once they were asked for, and for which place in the file.
    bytes: [Option<(u64, Rc<[u8]>)>; 2],
}

#[derive(Default)]
struct Contents {
    known: Vec<Content>,
    numbers: HashMap<LeasePage, u32>,
}

thread_local! {
    static CONTENTS: RefCell<Contents> = RefCell::default();
}

impl Sector {
    /// A copy that nobody can read.
    pub(super) const DAMAGED: Self = Self(u32::MAX);

    /// The sector with this content.
    pub(super) fn of(page: LeasePage) -> Self {
        CONTENTS.with_borrow_mut(|contents| {
            if let Some(number) = contents.numbers.get(&page) {
                return Self(*number);
            }
            let mut unnumbered = page.clone();
            unnumbered.sequence = Sequence(0);
            let (body, _) = halves(fingerprint(&unnumbered));
            let number = u32::try_from(contents.known.len()).unwrap_or(u32::MAX - 1);
            contents.known.push(Content { page: page.clone(), body, bytes: [None, None] });
            contents.numbers.insert(page, number);
            Self(number)
        })
    }

    fn with<R>(self, read: impl FnOnce(&Content) -> R) -> Option<R> {
        let index = usize::try_from(self.0).ok()?;
        CONTENTS.with_borrow(|contents| contents.known.get(index).map(read))
    }

    /// What it says; none when it is damaged.
    pub(super) fn page(self) -> Option<LeasePage> {
        self.with(|content| content.page.clone())
    }

    /// Its entry of the one domain.
    pub(super) fn entry(self) -> Option<LeaseEntry> {
        self.with(|content| content.page.get(DOMAIN).copied()).flatten()
    }

    /// By which the newer of two copies is known.
    pub(super) fn version(self) -> Option<(Generation, Sequence)> {
        self.with(|content| (content.page.incarnation.generation, content.page.sequence))
    }

    /// What it says, whatever its number of the write is.
    pub(super) fn body(self) -> u64 {
        self.with(|content| content.body).unwrap_or(1)
    }

    /// The bytes of that copy.
    pub(super) fn bytes(self, layout: &Layout, slot: Slot, copy: RecordCopy) -> Rc<[u8]> {
        let damaged = || Rc::from(vec![0xff; SECTOR_LEN]);
        let Ok(index) = usize::try_from(self.0) else { return damaged() };
        CONTENTS.with_borrow_mut(|contents| {
            let Some(content) = contents.known.get_mut(index) else { return damaged() };
            let Content { page, bytes: [a, b], .. } = content;
            let bytes = if copy == RecordCopy::A { a } else { b };
            let place = layout.lease_page(0, slot, copy);
            match bytes {
                Some((offset, bytes)) if *offset == place.offset => Rc::clone(bytes),
                _ => Rc::clone(&bytes.insert((place.offset, page.encode(&place).into())).1),
            }
        })
    }
}

/// The newer of two copies.
pub(super) fn newest([a, b]: [Sector; 2]) -> Sector {
    if b.version() > a.version() { b } else { a }
}

/// The top's term and state, if a sector has one.
pub(super) fn top_of(sector: Sector) -> Option<LeaseEntry> {
    let counts = [LeaseState::Own, LeaseState::Orphan, LeaseState::Stopped, LeaseState::Saved];
    sector.entry().filter(|entry| counts.contains(&entry.state))
}

fn halves(wide: u128) -> (u64, u64) {
    let low = u64::try_from(wide & u128::from(u64::MAX)).unwrap_or_default();
    (low, u64::try_from(wide >> 64).unwrap_or_default())
}
