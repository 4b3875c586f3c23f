//! Claiming a slot, once in a machine's life.
//!
//! A claim that is not zero is taken for ever, also this machine's own older one: a write to it may land at any time, and
//! no time-out proves that it will not. Whoever finds its claim still there after the wait is the only one who does:
//! a claimant that was slower than the deadline from its read of zeros to its acknowledgement has given up.

use std::collections::VecDeque;
use std::time::Duration;

use super::error::JoinError;
use super::join::{Joined, Joiner};
use super::own_pages::{PageCopies, PagesRead, PagesWrite, highest_generation, lost_page};
use super::pause::Pause;
use super::reads::Reads;
use super::record_write::{RecordEnd, RecordWrite};
use super::rejoin::{freed_generation, highest_sequence, joined};
use super::survey::{Slots, range_of, read_of, write_of};
use crate::format::{Claim, Copies, DecodeError, HostRecord, HostState, Layout, RecordCopy};
use crate::hash::h64;
use crate::ids::{Generation, HostKey, Incarnation, Slot};
use crate::planted::planted;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::{Instant, Now, ObserverDeadline};

/// D: the longest from before the read of zeros to the claim's acknowledgement, by the faster clock.
pub const CLAIM_DEADLINE: Duration = Duration::from_secs(2);
/// Trial reads before a claim, each under a quarter of D: a slow storage would burn the slot.
const TRIALS: u8 = 5;
/// Rounds of trial reads before giving up.
const TRIAL_ROUNDS: u8 = 10;
/// Claims that one start may burn.
const MAX_CLAIMS: u8 = 3;
/// Drift counted at least, whatever the configuration says: the other claimants may have another one.
const LEAST_DRIFT_PPM: u16 = 500;

/// W: how long a claimant waits after its acknowledgement, by the slower clock. D (1 + 2 drift) + 1 s, more than D: every
/// other claimant that read zeros before this claim landed has been acknowledged, or has given up.
#[must_use]
pub fn claim_wait(drift_ppm: u16) -> Duration {
    if planted!(ClaimWithoutWait) {
        return Duration::ZERO;
    } else if planted!(ClaimWaitTooShort) {
        return CLAIM_DEADLINE / 2;
    }
    let drift = u32::from(drift_ppm.max(LEAST_DRIFT_PPM));
    CLAIM_DEADLINE + CLAIM_DEADLINE * (2 * drift) / 1_000_000 + Duration::from_secs(1)
}

/// The procedure.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Claiming {
    layout: Layout,
    joiner: Joiner,
    /// Candidates not tried yet, in this machine's order.
    candidates: VecDeque<Slot>,
    abandoned: Vec<String>,
    claims: u8,
    pause: Pause,
    phase: Phase,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Next,
    Trial { slot: Slot, good: u8, rounds: u8, slowest: Duration },
    ReadFree(Slot),
    Write { slot: Slot, t0: Instant },
    Wait { slot: Slot, until: Instant },
    CheckClaim(Slot),
    CheckRecord(Slot, Reads),
    ReadPages(Slot, Box<Copies<HostRecord>>, PagesRead),
    WriteRecord(Box<RecordWrite>, PageCopies),
    WritePages(Box<HostRecord>, PagesWrite),
    Done(Box<Result<Joined, JoinError>>),
}

impl Claiming {
    pub(super) fn new(layout: Layout, joiner: Joiner, slots: &Slots) -> Self {
        let candidates = candidates(slots, joiner.record.host_key);
        let (abandoned, pause) = (Vec::new(), Pause::default());
        Self { layout, joiner, candidates, abandoned, claims: 0, pause, phase: Phase::Next }
    }

    pub(super) fn issuing(&self) -> Option<&HostRecord> {
        match &self.phase {
            Phase::WriteRecord(write, _) => write.issuing(),
            _ => None,
        }
    }

    pub(super) fn trouble(&self) -> Option<&IoError> {
        let of_phase = match &self.phase {
            Phase::CheckRecord(_, reads) => reads.trouble(),
            Phase::ReadPages(_, _, read) => read.trouble(),
            Phase::WriteRecord(write, _) => write.trouble(),
            Phase::WritePages(_, write) => write.trouble(),
            _ => None,
        };
        of_phase.or_else(|| self.pause.why())
    }

    /// What it is doing, for people.
    pub(super) fn step(&self) -> &'static str {
        match &self.phase {
            Phase::Next | Phase::Trial { .. } | Phase::ReadFree(_) => "looking for a free slot",
            Phase::Write { .. } => "writing a claim",
            Phase::Wait { .. } => "waiting until no other claim of the slot can count",
            Phase::CheckClaim(_) | Phase::CheckRecord(..) | Phase::ReadPages(..) => "checking the claim",
            Phase::WriteRecord(..) => "writing the joining record",
            Phase::WritePages(..) => "writing the own lease pages",
            Phase::Done(_) => "done",
        }
    }

    pub(super) fn poll(&mut self, now: &Now) -> Step<Result<Joined, JoinError>> {
        loop {
            if let Some(until) = self.pause.left(now.instant) {
                return Step::Wait(until);
            }
            let next = match &mut self.phase {
                Phase::Next => self.next_candidate(),
                Phase::Trial { slot, .. } | Phase::ReadFree(slot) | Phase::CheckClaim(slot) => {
                    return Step::Io(read_of(&self.layout.claim(*slot)));
                }
                Phase::Write { slot, .. } => {
                    let slot = *slot;
                    return Step::Io(self.claim_write(slot));
                }
                Phase::Wait { until, .. } if !ObserverDeadline(*until).reached(now.instant) => {
                    return Step::Wait(*until);
                }
                Phase::Wait { slot, .. } => Phase::CheckClaim(*slot),
                Phase::CheckRecord(slot, reads) => match reads.poll(now.instant) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => over(Err(JoinError::Storage(error))),
                    Step::Done(Ok(done)) => {
                        let slot = *slot;
                        self.judge_record(slot, &done.bytes)
                    }
                },
                Phase::ReadPages(slot, copies, read) => match read.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => over(Err(JoinError::Storage(error))),
                    Step::Done(Ok(pages)) => {
                        let (slot, copies) = (*slot, copies.clone());
                        self.take_slot(slot, &copies, pages)
                    }
                },
                Phase::WriteRecord(write, pages) => match write.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(RecordEnd::Written(record)) => {
                        let write = PagesWrite::new(self.layout, pages, record.incarnation, record.boot_id);
                        Phase::WritePages(record, write)
                    }
                    Step::Done(end) => {
                        let slot = self.joiner.record.incarnation.slot;
                        over(joined(end, &[], slot))
                    }
                },
                Phase::WritePages(record, write) => match write.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(pages) => over(Ok(Joined { record: (**record).clone(), pages })),
                },
                Phase::Done(end) => return Step::Done((**end).clone()),
            };
            self.phase = next;
        }
    }

    pub(super) fn handle_io(&mut self, done: &IoDone) {
        match &mut self.phase {
            Phase::CheckRecord(_, reads) => return reads.handle_io(done),
            Phase::ReadPages(_, _, read) => return read.handle_io(done),
            Phase::WriteRecord(write, _) => return write.handle_io(done),
            Phase::WritePages(_, write) => return write.handle_io(done),
            _ => {}
        }
        if let Err(error @ IoError::Replaced(_)) = &done.result {
            self.phase = over(Err(JoinError::Storage(error.clone())));
            return;
        }
        self.phase = match self.phase.clone() {
            Phase::Trial { slot, good, rounds, slowest } => self.tried(slot, good, rounds, slowest, done),
            Phase::ReadFree(slot) => self.read_free(slot, done),
            Phase::Write { slot, t0 } => self.claimed(slot, t0, done),
            Phase::CheckClaim(slot) => self.judge_claim(slot, done),
            other => other,
        };
    }

    fn next_candidate(&mut self) -> Phase {
        let left = self.candidates.pop_front().filter(|_| self.claims < MAX_CLAIMS);
        match left {
            Some(slot) => Phase::Trial { slot, good: 0, rounds: 0, slowest: Duration::ZERO },
            None if self.abandoned.is_empty() => {
                over(Err(JoinError::Full { slots: self.layout.max_hosts() }))
            }
            None => {
                let reasons = self.abandoned.join("; ");
                over(Err(JoinError::GaveUp { tries: self.claims, reasons }))
            }
        }
    }

    fn tried(&mut self, slot: Slot, good: u8, rounds: u8, slowest: Duration, done: &IoDone) -> Phase {
        let took = done.ended.instant.since_by_faster(done.issued.instant);
        let quick = took < CLAIM_DEADLINE / 4 && done.result.is_ok();
        if quick {
            return match good + 1 {
                TRIALS => Phase::ReadFree(slot),
                good => Phase::Trial { slot, good, rounds, slowest },
            };
        }
        let slowest = slowest.max(took);
        if rounds + 1 >= TRIAL_ROUNDS {
            let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let limit_ms = ms(CLAIM_DEADLINE / 4);
            return over(Err(JoinError::TooSlow { slowest_ms: ms(slowest), limit_ms }));
        }
        let slow = IoError::Failed(format!("a trial read took {took:?}"));
        self.pause.after(done.ended.instant, done.result.as_ref().err().unwrap_or(&slow));
        Phase::Trial { slot, good: 0, rounds: rounds + 1, slowest }
    }

    /// t0 is before this read. Anything but zeros is a claim, readable or not.
    fn read_free(&mut self, slot: Slot, done: &IoDone) -> Phase {
        match &done.result {
            Ok(_) if planted!(ClaimInRecord) => self.check_record(slot),
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) || self.ignores_claim(slot, bytes) => {
                Phase::Write { slot, t0: done.issued.instant }
            }
            Ok(_) => Phase::Next,
            Err(error) => {
                self.pause.after(done.ended.instant, error);
                Phase::ReadFree(slot)
            }
        }
    }

    fn claim_write(&self, slot: Slot) -> IoOp {
        let place = self.layout.claim(slot);
        write_of(&place, self.claim(slot).encode(&place))
    }

    fn claim(&self, slot: Slot) -> Claim {
        let record = &self.joiner.record;
        Claim {
            slot,
            boot_id: record.boot_id,
            host_key: record.host_key,
            nonce: record.process_nonce,
            name: record.host_name.clone(),
        }
    }

    /// Later than D after t0, or any error: the claim may land late, or too late for others to count on. Abandoned.
    fn claimed(&mut self, slot: Slot, t0: Instant, done: &IoDone) -> Phase {
        self.claims += 1;
        let t1 = done.ended.instant;
        let took = t1.since_by_faster(t0);
        match &done.result {
            Err(error) => self.abandon(slot, &format!("its outcome is unknown: {error}")),
            Ok(_) if took > CLAIM_DEADLINE && !planted!(ClaimNeverAbandoned) => {
                self.abandon(slot, &format!("acknowledged after {took:?}, later than {CLAIM_DEADLINE:?}"))
            }
            Ok(_) => Phase::Wait { slot, until: t1.plus(claim_wait(self.joiner.record.terms.drift_ppm)) },
        }
    }

    fn judge_claim(&mut self, slot: Slot, done: &IoDone) -> Phase {
        let bytes = match &done.result {
            Ok(bytes) => bytes,
            Err(error) => {
                self.pause.after(done.ended.instant, error);
                return Phase::CheckClaim(slot);
            }
        };
        if Claim::decode(&self.layout.claim(slot), bytes) != Ok(self.claim(slot)) {
            return self.abandon(slot, "another claim lies there");
        }
        self.check_record(slot)
    }

    fn check_record(&self, slot: Slot) -> Phase {
        let places = RecordCopy::BOTH.map(|copy| range_of(&self.layout.host_record(slot, copy)));
        Phase::CheckRecord(slot, Reads::new(places.to_vec()))
    }

    fn ignores_claim(&self, slot: Slot, bytes: &[u8]) -> bool {
        ignores(&Claim::decode(&self.layout.claim(slot), bytes), self.joiner.record.host_key)
    }

    /// Read after the claim was found mine: still zero or free, or somebody else is there.
    fn judge_record(&mut self, slot: Slot, bytes: &[Vec<u8>]) -> Phase {
        let decode = |copy, bytes: &[u8]| HostRecord::decode(&self.layout.host_record(slot, copy), bytes);
        let copies = Copies { a: decode(RecordCopy::A, &bytes[0]), b: decode(RecordCopy::B, &bytes[1]) };
        if !is_vacant(&copies) {
            return self.abandon(slot, "its record is not free any more");
        }
        Phase::ReadPages(slot, Box::new(copies), PagesRead::new(self.layout, slot))
    }

    /// The slot is this machine's. Its generation lies above every one found in its records and lease pages.
    fn take_slot(&mut self, slot: Slot, copies: &Copies<HostRecord>, pages: PageCopies) -> Phase {
        if let Some((page, why)) = lost_page(&pages) {
            return self.abandon(slot, &format!("lease page {page} is unreadable ({why})"));
        }
        let highest = copies.valid().map(|record| record.incarnation.generation).max().unwrap_or_default();
        let of_pages =
            if planted!(FreeResetsGeneration) { Generation(0) } else { highest_generation(&pages) };
        let generation = highest.max(of_pages).next();
        let record = self.joiner.record_of(Incarnation { slot, generation }, freed_generation(copies));
        self.joiner.record.incarnation.slot = slot;
        Phase::WriteRecord(Box::new(RecordWrite::new(self.layout, record, highest_sequence(copies))), pages)
    }

    fn abandon(&mut self, slot: Slot, why: &str) -> Phase {
        self.abandoned.push(format!("slot {slot}: {why}"));
        Phase::Next
    }
}

/// Slots whose claim is all zero and whose record is zero or `free` in both copies, in the order of H64(`host_key`, slot).
fn candidates(slots: &Slots, key: HostKey) -> VecDeque<Slot> {
    let all = (0u16..).map(Slot).zip(slots.claims.iter().zip(&slots.records));
    let zero = |claim: &Result<Claim, DecodeError>| *claim == Err(DecodeError::Empty) || ignores(claim, key);
    let free = all.filter(|(_, (claim, copies))| zero(claim) && is_vacant(copies));
    let mut order: Vec<Slot> = free.map(|(slot, _)| slot).collect();
    order.sort_by_key(|slot| h64(&[&key.0, &slot.0.to_le_bytes()]));
    order.into()
}

/// True for a claim that one of two planted bugs takes for no claim.
fn ignores(claim: &Result<Claim, DecodeError>, key: HostKey) -> bool {
    let of = |mine: bool| claim.as_ref().is_ok_and(|claim| (claim.host_key == key) == mine);
    (planted!(OwnClaimFree) && of(true)) || (planted!(ForeignClaimSuperseded) && of(false))
}

/// Zero or `free`, in both copies.
pub(super) fn is_vacant(copies: &Copies<HostRecord>) -> bool {
    [&copies.a, &copies.b].into_iter().all(|copy| match copy {
        Ok(record) => record.state == HostState::Free,
        Err(error) => *error == DecodeError::Empty,
    })
}

fn over(end: Result<Joined, JoinError>) -> Phase {
    Phase::Done(Box::new(end))
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Claiming {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.joiner.each_mark(f);
        self.pause.each_mark(f);
        match &mut self.phase {
            Phase::Write { t0: instant, .. } | Phase::Wait { until: instant, .. } => instant.each_mark(f),
            Phase::CheckRecord(_, reads) => reads.each_mark(f),
            Phase::ReadPages(_, copies, read) => {
                copies.a.each_mark(f);
                copies.b.each_mark(f);
                read.each_mark(f);
            }
            Phase::WriteRecord(write, _) => write.each_mark(f),
            Phase::WritePages(record, write) => {
                record.each_mark(f);
                write.each_mark(f);
            }
            Phase::Next
            | Phase::Trial { .. }
            | Phase::ReadFree(_)
            | Phase::CheckClaim(_)
            | Phase::Done(_) => {}
        }
    }
}
