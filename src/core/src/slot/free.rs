//! `leasefence slot free N --machine-is-off NAME`: the one way in which a slot becomes free again.
//!
//! The order is that of every weakened promise: conditions on what lies there, the `free` record in both copies, read back
//! twice `write_drain` apart, and only then the claim zeroed. It writes where another machine wrote, so it looks again before
//! each part, and never repeats a write of unknown outcome.

use std::time::Duration;

use super::claim::is_vacant;
use super::error::FreeError;
use super::free_scan::FreeScan;
use super::reads::{Reads, ReadsDone};
use super::record_write::next_even;
use super::survey::{Slots, Survey, range_of, write_of};
use crate::evidence::Evidence;
use crate::format::{
    CONVICTIONS, Claim, Copies, DecodeError, FENCE_REQUESTS, HostRecord, HostState, Layout, LeasePage,
    RecordCopy,
};
use crate::ids::{BootId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot};
use crate::planted::planted;
use crate::storage::{IoDone, IoError, IoOp, Step};
use crate::time::{Instant, Now, ObserverDeadline};

/// What the freeing agent brings.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Freer {
    /// Its boot, for the sectors that it writes.
    pub boot_id: BootId,
    /// Its process.
    pub process_nonce: Nonce,
    /// Its own `write_drain`; the freed record's counts where it is longer.
    pub write_drain: Duration,
    /// What it holds as evidence, of the slot's incarnations.
    pub evidence: Vec<(Incarnation, Evidence)>,
}

/// The procedure. To be started only while the own lease is valid and no write of this host into the slot is unknown.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SlotFree {
    layout: Layout,
    slot: Slot,
    machine: String,
    freer: Freer,
    phase: Phase,
}

/// What lies in the slot.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Target {
    claim: Result<Claim, DecodeError>,
    copies: Copies<HostRecord>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Look(Box<Survey>),
    /// All hosts' sectors, one page after the other.
    Pages(Box<Plan>, Box<FreeScan>),
    /// Before the first write: still what the conditions were met by.
    Confirm(Box<Plan>, Reads),
    Write(Box<Plan>, usize),
    /// After the last write, twice: `Drain` lies between.
    FirstLook(Box<Plan>, Reads),
    Drain(Box<Plan>, Instant),
    SecondLook(Box<Plan>, Reads),
    ZeroClaim,
    CheckZero(Reads),
    Done(Result<(), FreeError>),
}

/// What is to be written, and what must lie there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Plan {
    /// Before the writes, then after them.
    target: Target,
    /// The `free` record; none where the record is zero or `free` already (a burned claim).
    free: Option<HostRecord>,
    /// Each write with its name, in order.
    writes: Vec<(IoOp, &'static str)>,
    drain: Duration,
}

impl SlotFree {
    /// A procedure that has not begun. `machine` is what the operator typed.
    #[must_use]
    pub fn new(layout: Layout, slot: Slot, machine: String, freer: Freer) -> Self {
        Self { layout, slot, machine, freer, phase: Phase::Look(Box::new(Survey::new(layout))) }
    }

    /// The next step.
    pub fn poll(&mut self, now: &Now) -> Step<Result<(), FreeError>> {
        loop {
            let next = match &mut self.phase {
                Phase::Look(survey) => match survey.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => Err(FreeError::Storage(self.slot, error)),
                    Step::Done(Ok(slots)) => self.plan(&slots),
                },
                Phase::Pages(plan, scan) => match scan.poll() {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => Err(error),
                    Step::Done(Ok(found)) => {
                        let plan = (**plan).clone();
                        let plan = self.with_writes(plan, &found.unreadable, found.highest);
                        Ok(Phase::Confirm(Box::new(plan), self.target_reads()))
                    }
                },
                Phase::Confirm(_, reads)
                | Phase::FirstLook(_, reads)
                | Phase::SecondLook(_, reads)
                | Phase::CheckZero(reads) => match reads.poll(now.instant) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => Err(FreeError::Storage(self.slot, error)),
                    Step::Done(Ok(done)) => self.judge(&done),
                },
                Phase::Write(plan, at) => match plan.writes.get(*at) {
                    Some((op, _)) => return Step::Io(op.clone()),
                    None => Ok(Phase::FirstLook(plan.clone(), self.target_reads())),
                },
                Phase::Drain(_, until) if !ObserverDeadline(*until).reached(now.instant) => {
                    return Step::Wait(*until);
                }
                Phase::Drain(plan, _) => Ok(Phase::SecondLook(plan.clone(), self.target_reads())),
                Phase::ZeroClaim => {
                    let place = self.layout.claim(self.slot);
                    return Step::Io(write_of(&place, vec![0; place.len]));
                }
                Phase::Done(end) => return Step::Done(end.clone()),
            };
            self.phase = next.unwrap_or_else(|error| Phase::Done(Err(error)));
        }
    }

    /// The end of the operation that was asked for.
    pub fn handle_io(&mut self, done: &IoDone) {
        let slot = self.slot;
        let unknown =
            |what, error: &IoError| Phase::Done(Err(FreeError::Unknown { slot, what, error: error.clone() }));
        match &mut self.phase {
            Phase::Look(survey) => survey.handle_io(done),
            Phase::Pages(_, scan) => scan.handle_io(done),
            Phase::Confirm(_, reads)
            | Phase::FirstLook(_, reads)
            | Phase::SecondLook(_, reads)
            | Phase::CheckZero(reads) => reads.handle_io(done),
            Phase::Write(plan, at) => match &done.result {
                Ok(_) => *at += 1,
                Err(error) => self.phase = unknown(plan.writes[*at].1, error),
            },
            Phase::ZeroClaim => {
                self.phase = match &done.result {
                    Ok(_) => Phase::CheckZero(Reads::new(vec![range_of(&self.layout.claim(slot))])),
                    Err(error) => unknown("zeroing the claim", error),
                };
            }
            Phase::Drain(..) | Phase::Done(_) => {}
        }
    }

    fn target_reads(&self) -> Reads {
        let record = |copy| range_of(&self.layout.host_record(self.slot, copy));
        Reads::new(vec![
            range_of(&self.layout.claim(self.slot)),
            record(RecordCopy::A),
            record(RecordCopy::B),
        ])
    }

    fn target_in(&self, bytes: &[Vec<u8>]) -> Target {
        let record =
            |copy, bytes: &[u8]| HostRecord::decode(&self.layout.host_record(self.slot, copy), bytes);
        Target {
            claim: Claim::decode(&self.layout.claim(self.slot), &bytes[0]),
            copies: Copies { a: record(RecordCopy::A, &bytes[1]), b: record(RecordCopy::B, &bytes[2]) },
        }
    }

    /// What follows from a look at the slot.
    fn judge(&mut self, done: &ReadsDone) -> Result<Phase, FreeError> {
        let changed = |what| Err(FreeError::Changed(self.slot, what));
        match &self.phase {
            Phase::CheckZero(_) if done.bytes[0].iter().all(|byte| *byte == 0) => Ok(Phase::Done(Ok(()))),
            Phase::CheckZero(_) => changed("its claim is not zero after it was zeroed"),
            Phase::Confirm(plan, _) if self.target_in(&done.bytes) == plan.target => {
                Ok(Phase::Write(Box::new(self.after_writes((**plan).clone())), 0))
            }
            Phase::FirstLook(plan, _) if self.target_in(&done.bytes) == plan.target => {
                Ok(Phase::Drain(plan.clone(), done.ended.plus(plan.drain)))
            }
            Phase::SecondLook(plan, _) if self.target_in(&done.bytes) == plan.target => Ok(Phase::ZeroClaim),
            _ => changed("its claim or record is not what it was, or what was written"),
        }
    }

    /// The conditions on claim and record.
    fn plan(&self, slots: &Slots) -> Result<Phase, FreeError> {
        let (Some(claim), Some(copies)) =
            (slots.claims.get(self.slot.index()), slots.records.get(self.slot.index()))
        else {
            return Err(FreeError::NoClaim(self.slot));
        };
        let target = Target { claim: claim.clone(), copies: copies.clone() };
        let freed = planted!(FreedTwice) && copies.valid().any(|record| record.state == HostState::Free);
        let claim = self.named_claim(claim, freed)?;
        let mut plan = Plan { target, free: None, writes: Vec::new(), drain: self.freer.write_drain };
        // Zero or `free` is a burned claim: on the operator's word alone, about the machine that the claim names, the only
        // one that can still write there. The record proves nothing: a claimant may stand before its first record.
        if !is_vacant(copies) {
            let newest = self.whole_record(&claim, copies)?;
            self.check_gone(newest)?;
            plan.drain = copies
                .valid()
                .map(|record| record.effective_terms().write_drain)
                .fold(plan.drain, Duration::max);
            plan.free = Some(self.free_record(newest, copies));
        }
        let vacant = slots.records.iter().map(is_vacant).collect();
        let scan = FreeScan::new(self.layout, self.slot, plan.free.is_some(), vacant);
        Ok(Phase::Pages(Box::new(plan), Box::new(scan)))
    }

    fn named_claim(&self, claim: &Result<Claim, DecodeError>, freed: bool) -> Result<Claim, FreeError> {
        let claim = match claim {
            Ok(claim) => claim.clone(),
            Err(DecodeError::Empty) => return Err(FreeError::NoClaim(self.slot)),
            Err(error) => return Err(FreeError::ClaimUnreadable(self.slot, error.to_string())),
        };
        if (claim.name.as_str() != self.machine || self.machine.is_empty()) && !freed {
            let (claimed, given) = (claim.name.as_str().to_owned(), self.machine.clone());
            return Err(FreeError::Name { slot: self.slot, claimed, given });
        }
        Ok(claim)
    }

    /// Both copies readable, and of the machine that the claim names. A second copy that was never written is one that the
    /// machine died before writing.
    fn whole_record<'a>(
        &self,
        claim: &Claim,
        copies: &'a Copies<HostRecord>,
    ) -> Result<&'a HostRecord, FreeError> {
        let damaged = |copy: &Result<HostRecord, DecodeError>| matches!(copy, Err(error) if *error != DecodeError::Empty);
        let refuse = |why: &str| Err(FreeError::Keys(self.slot, why.to_owned()));
        let Some((_, newest)) = copies.newest() else {
            return refuse("its record is unreadable");
        };
        if damaged(&copies.a) || damaged(&copies.b) {
            return refuse("a copy of its record is unreadable, so its last generation is not known");
        }
        if newest.host_key != claim.host_key || newest.state == HostState::Free {
            return refuse("its claim and its record name different machines");
        }
        Ok(newest)
    }

    /// Released, superseded by a new boot, or confirmed. A host that expired or fenced itself comes back.
    fn check_gone(&self, newest: &HostRecord) -> Result<(), FreeError> {
        let accepted = [Evidence::Released, Evidence::Superseded, Evidence::Confirmed];
        let gone =
            |(who, why): &(Incarnation, Evidence)| *who == newest.incarnation && accepted.contains(why);
        if newest.state == HostState::Released || self.freer.evidence.iter().any(gone) {
            return Ok(());
        }
        let name = newest.host_name.as_str().to_owned();
        Err(FreeError::NotGone { slot: self.slot, incarnation: newest.incarnation, name })
    }

    /// Generation kept: a claimant goes above it, and no generation is ever used twice (R10).
    fn free_record(&self, newest: &HostRecord, copies: &Copies<HostRecord>) -> HostRecord {
        let freed = copies.valid().map(|record| record.freed_generation).max().unwrap_or_default();
        HostRecord {
            boot_id: self.freer.boot_id,
            sequence: next_even(super::rejoin::highest_sequence(copies)),
            host_key: HostKey::ZERO,
            process_nonce: self.freer.process_nonce,
            freed_generation: newest.incarnation.generation.max(freed),
            state: HostState::Free,
            fence_requests: [None; FENCE_REQUESTS],
            convictions: [None; CONVICTIONS],
            ..newest.clone()
        }
    }

    /// Unreadable lease pages are written empty first: a claimant must find the floor of its generation in readable sectors.
    fn with_writes(&self, mut plan: Plan, unreadable: &[u8], highest: Generation) -> Plan {
        let kept = plan.free.as_ref().map_or(Generation(0), |record| record.incarnation.generation);
        let floor = if planted!(FreeResetsGeneration) { Generation(0) } else { kept.max(highest) };
        let incarnation = Incarnation { slot: self.slot, generation: floor };
        let empty = LeasePage::new(incarnation, self.freer.boot_id, Sequence(1));
        for page in unreadable {
            for place in RecordCopy::BOTH.map(|copy| self.layout.lease_page(*page, self.slot, copy)) {
                plan.writes.push((write_of(&place, empty.encode(&place)), "an empty lease page"));
            }
        }
        if let Some(record) = &mut plan.free {
            record.incarnation = incarnation;
            record.freed_generation = record.freed_generation.max(incarnation.generation);
            for (place, record) in self.free_copies(record) {
                plan.writes.push((write_of(&place, record.encode(&place)), "the free record"));
            }
        }
        plan
    }

    fn free_copies(&self, record: &HostRecord) -> [(crate::format::Place, HostRecord); 2] {
        let second = HostRecord { sequence: record.sequence.next(), ..record.clone() };
        let place = |copy| self.layout.host_record(self.slot, copy);
        [(place(RecordCopy::A), record.clone()), (place(RecordCopy::B), second)]
    }

    /// What must lie there once all is written.
    fn after_writes(&self, plan: Plan) -> Plan {
        let Some(record) = &plan.free else { return plan };
        let [(_, a), (_, b)] = self.free_copies(record);
        let target = Target { copies: Copies { a: Ok(a), b: Ok(b) }, ..plan.target.clone() };
        Plan { target, ..plan }
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for SlotFree {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        match &mut self.phase {
            Phase::Look(survey) => survey.each_mark(f),
            Phase::Pages(_, scan) => scan.each_mark(f),
            Phase::Confirm(_, reads)
            | Phase::FirstLook(_, reads)
            | Phase::SecondLook(_, reads)
            | Phase::CheckZero(reads) => reads.each_mark(f),
            Phase::Drain(_, until) => until.each_mark(f),
            Phase::Write(..) | Phase::ZeroClaim | Phase::Done(_) => {}
        }
    }
}
