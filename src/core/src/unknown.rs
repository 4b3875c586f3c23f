//! Writes of unknown outcome (R11): a sector that carries claims, leases or terms is never rewritten while an earlier
//! write to it may still land.
//!
//! It owns the list of such writes, from before each is issued until it is known or *over*. It never issues a write,
//! and never decides what a sector should hold. Whoever owns the storage thread feeds it: each write that is not
//! exempt, each acknowledged or failed write of the own host record, and the reads that it asks for.

use std::ops::Range;
use std::time::Duration;

use crate::fencing::UnknownWrite;
use crate::storage::{IoDone, IoOp, Step};
use crate::time::{Instant, ObserverDeadline};

/// No instant at all: "not before something happens".
pub const NEVER: Instant = Instant { boot_ns: u64::MAX, raw_ns: u64::MAX };

/// How long a write is held unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UnknownRules {
    /// `unknown_hold`: from the call's return, while own renewals are acknowledged without a break.
    pub hold: Duration,
    /// `write_drain`: between the two reads that must agree.
    pub drain: Duration,
    /// Two acknowledged renewals further apart than this are a break: the hold is counted anew.
    pub longest_gap: Duration,
}

/// Where a write stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// Noted in the page, not known to have returned.
    InFlight,
    /// The call returned (or its process died); `since` is the first acknowledged renewal after that, without a break.
    Held { since: Option<Instant> },
    /// The hold has passed; `first` is the end and content of the first of two reads.
    Reading { first: Option<(Instant, Vec<u8>)> },
}

/// One write.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pending {
    offset: u64,
    len: usize,
    /// The bytes that the two reads are compared by: all, unless renewals (which are exempt) change the rest meanwhile.
    compare: Range<usize>,
    issued: Instant,
    stage: Stage,
}

/// All writes of this host whose outcome is unknown, those in flight included.
///
/// A write is over when (a) the boot that issued it has ended and `write_drain` has passed, which is a rejoin's business,
/// or (b) the hold has passed since its call returned, counted by the slower clock and only while writes of the own
/// record are acknowledged without a break, and then two reads `write_drain` apart agree.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UnknownWrites {
    rules: UnknownRules,
    writes: Vec<Pending>,
    /// End of the last acknowledged renewal, none after a break.
    last_ack: Option<Instant>,
}

impl UnknownWrites {
    /// An empty list.
    #[must_use]
    pub fn new(rules: UnknownRules) -> Self {
        Self { rules, writes: Vec::new(), last_ack: None }
    }

    /// Takes over what a page from before this process says: those calls ended with their process, at `now` at the latest.
    /// `sector_of` tells the bytes of the sector at an offset (the page keeps offsets only), and by which of them two reads
    /// are compared: where renewals go on into it, all of them would never agree.
    pub fn restore(
        &mut self,
        page: &[UnknownWrite],
        now: Instant,
        sector_of: impl Fn(u64) -> (usize, Range<usize>),
    ) {
        for write in page {
            let (len, compare) = sector_of(write.offset);
            let stage = Stage::Held { since: None };
            self.writes.push(Pending {
                offset: write.offset,
                len,
                compare: compare.start.min(len)..compare.end.min(len),
                issued: write.issued,
                stage,
            });
        }
        if !page.is_empty() {
            self.last_ack = self.last_ack.filter(|ack| ObserverDeadline(now).reached(*ack));
        }
    }

    /// Takes other rules (a changed configuration). What is counted already is kept.
    pub fn set_rules(&mut self, rules: UnknownRules) {
        self.rules = rules;
    }

    /// Notes a write before it is issued. The page must carry [`to_page`](Self::to_page) before the write leaves.
    pub fn issue(&mut self, offset: u64, len: usize, now: Instant) {
        self.issue_compared_by(offset, len, 0..len, now);
    }

    /// As [`issue`](Self::issue), for a sector that exempt writes go on changing (the own record, renewed meanwhile):
    /// the two reads are compared by these bytes of it only.
    pub fn issue_compared_by(&mut self, offset: u64, len: usize, compare: Range<usize>, now: Instant) {
        let compare = compare.start.min(len)..compare.end.min(len);
        self.writes.push(Pending { offset, len, compare, issued: now, stage: Stage::InFlight });
    }

    /// The write's call returned. Acknowledged: it has landed, and is known. Else it stays, unknown.
    pub fn ended(&mut self, offset: u64, acknowledged: bool) {
        let Some(at) = self.writes.iter().rposition(|w| w.offset == offset && w.stage == Stage::InFlight)
        else {
            return;
        };
        if acknowledged {
            self.writes.remove(at);
        } else {
            self.writes[at].stage = Stage::Held { since: None };
        }
    }

    /// Of several unknown writes of one sector that exempt writes go on into, only the last is kept: its hold ends last, so
    /// the list does not grow while the storage fails.
    pub fn merge(&mut self, offset: u64) {
        let returned = |w: &Pending| w.offset == offset && w.stage != Stage::InFlight;
        let Some(last) = self.writes.iter().rposition(returned) else { return };
        let mut index = 0;
        self.writes.retain(|write| {
            let keep = index == last || !returned(write);
            index += 1;
            keep
        });
    }

    /// A write of the own record (a renewal; for an ended incarnation, a rewrite of its receipt) was acknowledged.
    pub fn renewal_acknowledged(&mut self, issued: Instant, ended: Instant) {
        let gap = self.last_ack.map(|last| ended.since_by_faster(last));
        if gap.is_some_and(|gap| gap > self.rules.longest_gap) {
            self.renewal_broken();
        }
        self.last_ack = Some(ended);
        let hold = self.rules.hold;
        for write in &mut self.writes {
            match &write.stage {
                Stage::Held { since: None } => write.stage = Stage::Held { since: Some(ended) },
                Stage::Held { since: Some(since) } if issued.since_by_slower(*since) >= hold => {
                    write.stage = Stage::Reading { first: None };
                }
                _ => {}
            }
        }
    }

    /// A write of the own record failed, or took so long that the run of acknowledged ones is broken: what was held is
    /// counted anew from the next acknowledged one.
    pub fn renewal_broken(&mut self) {
        self.last_ack = None;
        for write in &mut self.writes {
            if let Stage::Held { since } = &mut write.stage {
                *since = None;
            }
        }
    }

    /// True while any write is unknown, one in flight included.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.writes.is_empty()
    }

    /// True while a write into these bytes may still land.
    #[must_use]
    pub fn covers(&self, offset: u64, len: usize) -> bool {
        let ends = |start: u64, len: usize| start.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        self.writes.iter().any(|w| w.offset < ends(offset, len) && offset < ends(w.offset, w.len))
    }

    /// What the page must carry.
    #[must_use]
    pub fn to_page(&self) -> Vec<UnknownWrite> {
        self.writes.iter().map(|w| UnknownWrite { offset: w.offset, issued: w.issued }).collect()
    }

    /// What is needed next: a read of a sector whose hold has passed, a time to wait for, or [`NEVER`] while only
    /// renewals can bring it further. Done when nothing is unknown.
    #[must_use]
    pub fn poll(&self, now: Instant) -> Step<()> {
        if self.writes.is_empty() {
            return Step::Done(());
        }
        let mut wake = NEVER;
        for write in &self.writes {
            let Stage::Reading { first } = &write.stage else { continue };
            let left = first.as_ref().map_or(Duration::ZERO, |(ended, _)| {
                ObserverDeadline(ended.plus(self.rules.drain)).left(now)
            });
            if left.is_zero() {
                return Step::Io(IoOp::Read { offset: write.offset, len: write.len });
            }
            let due = now.plus(left);
            wake = if due.boot_ns < wake.boot_ns { due } else { wake };
        }
        Step::Wait(wake)
    }

    /// The end of the read that [`poll`](Self::poll) asked for, at this offset. A failed read is asked for again.
    pub fn handle_io(&mut self, offset: u64, done: &IoDone) {
        let drain = self.rules.drain;
        let Ok(bytes) = &done.result else { return };
        // Several writes of one sector may be unknown: each is judged by the same read.
        self.writes.retain_mut(|write| {
            let Stage::Reading { first } = &mut write.stage else { return true };
            if write.offset != offset {
                return true;
            }
            let seen = bytes.get(write.compare.clone()).unwrap_or_default();
            match first {
                Some((ended, earlier)) if earlier == seen => {
                    !ObserverDeadline(ended.plus(drain)).reached(done.issued.instant)
                }
                _ => {
                    *first = Some((done.ended.instant, seen.to_vec()));
                    true
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{IoError, IoId};
    use crate::time::Now;

    const RULES: UnknownRules = UnknownRules {
        hold: Duration::from_secs(60),
        drain: Duration::from_secs(2),
        longest_gap: Duration::from_secs(5),
    };

    fn at(seconds: u64) -> Instant {
        Instant::default().plus(Duration::from_secs(1000 + seconds))
    }

    fn read(seconds: u64, bytes: &[u8]) -> IoDone {
        let stamp = Now { instant: at(seconds), ..Now::default() };
        IoDone { id: IoId(0), issued: stamp, ended: stamp, result: Ok(bytes.to_vec()) }
    }

    /// A write whose call failed at 0 s.
    fn failed() -> UnknownWrites {
        let mut writes = UnknownWrites::new(RULES);
        writes.issue(4096, 4, at(0));
        writes.ended(4096, false);
        writes
    }

    /// Renewals each second, all acknowledged, from one second to another.
    fn renewals(writes: &mut UnknownWrites, seconds: Range<u64>) {
        seconds.for_each(|second| writes.renewal_acknowledged(at(second), at(second)));
    }

    const READ: Step<()> = Step::Io(IoOp::Read { offset: 4096, len: 4 });

    #[test]
    fn a_write_in_flight_is_unknown_and_an_acknowledged_one_is_not() {
        let mut writes = UnknownWrites::new(RULES);
        writes.issue(4096, 512, at(0));
        assert_eq!(writes.to_page(), [UnknownWrite { offset: 4096, issued: at(0) }]);
        assert!(writes.covers(4600, 8) && !writes.covers(4608, 8) && !writes.covers(4000, 96));
        writes.ended(4096, true);
        assert!(!writes.any());
    }

    #[test]
    fn the_hold_is_counted_only_while_renewals_are_acknowledged() {
        let mut writes = failed();
        assert_eq!(writes.poll(at(10_000)), Step::Wait(NEVER), "time alone proves nothing");
        renewals(&mut writes, 1..61);
        assert_eq!(writes.poll(at(60)), Step::Wait(NEVER));
        renewals(&mut writes, 61..62);
        assert_eq!(writes.poll(at(61)), READ);
    }

    #[test]
    fn a_break_begins_the_hold_anew() {
        for broken_by_a_gap in [false, true] {
            let mut writes = failed();
            renewals(&mut writes, 1..50);
            if !broken_by_a_gap {
                writes.renewal_broken();
            }
            let go_on = if broken_by_a_gap { 60 } else { 50 };
            renewals(&mut writes, go_on..go_on + 60);
            assert_eq!(writes.poll(at(200)), Step::Wait(NEVER), "by a gap: {broken_by_a_gap}");
            renewals(&mut writes, go_on + 60..go_on + 62);
            assert_eq!(writes.poll(at(200)), READ);
        }
    }

    #[test]
    fn two_reads_write_drain_apart_must_agree() {
        let mut writes = failed();
        renewals(&mut writes, 1..62);
        writes.handle_io(4096, &read(62, b"old "));
        assert!(matches!(writes.poll(at(63)), Step::Wait(until) if until == at(64)));
        writes.handle_io(4096, &read(63, b"old "));
        assert!(writes.any(), "too soon after the first");
        writes.handle_io(4096, &read(65, b"new "));
        assert!(writes.any(), "it landed in between");
        let error = IoError::Failed("timed out".into());
        writes.handle_io(4096, &IoDone { result: Err(error), ..read(68, b"") });
        assert!(writes.any());
        writes.handle_io(4096, &read(68, b"new "));
        assert_eq!(writes.poll(at(68)), Step::Done(()));
    }

    #[test]
    fn reads_are_compared_by_the_bytes_that_renewals_leave_alone() {
        let mut writes = UnknownWrites::new(RULES);
        writes.issue_compared_by(4096, 4, 0..2, at(0));
        writes.ended(4096, false);
        renewals(&mut writes, 1..62);
        writes.handle_io(4096, &read(62, b"ab-1"));
        writes.handle_io(4096, &read(64, b"ab-2"));
        assert!(!writes.any());
    }

    #[test]
    fn what_a_page_from_before_this_process_lists_is_unknown() {
        let mut writes = UnknownWrites::new(RULES);
        writes.restore(&[UnknownWrite { offset: 4096, issued: at(0) }], at(5), |_| (4, 0..4));
        assert!(writes.covers(4096, 4));
        renewals(&mut writes, 6..67);
        assert_eq!(writes.poll(at(67)), READ);
    }

    #[test]
    fn a_write_of_the_own_record_from_before_this_process_ends_though_renewals_go_on_into_it() {
        let mut writes = UnknownWrites::new(RULES);
        writes.restore(&[UnknownWrite { offset: 4096, issued: at(0) }], at(5), |_| (4, 0..2));
        renewals(&mut writes, 6..67);
        writes.handle_io(4096, &read(67, b"ab-1"));
        writes.handle_io(4096, &read(69, b"ab-2"));
        assert!(!writes.any());
    }

    #[test]
    fn two_unknown_writes_of_one_sector_end_by_the_same_two_reads() {
        let mut writes = UnknownWrites::new(RULES);
        let twice = [0, 1].map(|issued| UnknownWrite { offset: 4096, issued: at(issued) });
        writes.restore(&twice, at(5), |_| (4, 0..4));
        renewals(&mut writes, 6..67);
        writes.handle_io(4096, &read(67, b"abcd"));
        assert!(matches!(writes.poll(at(68)), Step::Wait(_)), "the reads are write_drain apart");
        writes.handle_io(4096, &read(69, b"abcd"));
        assert!(!writes.any());
    }
}
