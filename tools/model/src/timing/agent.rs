//! The victim's agent: a [`Holder`] and the little around it that decides what the next record says, as the member does.
//! Renewals may be issued at any time, which includes every interval.

use std::time::Duration;

use leasefence_core::fencing::{AgentHalf, FencerHalf};
use leasefence_core::marks::{Mark, Marks};
use leasefence_core::renewal::{Holder, TermsInUse};
use leasefence_core::storage::{IoDone, IoError, IoId};
use leasefence_core::time::{HolderDeadline, Instant, ObserverDeadline};

use super::disk::{BOOT, Disk, KEY, Rec, Says, VICTIM, decoded};
use super::rules::Rules;
use super::wrong;
use crate::relative::now;

/// A write that is outstanding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Write {
    pub(crate) rec: Rec,
    issued: Instant,
    pub(crate) landed: bool,
}

/// Where the agent stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Phase {
    /// The fencer's echo of the arming is waited for.
    Arming,
    /// The lease is held.
    Held,
    /// The incarnation is over.
    Ending,
}

/// The process.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Agent {
    holder: Holder,
    pub(crate) phase: Phase,
    pub(crate) out: Option<Write>,
    /// When the read-back that is outstanding was issued.
    pub(crate) reading: Option<Instant>,
    /// Stopped, as by a debugger: it takes up nothing until it goes on.
    pub(crate) paused: bool,
    /// Once a `held` was acknowledged.
    pub(crate) has_written_held: bool,
}

impl Agent {
    /// One that has just joined with this sequence as its last, and arms.
    pub(crate) fn joining(rules: &Rules, joined: Rec) -> Self {
        let terms = TermsInUse::new(rules.promise(rules.ttl));
        let mut holder = Holder::new(KEY, BOOT, VICTIM, joined.sequence, terms);
        holder.arm(HolderDeadline(now().instant.plus(rules.ticks(rules.ttl))));
        Self {
            holder,
            phase: Phase::Arming,
            out: None,
            reading: None,
            paused: false,
            has_written_held: false,
        }
    }

    /// One that is started again, with the configuration whose ttl is `ttl`: it goes on with what the page says, and keeps
    /// what may be on storage.
    pub(crate) fn restarted(rules: &Rules, ttl: u8, page: &AgentHalf, disk: &Disk) -> Self {
        let read = disk.valid().map(|rec| rec.sequence).max().unwrap_or_default();
        let issued = if wrong!(SequenceTwice) { read } else { read.max(page.issued) };
        let mut promises: Vec<_> = disk.valid().map(|rec| rules.promise(rec.ttl)).collect();
        promises.push(rules.promise(rules.ttl_of(&page.terms)));
        let terms = TermsInUse::resume(rules.promise(ttl), &promises);
        let mut holder = Holder::new(KEY, BOOT, VICTIM, issued, terms);
        holder.resume(page.lease_end);
        Self { holder, phase: Phase::Held, out: None, reading: None, paused: false, has_written_held: true }
    }

    /// True while the lease is held and has not ended.
    pub(crate) fn is_valid(&self) -> bool {
        self.holder.is_valid(now().instant)
    }

    /// What the member does after every input: ends what is over, and moves a change of terms on. `unknown` says whether
    /// a write of the own record may still land.
    pub(crate) fn turn(&mut self, fencer: &FencerHalf, unknown: bool) {
        if self.phase == Phase::Arming && fencer.armed && fencer.latched.is_none() {
            self.phase = Phase::Held;
        }
        let over = fencer.latched.is_some() || !self.is_valid();
        if self.phase == Phase::Held && over {
            self.end();
        }
        if self.phase == Phase::Held {
            if !unknown {
                self.holder.terms_mut().settled();
            }
            self.holder.keep_sooner_terms(now().instant);
            self.holder.terms_mut().advance(&fencer.terms, unknown);
        }
    }

    /// The incarnation is over, whatever its lease says.
    pub(crate) fn end(&mut self) {
        self.holder.end_now(now().instant);
        self.phase = Phase::Ending;
    }

    /// What the page must carry.
    pub(crate) fn publish(&self, page: &mut AgentHalf) {
        page.issued = self.holder.issued();
        page.terms = self.holder.in_use().terms;
        if let Some(end) = self.holder.lease_end() {
            page.lease_end = end;
        }
    }

    /// What the next record says; none while none may be written.
    fn says(&self, rules: &Rules, fencer: &FencerHalf) -> Option<Says> {
        match self.phase {
            Phase::Arming if wrong!(ArmedAfterHeld) => Some(Says::Held),
            Phase::Arming => Some(Says::Joining),
            Phase::Held if self.is_unguarded(fencer) => None,
            Phase::Held => Some(Says::Held),
            Phase::Ending if !rules.tells_its_end => None,
            Phase::Ending if fencer.latched.is_none() && !wrong!(FencingBeforeLatch) => None,
            Phase::Ending if is_proven(rules, fencer) => Some(Says::Fenced),
            Phase::Ending => Some(Says::Fencing),
        }
    }

    /// True while the fencer does not beat: nobody would kill at the lease's end.
    pub(crate) fn is_unguarded(&self, fencer: &FencerHalf) -> bool {
        let patience = self.holder.in_use().terms.longest_gap();
        now().instant.since_by_faster(fencer.beat) > patience && !wrong!(RenewsWithoutFencer)
    }

    /// The record that would be issued now.
    pub(crate) fn next_record(&self, rules: &Rules, fencer: &FencerHalf) -> Option<Rec> {
        let idle = self.out.is_none() && self.reading.is_none() && !self.paused;
        let state = self.says(rules, fencer).filter(|_| idle)?;
        let ttl = rules.ttl_of(&self.holder.terms().carried().terms);
        let echo = if fencer.armed { rules.ttl_of(&fencer.terms) } else { ttl };
        Some(Rec { sequence: self.holder.issued().next(), state, ttl, echo })
    }

    /// Issues it.
    pub(crate) fn issue(&mut self, rec: Rec) {
        self.holder.issue();
        self.out = Some(Write { rec, issued: now().instant, landed: false });
    }

    /// The write's call returned: acknowledged, or with an error. The read-back begins.
    pub(crate) fn written(&mut self, acknowledged: bool) {
        let Some(write) = self.out.take() else { return };
        let result = if acknowledged { Ok(Vec::new()) } else { Err(IoError::Failed(String::new())) };
        let issued = at(write.issued);
        self.holder.written(&IoDone { id: IoId(0), issued, ended: now(), result });
        self.has_written_held |= acknowledged && write.rec.state == Says::Held;
        self.reading = acknowledged.then(|| now().instant);
    }

    /// The read-back ends.
    pub(crate) fn read_back(&mut self, disk: &Disk, rules: &Rules) {
        let Some(started) = self.reading.take() else { return };
        let back = self.holder.read_back(&decoded(&disk.0, rules), started, now().instant, &now());
        if back.foreign.is_some() {
            self.end();
        }
    }

    /// When its guests are dead at the latest where it kills them itself: the second line of a host without a watchdog.
    pub(crate) fn kills_by(&self, budget: Duration) -> Option<Instant> {
        self.holder.lease_end().map(|end| end.0.plus(budget))
    }
}

/// CLEAN, and after a quiescence by force so much later that no write may still leave the server.
fn is_proven(rules: &Rules, fencer: &FencerHalf) -> bool {
    let drained = |at: Instant| ObserverDeadline(at.plus(rules.ticks(rules.drain))).reached(now().instant);
    fencer.clean.is_some_and(|clean| !clean.forced || wrong!(ReceiptAfterForce) || drained(clean.at))
}

fn at(instant: Instant) -> leasefence_core::time::Now {
    leasefence_core::time::Now { instant, ..now() }
}

impl Marks for Write {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.rec.each_mark(f);
        self.issued.each_mark(f);
    }
}

impl Marks for Agent {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.holder.each_mark(f);
        self.out.each_mark(f);
        self.reading.each_mark(f);
    }
}
