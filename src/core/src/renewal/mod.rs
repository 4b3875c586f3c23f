//! The holder: when the own lease ends, and which renewals carry it further (R3, R4, R5).
//!
//! A renewal is a write and an own read-back through a freshly opened descriptor. It extends the lease from before its
//! write was issued, once it is acknowledged, shown valid by a read that began after that, and only if the lease had
//! not ended by then. This module builds no record and does no I/O; the member feeds it.

#[cfg(feature = "model-check")]
mod marks;
mod own_copies;
mod terms_in_use;

use std::time::Duration;

pub use own_copies::{OwnCopy, OwnMark};
pub use terms_in_use::TermsInUse;

use crate::format::{Copies, HostRecord, RecordCopy};
use crate::ids::{BootId, HostKey, Incarnation, Sequence};
use crate::planted::planted;
use crate::storage::IoDone;
use crate::terms::Promise;
use crate::time::{HolderDeadline, Instant, Now};

/// A write of the own record that was acknowledged, and waits for its read-back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Acknowledged {
    sequence: Sequence,
    issued: Instant,
    ended: Instant,
}

/// What a read-back of the own record showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadBack {
    /// Somebody else writes the own sector: fence.
    pub foreign: Option<String>,
    /// The renewal of this pass counts: it was issued then.
    pub renewed: Option<Instant>,
    /// It was acknowledged and shown, but only after the lease's end: it revives nothing.
    pub late: bool,
    /// Copies that were damaged or written over, each in words: the next renewal of their parity mends them.
    pub damaged: Vec<String>,
}

/// The own lease.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Holder {
    mark: OwnMark,
    terms: TermsInUse,
    /// None before the first read-back of a joining host, or before arming.
    lease_end: Option<HolderDeadline>,
    /// True from arming on: an end that has passed stays passed.
    armed: bool,
    pending: Option<Acknowledged>,
    /// Highest sequence that was acknowledged and read back, by copy: what is older than it there has been written over.
    shown: [Option<Sequence>; 2],
    last_good: Option<Instant>,
    latency: Option<Duration>,
    damaged_copies: u64,
}

impl Holder {
    /// The holder of a new incarnation whose record was written up to `issued` while it joined.
    #[must_use]
    pub fn new(
        host_key: HostKey,
        boot_id: BootId,
        incarnation: Incarnation,
        issued: Sequence,
        terms: TermsInUse,
    ) -> Self {
        Self {
            mark: OwnMark { host_key, boot_id, incarnation, issued },
            terms,
            lease_end: None,
            armed: false,
            pending: None,
            shown: [None; 2],
            last_good: None,
            latency: None,
            damaged_copies: 0,
        }
    }

    /// The incarnation that holds.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.mark.incarnation
    }

    /// The highest sequence issued.
    #[must_use]
    pub fn issued(&self) -> Sequence {
        self.mark.issued
    }

    /// The lease's end as it stands.
    #[must_use]
    pub fn lease_end(&self) -> Option<HolderDeadline> {
        self.lease_end
    }

    /// True while the lease (or, while joining, what is watched like one) has not ended.
    #[must_use]
    pub fn is_valid(&self, now: Instant) -> bool {
        self.lease_end.is_some_and(|end| !end.reached(now))
    }

    /// Before the last renewal that counted was issued.
    #[must_use]
    pub fn last_good(&self) -> Option<Instant> {
        self.last_good
    }

    /// How long the last renewal that counted took, with its read-back.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// How many copies were found damaged or written over.
    #[must_use]
    pub fn damaged_copies(&self) -> u64 {
        self.damaged_copies
    }

    /// The change of terms, if one is under way.
    #[must_use]
    pub fn terms(&self) -> &TermsInUse {
        &self.terms
    }

    /// The same, to be advanced.
    pub fn terms_mut(&mut self) -> &mut TermsInUse {
        &mut self.terms
    }

    /// Takes over what both own copies say, after a restart.
    pub fn set_terms(&mut self, terms: TermsInUse) {
        self.terms = terms;
    }

    /// Begins to keep wanted terms that bring a verdict sooner, if the lease is young enough for them: a record that
    /// carries them may land as soon as it is issued, and the lease must not outlive it. True when it has begun.
    pub fn keep_sooner_terms(&mut self, now: Instant) -> bool {
        let (Some(sooner), Some(good), Some(end)) = (self.terms.sooner(), self.last_good, self.lease_end)
        else {
            return false;
        };
        let sooner_end = sooner.terms.lease_end(good);
        // With a margin: an end that is about to pass is no end to begin with.
        if sooner_end.left(now) <= sooner.terms.longest_gap() {
            return false;
        }
        self.terms.keep_sooner();
        self.lease_end = Some(if planted!(TtlLoweredAtAck) { end } else { end.min(sooner_end) });
        true
    }

    /// What the holder keeps now.
    #[must_use]
    pub fn in_use(&self) -> Promise {
        self.terms.in_use()
    }

    /// Arms: from here an end that has passed stays passed. `provisional` holds until the first renewal counts.
    pub fn arm(&mut self, provisional: HolderDeadline) {
        self.armed = true;
        self.lease_end = Some(provisional);
    }

    /// Takes over the end that a page from before this process carries: a lease goes on, it never starts anew.
    pub fn resume(&mut self, lease_end: HolderDeadline) {
        self.armed = true;
        self.lease_end = Some(lease_end);
    }

    /// Disarmed: renewals go on as a sign of life, and no end is counted.
    pub fn disarm(&mut self) {
        self.armed = false;
    }

    /// True from arming until disarming.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Cuts the lease short: what is promised ends now.
    pub fn end_now(&mut self, now: Instant) {
        let end = HolderDeadline(now);
        self.lease_end = Some(self.lease_end.map_or(end, |lease_end| lease_end.min(end)));
    }

    /// Takes the next sequence, for a record that is about to be issued. The page must carry it before.
    pub fn issue(&mut self) -> Sequence {
        self.mark.issued = self.mark.issued.next();
        if planted!(TtlRaisedAtIssue) {
            self.lease_end = self.lease_end.map(|end| HolderDeadline(end.0.plus(self.terms.raise())));
        }
        self.terms.issue(self.mark.issued);
        self.pending = None;
        self.mark.issued
    }

    /// The write of the record issued last ended. True when it was acknowledged.
    pub fn written(&mut self, done: &IoDone) -> bool {
        let acknowledged = done.result.is_ok();
        if acknowledged {
            self.terms.acknowledged(self.mark.issued);
            let (issued, ended) = (done.issued.instant, done.ended.instant);
            self.pending = Some(Acknowledged { sequence: self.mark.issued, issued, ended });
            if planted!(NoReadBack) {
                self.count_unread(&done.ended);
            }
        } else {
            self.terms.unknown();
        }
        acknowledged
    }

    /// A good read of the own two copies, issued at `started` and ended at `ended`, taken up at `now`.
    pub fn read_back(
        &mut self,
        copies: &Copies<HostRecord>,
        started: Instant,
        ended: Instant,
        now: &Now,
    ) -> ReadBack {
        let judged = self.mark.judge_both(copies);
        let mut result = ReadBack::default();
        for (index, copy) in judged.iter().enumerate() {
            self.judge_copy(index, copy, &mut result);
        }
        if result.foreign.is_none() {
            self.count(&judged, started, ended, now, &mut result);
        }
        result
    }

    fn judge_copy(&mut self, index: usize, copy: &OwnCopy, result: &mut ReadBack) {
        let name = ["A", "B"][index];
        let shown = self.shown[index];
        let fault = match copy {
            OwnCopy::Foreign(what) => {
                result.foreign = Some(format!("copy {name} of the own record holds {what}"));
                return;
            }
            OwnCopy::Damaged(error) => shown.map(|_| format!("copy {name} of the own record is {error}")),
            OwnCopy::Older => {
                shown.map(|_| format!("copy {name} of the own record holds an earlier life of this host"))
            }
            OwnCopy::Mine(sequence) => shown.filter(|shown| sequence < shown).map(|shown| {
                format!("copy {name} of the own record went back from sequence {shown} to {sequence}")
            }),
        };
        if let Some(fault) = fault {
            // Told once: until it is mended there is nothing more to say.
            self.shown[index] = None;
            self.damaged_copies += 1;
            result.damaged.push(fault);
        } else if let OwnCopy::Mine(sequence) = copy {
            self.shown[index] = Some(shown.map_or(*sequence, |shown| shown.max(*sequence)));
        }
    }

    /// Extends the lease, if the renewal that waits for its read-back is shown by a read that began after the
    /// acknowledgement, and the lease has not ended by either clock, at the read's end or now.
    fn count(
        &mut self,
        judged: &[OwnCopy; 2],
        started: Instant,
        ended: Instant,
        now: &Now,
        result: &mut ReadBack,
    ) {
        let Some(pending) = self.pending else { return };
        let index = usize::from(RecordCopy::of_sequence(pending.sequence) == RecordCopy::B);
        let began_after = started.boot_ns >= pending.ended.boot_ns && started.raw_ns >= pending.ended.raw_ns;
        if !began_after || judged[index] != OwnCopy::Mine(pending.sequence) {
            return;
        }
        self.pending = None;
        self.extend(pending, ended, now, result);
    }

    /// Counts the renewal that was acknowledged, though no read shows it: a planted bug.
    pub(crate) fn count_unread(&mut self, now: &Now) {
        if let Some(pending) = self.pending {
            self.extend(pending, now.instant, now, &mut ReadBack::default());
        }
    }

    fn extend(&mut self, pending: Acknowledged, ended: Instant, now: &Now, result: &mut ReadBack) {
        let over = |at: Instant| self.armed && !self.is_valid(at);
        let late = over(ended) || over(now.instant);
        if late && !planted!(LateAckRevives) {
            result.late = true;
            return;
        }
        let from = if late || planted!(HolderFromAck) { pending.ended } else { pending.issued };
        let in_use = if planted!(TtlLoweredAtAck) { self.terms.acknowledged_last() } else { self.in_use() };
        let end = in_use.terms.lease_end(from);
        self.lease_end = Some(end);
        self.last_good = Some(pending.issued);
        self.latency = Some(ended.since_by_faster(pending.issued));
        result.renewed = Some(pending.issued);
    }
}

#[cfg(test)]
mod tests;
