//! What the model check renumbers in an attempt to acquire leases. It decides nothing.

use super::{Acquire, Attempt, Progress, Stage};
use crate::lease::types::{AcquireKind, AcquireOutcome, AcquireRequest};
use crate::lease::write::SectorWrite;
use crate::marks::{Mark, Marks};

impl Acquire {
    /// The write that is under way.
    pub(in crate::lease) fn write_mut(&mut self) -> Option<&mut SectorWrite> {
        match &mut self.stage {
            Stage::WantWrite(write) | Stage::OwnWrite(write) => Some(write),
            _ => None,
        }
    }
}

impl Marks for Acquire {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.keys.each_mark(f);
        match &mut self.stage {
            Stage::FirstScan(read) | Stage::SecondScan(read) => read.each_mark(f),
            Stage::WantWrite(write) | Stage::OwnWrite(write) => write.each_mark(f),
            Stage::Over => {}
        }
        if let Some((by, _)) = &mut self.convicted {
            by.generation.each_mark(f);
        }
    }
}

impl Marks for Progress {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        match self {
            Self::Open => {}
            Self::Wants { term, top } => {
                term.each_mark(f);
                if let Some((who, term, _)) = top {
                    who.generation.each_mark(f);
                    term.each_mark(f);
                }
            }
            Self::Wins(entry) => entry.each_mark(f),
            Self::Over { attempt, .. } => attempt.each_mark(f),
        }
    }
}

impl Marks for Attempt {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        let (Self::End(outcome) | Self::Again(outcome)) = self;
        outcome.each_mark(f);
    }
}

impl Marks for AcquireOutcome {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        match self {
            Self::Acquired(entry) => entry.each_mark(f),
            Self::AlreadyOwn(term) => term.each_mark(f),
            Self::Busy { who, .. } => who.generation.each_mark(f),
            _ => {}
        }
    }
}

impl Marks for AcquireRequest {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        if let AcquireKind::Recovery { resumed } = &mut self.kind {
            resumed.each_mark(f);
        }
    }
}
