//! The one thing that is being done to lease pages at a time: each job hands out one storage operation after another.
//!
//! It only routes; what a job's end means is the owner's business.

use std::collections::BTreeMap;

use super::acquire::{Acquire, Attempts};
use super::drop_passes::DropPasses;
use super::load::{LoadError, OwnLoad};
use super::own::OwnPage;
use super::reread::{CopyRead, Reread};
use super::scan::PageRead;
use super::types::LeaseContext;
use super::view::PageScan;
use super::write::{SectorWrite, WriteEnd};
use crate::ids::{DomainId, Incarnation};
use crate::storage::{IoDone, Step};

/// The own sector of one page, as far as this process knows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum PageSlot {
    /// A restarted agent has not read it yet.
    NotLoaded,
    /// In memory.
    Ready(OwnPage),
    /// Unreadable, or not mine.
    Broken,
}

impl PageSlot {
    pub(super) fn ready(&self) -> Option<&OwnPage> {
        match self {
            Self::Ready(own) => Some(own),
            Self::NotLoaded | Self::Broken => None,
        }
    }

    pub(super) fn ready_mut(&mut self) -> Option<&mut OwnPage> {
        match self {
            Self::Ready(own) => Some(own),
            Self::NotLoaded | Self::Broken => None,
        }
    }
}

/// What is being done.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Work {
    Load(OwnLoad),
    Flush(SectorWrite),
    /// With how often each key was tried before.
    Acquire(Acquire, BTreeMap<DomainId, u8>),
    Scan(PageRead),
    Reread(CopyRead),
    Drop(DropPasses),
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum WorkEnd {
    Loaded(Result<OwnPage, LoadError>),
    Flushed(WriteEnd),
    Acquired(Attempts, BTreeMap<DomainId, u8>, Option<(Incarnation, DomainId)>),
    Scanned(Result<PageScan, String>),
    Reread(Reread),
    Dropped(Vec<DomainId>),
}

/// Something that is being done to one page.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Job {
    pub(super) page: u8,
    pub(super) work: Work,
}

impl Job {
    /// The next operation, or what came of it. `own` is this job's page.
    pub(super) fn poll(&mut self, ctx: &LeaseContext<'_>, own: &mut PageSlot) -> Step<WorkEnd> {
        match (&mut self.work, own) {
            (Work::Load(load), _) => map(load.poll(), WorkEnd::Loaded),
            (Work::Scan(read), _) => map(read.poll(), WorkEnd::Scanned),
            (Work::Reread(read), _) => map(read.poll(), WorkEnd::Reread),
            (Work::Flush(write), _) => map(write.poll(ctx), WorkEnd::Flushed),
            (Work::Acquire(acquire, tries), PageSlot::Ready(own)) => match acquire.poll(ctx, own) {
                Step::Done(attempts) => {
                    Step::Done(WorkEnd::Acquired(attempts, std::mem::take(tries), acquire.convicted()))
                }
                Step::Io(op) => Step::Io(op),
                Step::Wait(until) => Step::Wait(until),
            },
            (Work::Drop(passes), PageSlot::Ready(own)) => map(passes.poll(ctx, own), WorkEnd::Dropped),
            // A page does not stop being loaded while a job is at it.
            (Work::Acquire(..) | Work::Drop(_), _) => Step::Done(WorkEnd::Dropped(Vec::new())),
        }
    }

    /// The end of the operation that was asked for.
    pub(super) fn handle_io(&mut self, ctx: &LeaseContext<'_>, own: &mut PageSlot, done: &IoDone) {
        match (&mut self.work, own) {
            (Work::Load(load), _) => load.handle_io(done),
            (Work::Scan(read), _) => read.handle_io(ctx, done),
            (Work::Reread(read), PageSlot::Ready(own)) => read.handle_io(own, done),
            (Work::Flush(write), PageSlot::Ready(own)) => write.handle_io(own, done),
            (Work::Acquire(acquire, _), PageSlot::Ready(own)) => acquire.handle_io(ctx, own, done),
            (Work::Drop(passes), PageSlot::Ready(own)) => passes.handle_io(ctx, own, done),
            (Work::Reread(_) | Work::Flush(_) | Work::Acquire(..) | Work::Drop(_), _) => {}
        }
    }
}

fn map<A, B>(step: Step<A>, done: impl FnOnce(A) -> B) -> Step<B> {
    match step {
        Step::Io(op) => Step::Io(op),
        Step::Wait(until) => Step::Wait(until),
        Step::Done(end) => Step::Done(done(end)),
    }
}
