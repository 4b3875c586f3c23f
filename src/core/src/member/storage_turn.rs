//! Who may use the storage thread next: one operation is outstanding at a time; a renewal goes before a scan, a scan
//! before the reads that end an unknown write, and all of them before lease work. Where a pass takes longer than its interval,
//! the next is always due: then one operation of what may wait goes between two of them.
//!
//! Every write is noted in the page before it is issued (R11): the page is published, then the request is made.

use super::phase::Phase;
use super::{Command, Member};
use crate::format::RecordCopy;
use crate::storage::{IoDone, IoId, IoOp, IoRequest, Step};
use crate::time::Now;

/// Bytes of a host record by which two reads are compared while renewals go on: state, class, flags, terms and echo.
pub(super) const PROMISE_BYTES: std::ops::Range<usize> = 92..144;

/// What an operation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Job {
    Header,
    Entry,
    Record,
    Scan,
    Unknown { offset: u64 },
    Leases,
    SlotFree,
}

/// The operation that is outstanding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InFlight {
    id: IoId,
    job: Job,
    /// Byte offset, when it is a write.
    write: Option<u64>,
}

impl Member {
    /// Hands the next operation to the storage thread, if it is free and there is one.
    pub(super) fn storage_turn(&mut self, now: &Now) {
        if self.in_flight.is_some() {
            return;
        }
        let Some((job, op)) = self.next_operation(now) else { return };
        let id = self.desk.next_io();
        let write = match &op {
            IoOp::Write { offset, data } => {
                self.note_write(now, job, *offset, data.len());
                Some(*offset)
            }
            IoOp::Read { .. } => None,
        };
        self.in_flight = Some(InFlight { id, job, write });
        self.publish();
        self.desk.push(Command::Io(IoRequest { id, op }));
    }

    fn next_operation(&mut self, now: &Now) -> Option<(Job, IoOp)> {
        if let Some(op) = self.procedure_operation(now) {
            return Some(op);
        }
        if self.pass.is_scanning() {
            return self.next_scan_read().map(|op| (Job::Scan, op));
        }
        let pass_is_due = self.pass_due_in(now.instant).is_zero();
        if pass_is_due && !self.owes_a_turn() {
            return self.pass_operation(now);
        }
        let other = self.other_operation(now);
        self.pass.gave_way |= other.is_some();
        if other.is_none() && pass_is_due { self.pass_operation(now) } else { other }
    }

    /// True when what may wait comes before a pass that is due: it has waited for one. Nothing that is in a hurry waits. In every
    /// phase: adopting, weakening and a rejoin wait for lease work and unknown writes as well. A renewal comes one operation later at
    /// most; one that comes too late costs the lease and never a promise.
    fn owes_a_turn(&self) -> bool {
        !self.pass.gave_way && !self.pass.is_hurried()
    }

    fn pass_operation(&mut self, now: &Now) -> Option<(Job, IoOp)> {
        let (op, writes) = self.begin_pass(now)?;
        Some((if writes { Job::Record } else { Job::Scan }, op))
    }

    fn other_operation(&mut self, now: &Now) -> Option<(Job, IoOp)> {
        match self.unknown.poll(now.instant) {
            Step::Io(IoOp::Read { offset, len }) if self.replaced.is_none() => {
                Some((Job::Unknown { offset }, IoOp::Read { offset, len }))
            }
            _ => self.work_operation(now),
        }
    }

    /// What may wait: the freeing of a slot, then lease work.
    fn work_operation(&mut self, now: &Now) -> Option<(Job, IoOp)> {
        if let Some(op) = self.free_slot_operation(now) {
            return Some((Job::SlotFree, op));
        }
        self.lease_operation(now).map(|op| (Job::Leases, op))
    }

    fn procedure_operation(&mut self, now: &Now) -> Option<(Job, IoOp)> {
        match &mut self.phase {
            Phase::Header(read) => match read.poll() {
                Step::Io(op) => Some((Job::Header, op)),
                Step::Wait(_) | Step::Done(_) => None,
            },
            Phase::Entering(_) if !self.pass.is_scanning() => {
                self.entry_operation(now).map(|op| (Job::Entry, op))
            }
            _ => None,
        }
    }

    fn note_write(&mut self, now: &Now, job: Job, offset: u64, len: usize) {
        if self.is_own_record(job, offset) {
            self.unknown.issue_compared_by(offset, len, PROMISE_BYTES, now.instant);
        } else {
            self.unknown.issue(offset, len, now.instant);
        }
    }

    /// True for a write of the own record: those of a pass, and those of the entry. Renewals go on into the same sector.
    fn is_own_record(&self, job: Job, offset: u64) -> bool {
        let records = self.header.as_ref().map(|header| header.layout.host_records());
        job == Job::Record || (job == Job::Entry && records.is_some_and(|records| records.contains(&offset)))
    }

    /// An operation ended.
    pub(super) fn io_done(&mut self, now: &Now, done: &IoDone) {
        let Some(in_flight) = self.in_flight.filter(|in_flight| in_flight.id == done.id) else { return };
        self.in_flight = None;
        if let Some(offset) = in_flight.write {
            self.unknown.ended(offset, done.result.is_ok());
            if self.is_own_record(in_flight.job, offset) {
                self.unknown.merge(offset);
            }
        }
        match in_flight.job {
            Job::Header => self.header_done(now, done),
            Job::Entry => self.entry_done(done),
            Job::Record => self.record_done(done),
            Job::Scan => self.scan_done(now, done),
            Job::Unknown { offset } => self.unknown_done(offset, done),
            Job::Leases => self.lease_done(now, done),
            Job::SlotFree => self.free_slot_done(done),
        }
    }

    fn unknown_done(&mut self, offset: u64, done: &IoDone) {
        self.unknown.handle_io(offset, done);
        if !self.own_record_unknown()
            && let Some(holder) = &mut self.holder
        {
            holder.terms_mut().settled();
        }
    }

    /// True while a write of the own record may still land.
    pub(super) fn own_record_unknown(&self) -> bool {
        let (Some(header), Some(own)) = (&self.header, self.incarnation()) else { return false };
        RecordCopy::BOTH.iter().any(|copy| {
            let place = header.layout.host_record(own.slot, *copy);
            self.unknown.covers(place.offset, place.len)
        })
    }
}
