//! Joining: from "the lease file is open" to a joining record that is acknowledged and read back.
//!
//! A look at all slots says which way: keep the generation of an agent that was restarted, rejoin the own slot, or claim
//! one. It ends before anything is armed, and before the first `held`.

use std::time::Duration;

use super::claim::Claiming;
use super::error::JoinError;
use super::gate::{Evidence, FencerSight, PreviousLife, UNKNOWN_WRITES};
use super::own_pages::{PagesRead, PagesWrite};
use super::rejoin::Rejoin;
use super::survey::{Slots, Survey, write_of};
use crate::fencing::AgentHalf;
use crate::format::{Copies, DecodeError, HostRecord, HostState, Layout, LeasePage, RecordCopy};
use crate::ids::{Generation, HostKey, Incarnation, Sequence, Slot};
use crate::planted::planted;
use crate::storage::{IoDone, Step};
use crate::time::{Instant, Now, ObserverDeadline};

/// Between two looks while the life before is not over.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The machine that joins.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Joiner {
    /// What its record says, all but incarnation, sequence, state, freed generation and issue time, which are filled in.
    pub record: HostRecord,
    /// The agent's half of the page from before this process, if there is one.
    pub page: Option<AgentHalf>,
    /// Time since this boot, as of `uptime_from`.
    pub uptime: Duration,
    /// When `uptime` was taken.
    pub uptime_from: Instant,
    /// True when the firmware's uuid was compared with the identity: else a clone is watched for longer.
    pub has_machine_uuid: bool,
}

/// A slot with a joining record: acknowledged in both copies and read back.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Joined {
    /// The record as written last: incarnation, sequence (the highest issued), freed generation.
    pub record: HostRecord,
    /// The own sectors of all lease pages as written, by page: both copies acknowledged.
    pub pages: Vec<LeasePage>,
}

/// How joining ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum JoinOutcome {
    /// A new generation: arm, then write `held` (PROTOCOL 6).
    Joined(Box<Joined>),
    /// The agent was restarted within its lease: same generation, the next sequence is the page's issued + 1, and what was
    /// outstanding is unknown. The record is the newest copy as read.
    Resumed {
        /// The newest copy.
        record: Box<HostRecord>,
        /// The highest sequence issued before.
        issued: Sequence,
    },
    /// It must not join.
    Refused(JoinError),
}

/// The procedure.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Join {
    layout: Layout,
    joiner: Joiner,
    fencer: FencerSight,
    phase: Phase,
    waiting_for: Option<&'static str>,
    /// The highest sequence under which the record of the life before was written again.
    rewritten: Sequence,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Survey(Box<Survey>),
    /// The life before is not over: look again then.
    Wait(Instant),
    /// It is over, and a write of its process unknown: its record again, under a later sequence.
    Rewrite(Box<HostRecord>),
    Claim(Box<Claiming>),
    Rejoin(Box<Rejoin>),
    /// The life goes on, and may have been cut off in its claim, between the record and the own lease pages.
    LookAtPages(Box<Resumed>, PagesRead),
    WritePages(Box<Resumed>, PagesWrite),
    Done(JoinOutcome),
}

/// The life that goes on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Resumed {
    record: HostRecord,
    issued: Sequence,
}

impl Resumed {
    fn outcome(&self) -> JoinOutcome {
        JoinOutcome::Resumed { record: Box::new(self.record.clone()), issued: self.issued }
    }
}

impl Join {
    /// A join that has not begun.
    #[must_use]
    pub fn new(layout: Layout, joiner: Joiner) -> Self {
        let phase = Phase::Survey(Box::new(Survey::new(layout)));
        let (fencer, rewritten) = (FencerSight::default(), Sequence(0));
        Self { layout, joiner, fencer, phase, waiting_for: None, rewritten }
    }

    /// Tells what is known of the fencer and of unknown writes: a rejoin in the same boot waits for both.
    pub fn set_fencer(&mut self, fencer: FencerSight) {
        self.fencer = fencer;
    }

    /// The host record whose write the last [`poll`](Self::poll) asked for. The page must carry its incarnation and, as
    /// `issued`, its sequence before the write is handed to the storage thread (R11).
    #[must_use]
    pub fn issuing(&self) -> Option<&HostRecord> {
        match &self.phase {
            Phase::Claim(claim) => claim.issuing(),
            Phase::Rejoin(rejoin) => rejoin.issuing(),
            Phase::Survey(_)
            | Phase::Wait(_)
            | Phase::Rewrite(_)
            | Phase::LookAtPages(..)
            | Phase::WritePages(..)
            | Phase::Done(_) => None,
        }
    }

    /// The sequence of the record of the life before whose repeated write the last [`poll`](Self::poll) asked for. The page
    /// must carry it as `issued` before; of the incarnation it goes on to say what it says.
    #[must_use]
    pub fn rewriting(&self) -> Option<Sequence> {
        match &self.phase {
            Phase::Rewrite(record) => Some(record.sequence),
            _ => None,
        }
    }

    /// True while the life before in the own slot is not over: nothing was written yet.
    #[must_use]
    pub fn waits_for_the_life_before(&self) -> bool {
        matches!(self.phase, Phase::Wait(_))
    }

    /// What it is doing or waiting for, and the last failure of the storage, for `status`.
    #[must_use]
    pub fn progress(&self) -> String {
        let (step, trouble) = match &self.phase {
            Phase::Survey(survey) => {
                (self.waiting_for.unwrap_or("reading all claims and records"), survey.trouble())
            }
            Phase::Wait(_) | Phase::Rewrite(_) => (self.waiting_for.unwrap_or("waiting"), None),
            Phase::Claim(claim) => (claim.step(), claim.trouble()),
            Phase::Rejoin(rejoin) => (rejoin.step(), rejoin.trouble()),
            Phase::LookAtPages(_, read) => ("reading the own lease pages", read.trouble()),
            Phase::WritePages(_, write) => ("writing the own lease pages", write.trouble()),
            Phase::Done(_) => ("done", None),
        };
        trouble.map_or_else(|| step.to_owned(), |error| format!("{step}; the storage fails: {error}"))
    }

    /// The next step.
    pub fn poll(&mut self, now: &Now) -> Step<JoinOutcome> {
        loop {
            let next = match &mut self.phase {
                Phase::Survey(survey) => match survey.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => refused(JoinError::Storage(error)),
                    Step::Done(Ok(slots)) => self.decide(&slots, now.instant),
                },
                Phase::Wait(until) if !ObserverDeadline(*until).reached(now.instant) => {
                    return Step::Wait(*until);
                }
                Phase::Wait(_) => Phase::Survey(Box::new(Survey::new(self.layout))),
                Phase::Rewrite(record) => {
                    let copy = RecordCopy::of_sequence(record.sequence);
                    let place = self.layout.host_record(record.incarnation.slot, copy);
                    return Step::Io(write_of(&place, record.encode(&place)));
                }
                Phase::Claim(claim) => match claim.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(end) => ended(end),
                },
                Phase::Rejoin(rejoin) => match rejoin.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(end) => ended(end),
                },
                Phase::LookAtPages(life, read) => match read.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(Err(error)) => refused(JoinError::Storage(error)),
                    Step::Done(Ok(pages)) => {
                        let (me, boot_id) = (life.record.incarnation, life.record.boot_id);
                        match PagesWrite::rest_of_claim(self.layout, &pages, me, boot_id) {
                            Some(write) => Phase::WritePages(life.clone(), write),
                            None => Phase::Done(life.outcome()),
                        }
                    }
                },
                Phase::WritePages(life, write) => match write.poll(now) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(_) => Phase::Done(life.outcome()),
                },
                Phase::Done(outcome) => return Step::Done(outcome.clone()),
            };
            self.phase = next;
        }
    }

    /// The end of the operation that was asked for.
    pub fn handle_io(&mut self, done: &IoDone) {
        match &mut self.phase {
            Phase::Survey(survey) => survey.handle_io(done),
            Phase::Claim(claim) => claim.handle_io(done),
            Phase::Rejoin(rejoin) => rejoin.handle_io(done),
            Phase::LookAtPages(_, read) => read.handle_io(done),
            Phase::WritePages(_, write) => write.handle_io(done),
            // Acknowledged or not, all is looked at again: the unknown write may have landed.
            Phase::Rewrite(_) => self.phase = Phase::Wait(done.ended.instant.plus(LOOK_AGAIN)),
            Phase::Wait(_) | Phase::Done(_) => {}
        }
    }

    fn decide(&mut self, slots: &Slots, now: Instant) -> Phase {
        match own_slot(slots, self.joiner.record.host_key) {
            Err(error) => refused(error),
            Ok(None) => Phase::Claim(Box::new(Claiming::new(self.layout, self.joiner.clone(), slots))),
            Ok(Some((slot, copies, newest))) => self.decide_own(slot, copies, newest, now),
        }
    }

    fn decide_own(
        &mut self,
        slot: Slot,
        copies: &Copies<HostRecord>,
        newest: &HostRecord,
        now: Instant,
    ) -> Phase {
        let evidence = Evidence {
            file_id: self.layout.file_id(),
            boot_id: self.joiner.record.boot_id,
            page: self.joiner.page.as_ref(),
            fencer: &self.fencer,
            copies,
            newest,
            now,
        };
        let (layout, joiner, copies) = (self.layout, self.joiner.clone(), copies.clone());
        match evidence.judge() {
            PreviousLife::OtherBoot => {
                Phase::Rejoin(Box::new(Rejoin::new_boot(layout, slot, joiner, copies)))
            }
            PreviousLife::Over => Phase::Rejoin(Box::new(Rejoin::same_boot(layout, slot, joiner, copies))),
            PreviousLife::GoesOn => {
                let read = super::rejoin::highest_sequence(&copies);
                let issued =
                    if planted!(SequenceTwice) { read } else { self.joiner.highest_issued().max(read) };
                let life = Resumed { record: newest.clone(), issued };
                if newest.state == HostState::Joining {
                    Phase::LookAtPages(Box::new(life), PagesRead::new(layout, slot))
                } else {
                    Phase::Done(life.outcome())
                }
            }
            PreviousLife::Unsettled => {
                self.waiting_for = Some(UNKNOWN_WRITES);
                let highest = super::rejoin::highest_sequence(&copies).max(joiner.highest_issued());
                self.rewritten = self.rewritten.max(highest).next();
                let record = HostRecord { sequence: self.rewritten, issued_ns: now.raw_ns, ..newest.clone() };
                Phase::Rewrite(Box::new(record))
            }
            PreviousLife::Wait(why, until) => {
                self.waiting_for = Some(why);
                Phase::Wait(until.unwrap_or_else(|| now.plus(LOOK_AGAIN)))
            }
        }
    }
}

impl Joiner {
    /// The record of a new incarnation.
    pub(super) fn record_of(&self, incarnation: Incarnation, freed_generation: Generation) -> HostRecord {
        HostRecord { incarnation, freed_generation, ..self.record.clone() }
    }

    /// The highest sequence that an earlier process of this boot issued, as far as the page says.
    pub(super) fn highest_issued(&self) -> Sequence {
        let of_boot = self.page.as_ref().filter(|page| page.boot_id == self.record.boot_id);
        of_boot.map_or(Sequence(0), |page| page.issued)
    }
}

/// The slot whose record carries this key and is not `free`.
type OwnSlot<'a> = Option<(Slot, &'a Copies<HostRecord>, &'a HostRecord)>;

fn own_slot(slots: &Slots, key: HostKey) -> Result<OwnSlot<'_>, JoinError> {
    let mut own: OwnSlot<'_> = None;
    for (number, copies) in (0u16..).zip(&slots.records) {
        let slot = Slot(number);
        let Some(newest) = newest_of(slots, slot, copies, key)? else { continue };
        if newest.host_key != key || newest.state == HostState::Free {
            continue;
        }
        if let Some((first, ..)) = own {
            return Err(JoinError::TwoRecords { first, second: slot });
        }
        own = Some((slot, copies, newest));
    }
    Ok(own)
}

/// A copy that cannot be read may be the newer one, and another machine's: then the claim must say that the slot is mine.
fn newest_of<'a>(
    slots: &Slots,
    slot: Slot,
    copies: &'a Copies<HostRecord>,
    key: HostKey,
) -> Result<Option<&'a HostRecord>, JoinError> {
    let claim_is_mine = slots.claims[slot.index()].as_ref().is_ok_and(|claim| claim.host_key == key);
    let damaged = [&copies.a, &copies.b].into_iter().find_map(|copy| match copy {
        Err(DecodeError::Empty) | Ok(_) => None,
        Err(error) => Some(error.to_string()),
    });
    let newest = copies.newest().map(|(_, record)| record);
    match (damaged, newest) {
        (None, newest) => Ok(newest),
        (Some(why), None) if claim_is_mine => {
            Err(JoinError::Unreadable { slot, why: format!("no copy of its record is readable ({why})") })
        }
        (Some(_), None) => Ok(None),
        (Some(why), Some(record)) if record.host_key == key && !claim_is_mine => Err(JoinError::Unreadable {
            slot,
            why: format!("one copy of its record is unreadable ({why}) and its claim is not this machine's"),
        }),
        (Some(_), Some(record)) => Ok(Some(record)),
    }
}

fn refused(error: JoinError) -> Phase {
    Phase::Done(JoinOutcome::Refused(error))
}

fn ended(end: Result<Joined, JoinError>) -> Phase {
    match end {
        Ok(joined) => Phase::Done(JoinOutcome::Joined(Box::new(joined))),
        Err(error) => refused(error),
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Joiner {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.record.each_mark(f);
        self.page.each_mark(f);
        self.uptime_from.each_mark(f);
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for Join {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.joiner.each_mark(f);
        self.fencer.half.each_mark(f);
        self.rewritten.each_mark(f);
        match &mut self.phase {
            Phase::Survey(survey) => survey.each_mark(f),
            Phase::Wait(until) => until.each_mark(f),
            Phase::Rewrite(record) => record.each_mark(f),
            Phase::Claim(claim) => claim.each_mark(f),
            Phase::Rejoin(rejoin) => rejoin.each_mark(f),
            Phase::LookAtPages(life, read) => {
                life.record.each_mark(f);
                read.each_mark(f);
            }
            Phase::WritePages(life, write) => {
                life.record.each_mark(f);
                write.each_mark(f);
            }
            Phase::Done(_) => {}
        }
    }
}
