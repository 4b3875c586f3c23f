//! The sectors of the slot model: claims, both copies of the records, and of the one lease page. Each content is kept once
//! and named by a number, so that a state stays small; nothing decides by the numbers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use leasefence_core::format::{Layout, Place, RecordCopy};
use leasefence_core::ids::Slot;

/// The content of one sector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Content(u32);

/// By number, and the numbers.
type Known = (Vec<Rc<[u8]>>, HashMap<Rc<[u8]>, u32>);

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

impl Content {
    /// The content with these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        KNOWN.with_borrow_mut(|(known, numbers)| {
            if let Some(number) = numbers.get(bytes) {
                return Self(*number);
            }
            let bytes: Rc<[u8]> = Rc::from(bytes);
            let number = u32::try_from(known.len()).unwrap_or(u32::MAX);
            known.push(Rc::clone(&bytes));
            numbers.insert(bytes, number);
            Self(number)
        })
    }

    /// Its bytes.
    pub(super) fn bytes(self) -> Rc<[u8]> {
        let index = usize::try_from(self.0).unwrap_or(usize::MAX);
        KNOWN.with_borrow(|(known, _)| known.get(index).cloned().unwrap_or_else(|| Rc::from([])))
    }
}

/// What a sector is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum What {
    Claim(Slot),
    Record(Slot, RecordCopy),
    Page(Slot, RecordCopy),
}

impl What {
    pub(super) fn place(self, layout: &Layout) -> Place {
        match self {
            Self::Claim(slot) => layout.claim(slot),
            Self::Record(slot, copy) => layout.host_record(slot, copy),
            Self::Page(slot, copy) => layout.lease_page(0, slot, copy),
        }
    }
}

/// All sectors.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Medium {
    sectors: Vec<(u64, What, Content)>,
}

impl Medium {
    /// All zero.
    pub(super) fn new(layout: &Layout) -> Self {
        let of_slot = |slot| {
            let copies = RecordCopy::BOTH;
            let records = copies.map(|copy| What::Record(slot, copy));
            let pages = copies.map(|copy| What::Page(slot, copy));
            [What::Claim(slot)].into_iter().chain(records).chain(pages)
        };
        let zero = |what: What| {
            let place = what.place(layout);
            (place.offset, what, Content::of(&vec![0; place.len]))
        };
        let mut sectors: Vec<_> = layout.slots().flat_map(of_slot).map(zero).collect();
        sectors.sort_unstable_by_key(|(offset, ..)| *offset);
        Self { sectors }
    }

    /// What lies at an offset.
    pub(super) fn what(&self, offset: u64) -> Option<What> {
        self.sectors.iter().find(|(at, ..)| *at == offset).map(|(_, what, _)| *what)
    }

    /// The bytes of one sector.
    pub(super) fn get(&self, what: What) -> Rc<[u8]> {
        let found = self.sectors.iter().find(|(_, each, _)| *each == what);
        found.map_or_else(|| Rc::from([]), |(.., content)| content.bytes())
    }

    pub(super) fn put(&mut self, offset: u64, content: Content) {
        if let Some((.., old)) = self.sectors.iter_mut().find(|(at, ..)| *at == offset) {
            *old = content;
        }
    }

    /// A read of whole sectors.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        let within = self.sectors.iter().filter(|(at, ..)| (offset..end).contains(at));
        let mut bytes = Vec::with_capacity(len);
        for (at, _, content) in within {
            bytes.resize(usize::try_from(at - offset).unwrap_or_default(), 0);
            bytes.extend_from_slice(&content.bytes());
        }
        bytes.resize(len, 0);
        bytes
    }
}
