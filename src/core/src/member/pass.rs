//! A pass: the own record is written, then all records are read through a freshly opened descriptor. That read is the
//! own read-back and the scan of the peers at once; what both say is judged in `judgement`.

use std::time::Duration;

use super::fence_requests::HURRIED_INTERVAL;
use super::phase::Phase;
use super::{LogLevel, Member};
use crate::format::{HostState, RecordCopy};
use crate::ids::Sequence;
use crate::planted::planted;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::{Instant, ObserverDeadline};
use crate::watch::Scan;

/// Where a pass stands.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Pass {
    started: Option<Instant>,
    hurried: bool,
    /// The record that this pass wrote.
    pub(super) written: Option<WrittenRecord>,
    scan: Option<Scan>,
    /// Since it ended, an operation of what may wait has gone.
    pub(super) gave_way: bool,
}

/// A record of the own, written in this pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WrittenRecord {
    pub(super) sequence: Sequence,
    pub(super) state: HostState,
    pub(super) acknowledged: bool,
}

impl Pass {
    /// The next pass is due at once.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.hurried
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.scan.is_some()
    }
}

impl Member {
    /// Time until the next pass is due.
    pub(super) fn pass_due_in(&self, now: Instant) -> Duration {
        if self.watch.is_none() || !self.passes_now() {
            return Duration::MAX;
        }
        let Some(started) = self.pass.started.filter(|_| !self.pass.hurried) else { return Duration::ZERO };
        let regular = self.pass_interval(now).saturating_sub(now.since_by_slower(started));
        // The verdict's read is scheduled exactly: it must *start* at the deadline, not at the next interval's end. One that
        // failed is made again after an interval, not at once.
        let deadline = self.watch.as_ref().and_then(crate::watch::Watch::next_deadline);
        let ahead = deadline.filter(|due| !due.reached(started));
        ahead.map_or(regular, |due: ObserverDeadline| regular.min(due.left(now)))
    }

    /// While a procedure works on the own slot the records are scanned only when it waits.
    fn passes_now(&self) -> bool {
        match &self.phase {
            Phase::Opening | Phase::Header(_) | Phase::Over => false,
            Phase::Entering(entry) => entry.is_waiting(),
            _ => self.replaced.is_none(),
        }
    }

    fn pass_interval(&self, now: Instant) -> Duration {
        let terms = &self.config.terms;
        let regular = terms.renewal_interval.min(terms.scan_interval);
        let hurried = self.fence_requests.any_open(now) || self.cluster.any_open(now);
        if hurried { regular.min(HURRIED_INTERVAL) } else { regular }
    }

    /// Begins a pass: the operation that it starts with.
    pub(super) fn begin_pass(&mut self, now: &crate::time::Now) -> Option<(IoOp, bool)> {
        self.pass = Pass { started: Some(now.instant), ..Pass::default() };
        let write = self.state_to_write(now.instant).and_then(|state| self.record_write(now, state));
        if let Some(op) = write {
            return Some((op, true));
        }
        self.begin_scan()
    }

    /// The write of the own record. Its sequence is taken first, so that the page carries it before the write is issued.
    fn record_write(&mut self, now: &crate::time::Now, state: HostState) -> Option<IoOp> {
        let layout = self.header.as_ref()?.layout;
        let holder = self.holder.as_mut()?;
        let sequence = holder.issue();
        let slot = holder.incarnation().slot;
        let record = self.record(now, state, sequence)?;
        self.pass.written = Some(WrittenRecord { sequence, state, acknowledged: false });
        let place = layout.host_record(slot, RecordCopy::of_sequence(sequence));
        Some(IoOp::Write { offset: place.offset, data: record.encode(&place) })
    }

    fn begin_scan(&mut self) -> Option<(IoOp, bool)> {
        self.pass.scan = self.new_scan();
        self.next_scan_read().map(|op| (op, false))
    }

    fn new_scan(&self) -> Option<Scan> {
        let scan = Scan::new(self.header.as_ref()?.layout, false);
        Some(self.watch.iter().fold(scan, Scan::knowing))
    }

    /// The next read of the scan under way.
    pub(super) fn next_scan_read(&self) -> Option<IoOp> {
        match self.pass.scan.as_ref()?.poll() {
            Step::Io(op) => Some(op),
            Step::Wait(_) | Step::Done(_) => None,
        }
    }

    /// The write of the own record ended.
    pub(super) fn record_done(&mut self, done: &IoDone) {
        let Some(holder) = &mut self.holder else { return };
        let acknowledged = holder.written(done);
        if let Some(written) = &mut self.pass.written {
            written.acknowledged = acknowledged;
        }
        if acknowledged {
            self.unknown.renewal_acknowledged(done.issued.instant, done.ended.instant);
        } else {
            self.unknown.renewal_broken();
            // It took longer than anybody knows.
            if let Some(leasing) = &mut self.leasing {
                leasing.recoveries.renewal_took(Duration::MAX, done.ended.instant);
            }
            let why = done.result.as_ref().err().map_or_else(String::new, ToString::to_string);
            let text = format!("a write of the own record has an unknown outcome: {why}");
            self.desk.note(LogLevel::Warn, "renewal-unknown", text);
        }
        if self.pass.scan.is_none() {
            self.pass.scan = self.new_scan();
        }
    }

    /// A read of the scan under way ended.
    pub(super) fn scan_done(&mut self, now: &crate::time::Now, done: &IoDone) {
        let Some(scan) = &mut self.pass.scan else { return };
        scan.handle_io(done);
        match scan.poll() {
            Step::Done(Ok(scanned)) => {
                self.pass.scan = None;
                self.judge(now, scanned);
            }
            Step::Done(Err(error)) => {
                self.pass.scan = None;
                self.scan_failed(now, &error);
            }
            Step::Io(_) | Step::Wait(_) => {}
        }
    }

    fn scan_failed(&mut self, now: &crate::time::Now, error: &IoError) {
        match error {
            IoError::Replaced(_) if planted!(ReplacedFileIgnored) => {
                self.holder.iter_mut().for_each(|holder| holder.count_unread(now));
            }
            IoError::Replaced(what) => self.file_replaced(now, what),
            IoError::Failed(what) => {
                let text = format!("the host records could not be read: {what}");
                self.desk.note(LogLevel::Warn, "scan-failed", text);
            }
        }
    }
}
