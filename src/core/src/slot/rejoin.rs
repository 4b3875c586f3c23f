//! Rejoin: the next generation in the slot that is this machine's own.
//!
//! (b) uptime at least `write_drain`, (a) the own record watched for a clone, (c) the next generation, (d) the own lease pages
//! rewritten, (e) the joining record. In the same boot (a) and (b) give way to the proof that the life before is over.
//! Storage that stalls can put any time between these: so a watched record is looked at once more right before (d) and (e).

use std::time::Duration;

use super::error::JoinError;
use super::join::{Joined, Joiner};
use super::own_pages::{PageCopies, PagesRead, PagesWrite, highest_generation};
use super::reads::{Reads, ReadsDone};
use super::record_write::{RecordEnd, RecordWrite};
use crate::format::{Copies, HostRecord, Layout, LeasePage, RecordCopy};
use crate::ids::{Generation, Incarnation, Sequence, Slot};
use crate::planted::planted;
use crate::storage::{IoDone, IoError, Step};
use crate::time::{Instant, Now, ObserverDeadline};

/// Watched beyond three renewals, where the firmware names the machine.
const WATCH_MARGIN: Duration = Duration::from_secs(1);

/// The procedure, from the own record as the survey found it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Rejoin {
    layout: Layout,
    slot: Slot,
    joiner: Joiner,
    copies: Copies<HostRecord>,
    /// The own record as it was watched; none in the same boot.
    watched: Option<Vec<Vec<u8>>>,
    phase: Phase,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Until the uptime is `write_drain`.
    Uptime,
    /// (a): the first and the second look; between them, when the second may start.
    FirstLook(Reads),
    Watch {
        first: Vec<Vec<u8>>,
        until: Instant,
    },
    SecondLook {
        first: Vec<Vec<u8>>,
        reads: Reads,
    },
    ReadPages(PagesRead),
    LookBeforePages(Reads, Box<(HostRecord, Sequence, PagesWrite)>),
    WritePages(Box<HostRecord>, Sequence, PagesWrite),
    LookBeforeRecord(Reads, Box<(HostRecord, Sequence)>, Vec<LeasePage>),
    WriteRecord(Box<RecordWrite>, Vec<LeasePage>),
}

impl Rejoin {
    /// After another boot: with (b) and (a).
    pub(super) fn new_boot(layout: Layout, slot: Slot, joiner: Joiner, copies: Copies<HostRecord>) -> Self {
        Self { layout, slot, joiner, copies, watched: None, phase: Phase::Uptime }
    }

    /// In the same boot, after the life before was shown to be over.
    pub(super) fn same_boot(layout: Layout, slot: Slot, joiner: Joiner, copies: Copies<HostRecord>) -> Self {
        let phase = Phase::ReadPages(PagesRead::new(layout, slot));
        Self { layout, slot, joiner, copies, watched: None, phase }
    }

    pub(super) fn issuing(&self) -> Option<&HostRecord> {
        match &self.phase {
            Phase::WriteRecord(write, _) => write.issuing(),
            _ => None,
        }
    }

    pub(super) fn trouble(&self) -> Option<&IoError> {
        match &self.phase {
            Phase::Uptime | Phase::Watch { .. } => None,
            Phase::FirstLook(reads)
            | Phase::SecondLook { reads, .. }
            | Phase::LookBeforePages(reads, _)
            | Phase::LookBeforeRecord(reads, ..) => reads.trouble(),
            Phase::ReadPages(read) => read.trouble(),
            Phase::WritePages(_, _, write) => write.trouble(),
            Phase::WriteRecord(write, _) => write.trouble(),
        }
    }

    /// What it is doing, for people.
    pub(super) fn step(&self) -> &'static str {
        match &self.phase {
            Phase::Uptime => "waiting until this boot is older than write_drain",
            Phase::FirstLook(_)
            | Phase::Watch { .. }
            | Phase::SecondLook { .. }
            | Phase::LookBeforePages(..)
            | Phase::LookBeforeRecord(..) => "watching the own record for a clone",
            Phase::ReadPages(_) => "reading the own lease pages",
            Phase::WritePages(..) => "rewriting the own lease pages for the next generation",
            Phase::WriteRecord(..) => "writing the joining record",
        }
    }

    pub(super) fn poll(&mut self, now: &Now) -> Step<Result<Joined, JoinError>> {
        loop {
            let next = match &mut self.phase {
                Phase::Uptime => match self.old_enough(now.instant) {
                    Err(until) => return Step::Wait(until),
                    Ok(()) => Phase::FirstLook(self.look()),
                },
                Phase::FirstLook(reads) => match reads.poll(now.instant) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => return Step::Done(Err(JoinError::Storage(error))),
                    Step::Done(Ok(done)) => match self.begin_watch(done) {
                        Ok(watch) => watch,
                        Err(error) => return Step::Done(Err(error)),
                    },
                },
                Phase::Watch { until, .. } if !ObserverDeadline(*until).reached(now.instant) => {
                    return Step::Wait(*until);
                }
                Phase::Watch { first, .. } => {
                    let first = std::mem::take(first);
                    Phase::SecondLook { first, reads: self.look() }
                }
                Phase::SecondLook { first, reads } => match reads.poll(now.instant) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => return Step::Done(Err(JoinError::Storage(error))),
                    Step::Done(Ok(done)) if done.bytes != *first => {
                        return Step::Done(Err(JoinError::Clone { slot: self.slot }));
                    }
                    Step::Done(Ok(done)) => {
                        self.watched = Some(done.bytes);
                        Phase::ReadPages(PagesRead::new(self.layout, self.slot))
                    }
                },
                Phase::ReadPages(read) => match read.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => return Step::Done(Err(JoinError::Storage(error))),
                    Step::Done(Ok(pages)) => self.next_generation(&pages),
                },
                Phase::LookBeforePages(reads, next) => match reads.poll(now.instant) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(look) => match unchanged(self.watched.as_deref(), look, self.slot) {
                        Err(error) => return Step::Done(Err(error)),
                        Ok(()) => {
                            let (record, highest, write) = (**next).clone();
                            Phase::WritePages(Box::new(record), highest, write)
                        }
                    },
                },
                Phase::WritePages(record, highest, write) => match write.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(pages) => {
                        let next = Box::new(((**record).clone(), *highest));
                        Phase::LookBeforeRecord(self.look(), next, pages)
                    }
                },
                Phase::LookBeforeRecord(reads, next, pages) => match reads.poll(now.instant) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(look) => match unchanged(self.watched.as_deref(), look, self.slot) {
                        Err(error) => return Step::Done(Err(error)),
                        Ok(()) => {
                            let (record, highest) = (**next).clone();
                            let write = RecordWrite::new(self.layout, record, highest);
                            Phase::WriteRecord(Box::new(write), std::mem::take(pages))
                        }
                    },
                },
                Phase::WriteRecord(write, pages) => match write.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(end) => return Step::Done(joined(end, pages, self.slot)),
                },
            };
            self.phase = next;
        }
    }

    pub(super) fn handle_io(&mut self, done: &IoDone) {
        match &mut self.phase {
            Phase::Uptime | Phase::Watch { .. } => {}
            Phase::FirstLook(reads)
            | Phase::SecondLook { reads, .. }
            | Phase::LookBeforePages(reads, _)
            | Phase::LookBeforeRecord(reads, ..) => reads.handle_io(done),
            Phase::ReadPages(read) => read.handle_io(done),
            Phase::WritePages(_, _, write) => write.handle_io(done),
            Phase::WriteRecord(write, _) => write.handle_io(done),
        }
    }

    /// (b) comes before (a): a write of the boot before may land until then, and is no clone's.
    fn old_enough(&self, now: Instant) -> Result<(), Instant> {
        let drain = self
            .joiner
            .record
            .terms
            .write_drain
            .max(self.longest_terms(|record| record.effective_terms().write_drain));
        let due = self.joiner.uptime_from.plus(drain.saturating_sub(self.joiner.uptime));
        if planted!(RejoinBeforeDrain) || ObserverDeadline(due).reached(now) { Ok(()) } else { Err(due) }
    }

    fn look(&self) -> Reads {
        let places = RecordCopy::BOTH.map(|copy| self.layout.host_record(self.slot, copy));
        Reads::new(places.iter().map(super::survey::range_of).collect())
    }

    /// (a): 3 renewals + 1 s; the whole `verdict_after` where no firmware uuid tells a clone at its start.
    fn watch_time(&self) -> Duration {
        if self.joiner.has_machine_uuid {
            return 3 * self.longest_terms(|record| record.effective_terms().renewal_interval) + WATCH_MARGIN;
        }
        self.longest_terms(|record| record.effective_terms().verdict_after_with_survival(record.survival_max))
    }

    fn longest_terms(&self, of: impl Fn(&HostRecord) -> Duration) -> Duration {
        self.copies.valid().map(of).max().unwrap_or_default()
    }

    /// What the first look shows counts from here on: until the uptime was `write_drain`, a write of the boot before may have
    /// landed.
    fn begin_watch(&mut self, done: ReadsDone) -> Result<Phase, JoinError> {
        let decode =
            |copy, bytes: &[u8]| HostRecord::decode(&self.layout.host_record(self.slot, copy), bytes);
        let seen =
            Copies { a: decode(RecordCopy::A, &done.bytes[0]), b: decode(RecordCopy::B, &done.bytes[1]) };
        match seen.newest() {
            None => {
                return Err(JoinError::Unreadable {
                    slot: self.slot,
                    why: "both copies became unreadable".into(),
                });
            }
            Some((_, record)) if record.host_key != self.joiner.record.host_key => {
                return Err(JoinError::Foreign {
                    slot: self.slot,
                    what: format!("host `{}`", record.host_name),
                });
            }
            Some(_) => self.copies = seen,
        }
        if planted!(CloneNotWatched) {
            return Ok(Phase::ReadPages(PagesRead::new(self.layout, self.slot)));
        }
        Ok(Phase::Watch { first: done.bytes, until: done.ended.plus(self.watch_time()) })
    }

    /// (c): above every generation in both record copies and all own lease pages; `freed_generation` is carried on.
    fn next_generation(&self, pages: &PageCopies) -> Phase {
        let records = self.copies.valid();
        let highest = records.map(|record| record.incarnation.generation).max().unwrap_or_default();
        let generation = highest.max(highest_generation(pages)).next();
        let incarnation = Incarnation { slot: self.slot, generation };
        let record = self.joiner.record_of(incarnation, freed_generation(&self.copies));
        let write = PagesWrite::new(self.layout, pages, incarnation, record.boot_id);
        let highest = highest_sequence(&self.copies).max(self.joiner.highest_issued());
        Phase::LookBeforePages(self.look(), Box::new((record, highest, write)))
    }
}

/// A record that was watched must still be as it was: a clone that came after the watch has changed it.
fn unchanged(
    watched: Option<&[Vec<u8>]>,
    look: Result<ReadsDone, IoError>,
    slot: Slot,
) -> Result<(), JoinError> {
    let look = look.map_err(JoinError::Storage)?;
    match watched {
        Some(watched) if watched != look.bytes && !planted!(CloneNotWatched) => {
            Err(JoinError::Clone { slot })
        }
        _ => Ok(()),
    }
}

pub(super) fn freed_generation(copies: &Copies<HostRecord>) -> Generation {
    copies.valid().map(|record| record.freed_generation).max().unwrap_or_default()
}

pub(super) fn highest_sequence(copies: &Copies<HostRecord>) -> Sequence {
    copies.valid().map(|record| record.sequence).max().unwrap_or_default()
}

pub(super) fn joined(end: RecordEnd, pages: &[LeasePage], slot: Slot) -> Result<Joined, JoinError> {
    match end {
        RecordEnd::Written(record) => Ok(Joined { record: *record, pages: pages.to_vec() }),
        RecordEnd::Foreign(what) => Err(JoinError::Foreign { slot, what }),
        RecordEnd::Storage(error) => Err(JoinError::Storage(error)),
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Rejoin {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.joiner.each_mark(f);
        self.copies.a.each_mark(f);
        self.copies.b.each_mark(f);
        match &mut self.phase {
            Phase::Uptime => {}
            Phase::FirstLook(reads) | Phase::SecondLook { reads, .. } => reads.each_mark(f),
            Phase::Watch { until, .. } => until.each_mark(f),
            Phase::ReadPages(read) => read.each_mark(f),
            Phase::LookBeforePages(reads, next) => {
                reads.each_mark(f);
                next.0.each_mark(f);
                next.1.each_mark(f);
                next.2.each_mark(f);
            }
            Phase::LookBeforeRecord(reads, next, pages) => {
                reads.each_mark(f);
                next.0.each_mark(f);
                next.1.each_mark(f);
                pages.each_mark(f);
            }
            Phase::WritePages(record, sequence, write) => {
                record.each_mark(f);
                sequence.each_mark(f);
                write.each_mark(f);
            }
            Phase::WriteRecord(write, pages) => {
                write.each_mark(f);
                pages.each_mark(f);
            }
        }
    }
}
