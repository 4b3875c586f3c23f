//! One attempt to acquire leases of one page: S1 scan, S2 write the want, S3 scan again, S4 write own.
//!
//! Any number of keys of the page, each decided by itself. Only S4's acknowledgement, in both copies and under a valid own
//! lease, permits a start. It never waits and never tries again: a key that others got in between of comes back as
//! [`Attempt::Again`].

#[cfg(feature = "model-check")]
mod marks;
mod rules;

use super::own::{Edit, OwnPage};
use super::scan::PageRead;
use super::table::{self, HoldRule};
use super::types::{AcquireKind, AcquireOutcome, AcquireRequest, EndReason, LeaseContext};
use super::view::PageScan;
use super::write::{SectorWrite, WriteEnd};
use crate::format::{Layout, LeaseEntry, LeaseState, PAGE_ENTRIES};
use crate::ids::{DomainId, Incarnation, Term};
use crate::planted::planted;
use crate::storage::{IoDone, Step};
use rules::{TopId, first, second};

/// How one attempt ended for one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Attempt {
    /// For good.
    End(AcquireOutcome),
    /// Another host got in between: once more, after a random back-off; this is what to say after the last try.
    Again(AcquireOutcome),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Progress {
    /// S1 has not decided yet.
    Open,
    /// S1 let it go on: the term that it wants, and the top that it wants to take.
    Wants { term: Term, top: TopId },
    /// S3 let it go on: the entry that S4 writes.
    Wins(Box<LeaseEntry>),
    /// Decided; true while a want of it is on storage.
    Over { attempt: Attempt, want_left: bool },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    FirstScan(PageRead),
    WantWrite(SectorWrite),
    SecondScan(PageRead),
    OwnWrite(SectorWrite),
    Over,
}

/// One attempt.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Acquire {
    layout: Layout,
    keys: Vec<(AcquireRequest, Progress)>,
    hold: HoldRule,
    stage: Stage,
    convicted: Option<(Incarnation, DomainId)>,
}

/// How each key of an attempt ended.
pub type Attempts = Vec<(AcquireRequest, Attempt)>;

impl Acquire {
    /// An attempt at these keys, all of this page.
    #[must_use]
    pub fn new(layout: Layout, page: u8, requests: Vec<AcquireRequest>, hold: HoldRule) -> Self {
        let keys = requests.into_iter().map(|request| (request, Progress::Open)).collect();
        Self { layout, keys, hold, stage: Stage::FirstScan(PageRead::new(layout, page)), convicted: None }
    }

    /// An entry that was seen on the way and that names this incarnation as its predecessor.
    #[must_use]
    pub fn convicted(&self) -> Option<(Incarnation, DomainId)> {
        self.convicted
    }

    /// The next operation, or how each key ended. Not to be called while an operation of it is outstanding.
    pub fn poll(&mut self, ctx: &LeaseContext<'_>, own: &mut OwnPage) -> Step<Attempts> {
        if !ctx.may_write || self.convicted.is_some() {
            self.end_all(&AcquireOutcome::LostLease);
        }
        loop {
            match &mut self.stage {
                Stage::Over => return Step::Done(self.attempts()),
                Stage::FirstScan(read) | Stage::SecondScan(read) => match read.poll() {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(scan) => self.scanned(ctx, own, scan),
                },
                Stage::WantWrite(write) | Stage::OwnWrite(write) => match write.poll(ctx) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(end) => self.written(ctx, own, end),
                },
            }
        }
    }

    /// The end of the operation that was asked for.
    pub fn handle_io(&mut self, ctx: &LeaseContext<'_>, own: &mut OwnPage, done: &IoDone) {
        match &mut self.stage {
            Stage::FirstScan(read) | Stage::SecondScan(read) => read.handle_io(ctx, done),
            Stage::WantWrite(write) | Stage::OwnWrite(write) => write.handle_io(own, done),
            Stage::Over => {}
        }
    }

    fn scanned(&mut self, ctx: &LeaseContext<'_>, own: &mut OwnPage, scan: Result<PageScan, String>) {
        let second = matches!(self.stage, Stage::SecondScan(_));
        match scan {
            Ok(scan) => {
                self.convicted = scan.conviction_of(own.incarnation());
                if self.convicted.is_some() {
                    return self.end_all(&AcquireOutcome::LostLease);
                }
                if second {
                    self.decide_second(ctx, own, &scan);
                } else {
                    self.decide_first(ctx, own, &scan);
                }
                if planted!(DelayIsExclusion) && !second && self.only_recovers() {
                    self.decide_second(ctx, own, &scan);
                    return self.write_next(own, true);
                }
            }
            Err(why) => self.close_open(&Attempt::End(AcquireOutcome::ReadFailed(why))),
        }
        self.write_next(own, second);
    }

    fn only_recovers(&self) -> bool {
        self.keys.iter().all(|(request, _)| matches!(request.kind, AcquireKind::Recovery { .. }))
    }

    /// S1, key by key.
    fn decide_first(&mut self, ctx: &LeaseContext<'_>, own: &OwnPage, scan: &PageScan) {
        let mut room = PAGE_ENTRIES.saturating_sub(own.content().len());
        for (request, progress) in &mut self.keys {
            *progress = match first(ctx, own, scan, request) {
                Ok(_) if own.content().get(request.domain).is_none() && room == 0 => {
                    Progress::Over { attempt: Attempt::End(AcquireOutcome::Full), want_left: false }
                }
                Ok((term, top)) => {
                    room -= usize::from(own.content().get(request.domain).is_none());
                    Progress::Wants { term, top }
                }
                Err(attempt) => Progress::Over { attempt, want_left: false },
            };
        }
    }

    /// S3, key by key.
    fn decide_second(&mut self, ctx: &LeaseContext<'_>, own: &OwnPage, scan: &PageScan) {
        for (request, progress) in &mut self.keys {
            let Progress::Wants { term, top } = progress else { continue };
            *progress = match second(ctx, own, scan, request, *term, top) {
                Ok(taken) => {
                    let entry = table::own_entry(request.domain, &request.kind, &taken, self.hold, ctx);
                    Progress::Wins(Box::new(entry))
                }
                Err(attempt) => Progress::Over { attempt, want_left: true },
            };
        }
    }

    /// S2 or S4: one write for all keys; nothing to write ends the attempt.
    fn write_next(&mut self, own: &mut OwnPage, second: bool) {
        let edits: Vec<Edit> =
            self.keys.iter().filter_map(|(request, progress)| edit(request, progress)).collect();
        if second && planted!(StartBeforeOwn) {
            for edit in &edits {
                own.edit(edit);
            }
            return self.won();
        }
        self.stage = if edits.is_empty() {
            Stage::Over
        } else {
            let write = SectorWrite::new(self.layout, own, edits);
            if second { Stage::OwnWrite(write) } else { Stage::WantWrite(write) }
        };
    }

    fn written(&mut self, ctx: &LeaseContext<'_>, own: &mut OwnPage, end: WriteEnd) {
        let wants = matches!(self.stage, Stage::WantWrite(_));
        match end {
            WriteEnd::Acknowledged if wants => {
                self.stage = Stage::SecondScan(PageRead::new(self.layout, own.page()));
            }
            WriteEnd::Acknowledged => self.won(),
            WriteEnd::LostLease => self.end_all(&AcquireOutcome::LostLease),
            WriteEnd::Unknown => {
                if !wants {
                    self.remember(ctx, own);
                }
                self.end_all(&AcquireOutcome::Unknown);
            }
        }
    }

    fn won(&mut self) {
        for (_, progress) in &mut self.keys {
            if let Progress::Wins(entry) = progress {
                let attempt = Attempt::End(AcquireOutcome::Acquired(**entry));
                *progress = Progress::Over { attempt, want_left: false };
            }
        }
        self.stage = Stage::Over;
    }

    /// S4's outcome is unknown: `own` at this term may stand on storage, and others may have seen it. Memory takes it as an
    /// own entry that ended without having run, at its own term and never a lower one; it is written once nothing
    /// earlier can land any more. Wants of the others are taken back by the same write.
    fn remember(&self, ctx: &LeaseContext<'_>, own: &mut OwnPage) {
        for (request, progress) in &self.keys {
            match progress {
                Progress::Wins(entry) if planted!(OwnRolledBack) => {
                    own.edit(&Edit::NoWant(entry.domain));
                }
                // Nothing was let in under it: it is erased like one whose migration failed.
                Progress::Wins(entry) if entry.state == LeaseState::Incoming => {
                    own.edit(&Edit::NoWant(entry.domain));
                }
                // Its process is there all the time: it stays own, at the term that others may have read.
                Progress::Wins(entry) if request.kind == AcquireKind::Retake => {
                    own.edit(&Edit::Put(**entry));
                }
                Progress::Wins(entry) => {
                    own.edit(&Edit::Put(table::ended(entry, EndReason::NeverRan, self.hold, ctx.wall_s())));
                }
                Progress::Over { want_left: true, .. } => {
                    own.edit(&Edit::NoWant(request.domain));
                }
                _ => {}
            }
        }
    }

    /// Ends what is not decided yet; wants of decided keys that are on storage are of no more interest.
    fn end_all(&mut self, outcome: &AcquireOutcome) {
        self.close_open(&Attempt::End(outcome.clone()));
        self.stage = Stage::Over;
    }

    fn close_open(&mut self, attempt: &Attempt) {
        for (_, progress) in &mut self.keys {
            let want_left = matches!(progress, Progress::Wants { .. });
            if !matches!(progress, Progress::Over { .. }) {
                *progress = Progress::Over { attempt: attempt.clone(), want_left };
            }
        }
    }

    fn attempts(&self) -> Attempts {
        let over = |(request, progress): &(AcquireRequest, Progress)| match progress {
            Progress::Over { attempt, .. } => (*request, attempt.clone()),
            _ => (*request, Attempt::End(AcquireOutcome::LostLease)),
        };
        self.keys.iter().map(over).collect()
    }
}

/// What the next write says of a key.
fn edit(request: &AcquireRequest, progress: &Progress) -> Option<Edit> {
    match progress {
        Progress::Open | Progress::Over { want_left: false, .. } => None,
        Progress::Wants { term, .. } if matches!(request.kind, AcquireKind::Incoming(_)) => {
            Some(Edit::WantIncoming(request.domain, *term))
        }
        Progress::Wants { term, .. } => Some(Edit::Want(request.domain, *term)),
        Progress::Wins(entry) => Some(Edit::Put(**entry)),
        Progress::Over { want_left: true, .. } => Some(Edit::NoWant(request.domain)),
    }
}
