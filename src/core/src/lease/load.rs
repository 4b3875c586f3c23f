//! Reading the own sector of a page back after an agent's restart within the same incarnation.
//!
//! It never guesses: a sector to which a write may still land is not read before that is over (else a lease that was
//! written and not acknowledged would be forgotten, below its own term), and one that is unreadable stays unusable.

use super::own::OwnPage;
use crate::format::{Copies, Layout, LeasePage, RecordCopy};
use crate::ids::{BootId, Incarnation};
use crate::storage::{IoDone, IoOp, Step};

/// One read of both copies of an own sector.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct OwnLoad {
    layout: Layout,
    page: u8,
    me: Incarnation,
    boot_id: BootId,
    a: Option<Vec<u8>>,
    end: Option<Result<OwnPage, LoadError>>,
}

/// Why an own sector cannot be used.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum LoadError {
    /// A read failed: it is tried again.
    #[error("reading the own sector of lease page {page}: {why}")]
    Read {
        /// Which page.
        page: u8,
        /// What the storage said.
        why: String,
    },
    /// Both copies are damaged: nobody can acquire in this page until this host has rejoined.
    #[error(
        "both copies of the own sector of lease page {page} are unreadable ({why}): restart this host's agent after its domains are stopped, so that it rejoins"
    )]
    Unreadable {
        /// Which page.
        page: u8,
        /// What is wrong with copy A.
        why: String,
    },
    /// Another incarnation wrote it.
    #[error("the own sector of lease page {page} was written by {by}, not by this incarnation")]
    Foreign {
        /// Which page.
        page: u8,
        /// By whom.
        by: Incarnation,
    },
}

impl OwnLoad {
    /// A read that has not begun.
    #[must_use]
    pub(super) fn new(layout: Layout, page: u8, me: Incarnation, boot_id: BootId) -> Self {
        Self { layout, page, me, boot_id, a: None, end: None }
    }

    /// The next read, or the page.
    #[must_use]
    pub(super) fn poll(&self) -> Step<Result<OwnPage, LoadError>> {
        if let Some(end) = &self.end {
            return Step::Done(end.clone());
        }
        let copy = if self.a.is_none() { RecordCopy::A } else { RecordCopy::B };
        let place = self.layout.lease_page(self.page, self.me.slot, copy);
        Step::Io(IoOp::Read { offset: place.offset, len: place.len })
    }

    /// The end of the read that was asked for.
    pub(super) fn handle_io(&mut self, done: &IoDone) {
        match (&done.result, self.a.take()) {
            (Err(error), _) => {
                self.end = Some(Err(LoadError::Read { page: self.page, why: error.to_string() }));
            }
            (Ok(bytes), None) => self.a = Some(bytes.clone()),
            (Ok(bytes), Some(a)) => self.end = Some(self.judge(&a, bytes)),
        }
    }

    fn judge(&self, a: &[u8], b: &[u8]) -> Result<OwnPage, LoadError> {
        let decode = |copy, bytes: &[u8]| {
            LeasePage::decode(&self.layout.lease_page(self.page, self.me.slot, copy), bytes)
        };
        let copies = Copies { a: decode(RecordCopy::A, a), b: decode(RecordCopy::B, b) };
        let Some((_, newest)) = copies.newest() else {
            let why = copies.a.err().map(|error| error.to_string()).unwrap_or_default();
            return Err(LoadError::Unreadable { page: self.page, why });
        };
        if newest.incarnation != self.me || newest.boot_id != self.boot_id {
            return Err(LoadError::Foreign { page: self.page, by: newest.incarnation });
        }
        let agree = copies.valid().count() == 2 && copies.valid().all(|copy| copy == newest);
        Ok(OwnPage::found(self.page, newest.clone(), agree))
    }
}
