//! The watch of one slot: its stall clock, what was latched of its incarnations, and what can be said now.
//!
//! It measures with this host's clock alone (R2), from after the read that first showed a record (R3), by the slower
//! clock (R4). A stall clock lives in this process, starts at a read of this process, and is never stored, back-dated
//! or taken over.

use std::time::Duration;

use super::gone::Gone;
use super::identity::Identity;
use super::live_path::LivePath;
use super::reading::Reading;
use super::reckoning::{ClusterRules, Reckoning};
use crate::evidence::Evidence;
use crate::format::{HostRecord, HostState};
use crate::ids::{Generation, Incarnation, Slot};
use crate::planted::planted;
use crate::time::{Instant, Now, ObserverDeadline};

/// Evidence that was latched by the scan at hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latched {
    /// Whose end it proves.
    pub incarnation: Incarnation,
    /// Why.
    pub evidence: Evidence,
    /// Since when it could be said.
    pub since: Now,
    /// The host's name.
    pub name: String,
    /// Where time proved it: since when its record had not changed, and for how long it had to be so.
    pub stalled_since: Option<(Instant, Duration)>,
}

/// One slot, watched.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SlotWatch {
    pub(super) slot: Slot,
    pub(super) reading: Option<Reading>,
    pub(super) reckoning: Option<Reckoning>,
    pub(super) identity: Identity,
    pub(super) gone: Gone,
    /// After the read that first showed the copies as they are.
    pub(super) stall_start: Instant,
    /// The generation seen `fencing`, and the end of the read that first showed it.
    pub(super) fencing: Option<(Generation, Instant)>,
    /// After the last read that showed a change of either copy.
    pub(super) last_change: Option<Instant>,
    /// After the first read.
    pub(super) first_read: Instant,
    pub(super) changes: u64,
    /// Whether the newest record went forward in the last scan, and in the one before.
    pub(super) advanced: [bool; 2],
    /// Why a verdict that is due was not given.
    pub(super) withheld: Option<&'static str>,
    pub(super) name: String,
    /// The highest generation of the first reading: the ends of lives before it are no news.
    pub(super) first: Option<Generation>,
}

impl SlotWatch {
    pub(super) fn new(slot: Slot) -> Self {
        Self {
            slot,
            reading: None,
            reckoning: None,
            identity: Identity::default(),
            gone: Gone::default(),
            stall_start: Instant::default(),
            fencing: None,
            last_change: None,
            first_read: Instant::default(),
            changes: 0,
            advanced: [false; 2],
            withheld: None,
            name: String::new(),
            first: None,
        }
    }

    /// Takes a reading: restarts the stall clock if either copy changed, if the gap between the starts of this good
    /// read and the last was too long, or if there was no reading before.
    pub(super) fn take(&mut self, reading: Reading) {
        let ended = reading.ended.instant;
        let (changed, advanced, gap) = match &self.reading {
            None => (true, false, false),
            Some(seen) => (
                reading.changed_since(seen),
                reading.advanced_since(seen),
                self.gap_was_too_long(seen, &reading),
            ),
        };
        if self.reading.is_none() {
            self.first_read = ended;
        } else if changed {
            self.last_change = Some(ended);
            self.changes += 1;
        }
        if (changed || gap) && !self.keeps_stall_by_a_planted_bug(&reading) {
            self.stall_start = if planted!(ObserverFromBeforeRead) { reading.started } else { ended };
        }
        self.advanced = [advanced, self.advanced[0]];
        // What was read before says nothing new.
        if !self.reading.as_ref().is_some_and(|seen| reading.shows_the_same(seen)) {
            self.identity.observe(reading.copies().valid());
            self.first = self.first.or(self.identity.highest());
            if let Some(record) = reading.newest().filter(|record| record.state != HostState::Free) {
                record.host_name.as_str().clone_into(&mut self.name);
            }
        }
        self.reading = Some(reading);
    }

    /// What restarts a stall clock, and with one of two planted bugs does not.
    fn keeps_stall_by_a_planted_bug(&self, reading: &Reading) -> bool {
        let is_taken_over = || self.reading.is_none() && self.stall_start != Instant::default();
        let shows_fencing = || reading.newest().is_some_and(|record| record.state == HostState::Fencing);
        (planted!(StallKeptOverRestart) && is_taken_over())
            || (planted!(StallGoesOnAfterFencing) && shows_fencing())
    }

    /// A good scan left this slot out: its record was not seen to go forward in it.
    pub(super) fn miss(&mut self) {
        self.advanced = [false, self.advanced[0]];
    }

    /// A missed scan must not hide a stall of this observer: a quarter of the victim's ttl, by the faster clock.
    fn gap_was_too_long(&self, seen: &Reading, reading: &Reading) -> bool {
        let gap = reading.started.since_by_faster(seen.started);
        self.reckoning.is_none_or(|reckoning| gap > reckoning.longest_gap())
    }

    /// True when the newest record went forward within the last two scans.
    pub(super) fn advanced_lately(&self) -> bool {
        self.advanced[0] || self.advanced[1]
    }

    /// Judges the reading taken last. Gives what it latched.
    pub(super) fn judge(
        &mut self,
        rules: &ClusterRules,
        survival_max: Duration,
        live: LivePath,
        another_advanced: bool,
    ) -> Vec<Latched> {
        self.withheld = None;
        let Some(reading) = self.reading.clone() else { return Vec::new() };
        let mut latched = Vec::new();
        self.judge_superseded(&reading, rules, &mut latched);
        let Some(record) = self.standing(&reading) else { return latched };
        self.reckoning = Some(Reckoning::of(record, rules, survival_max));
        let fencing_seen =
            self.fencing.is_some_and(|(generation, _)| generation == record.incarnation.generation);
        match record.state {
            HostState::Fenced => {
                self.latch(record.incarnation.generation, Evidence::Fenced, &reading, None, &mut latched);
            }
            HostState::Released => {
                self.latch(record.incarnation.generation, Evidence::Released, &reading, None, &mut latched);
            }
            // Planted: it counts like any other change of the record, or like none.
            HostState::Fencing if planted!(FencingNeedsNoCap) || planted!(StallGoesOnAfterFencing) => self
                .judge_stall(record.incarnation.generation, &reading, live, another_advanced, &mut latched),
            _ if fencing_seen => {
                self.judge_cap(record.incarnation.generation, &reading, live, another_advanced, &mut latched);
            }
            // The read that first shows it ends the stall clock: from here only the cap counts.
            HostState::Fencing => self.fencing = Some((record.incarnation.generation, reading.ended.instant)),
            HostState::Held => self.judge_stall(
                record.incarnation.generation,
                &reading,
                live,
                another_advanced,
                &mut latched,
            ),
            HostState::Joining | HostState::Disarmed | HostState::Free => {
                self.stall_start = reading.ended.instant;
            }
        }
        latched
    }

    /// The record on which a verdict may rest: valid, of the highest generation seen, without conflict, and with no
    /// copy of a version that this program does not know. Two bad copies, or only an older generation: never a verdict.
    fn standing<'a>(&self, reading: &'a Reading) -> Option<&'a HostRecord> {
        let record = reading.newest()?;
        let sound = record.state != HostState::Free
            && Some(record.incarnation.generation) == self.identity.highest()
            && self.identity.conflict().is_none_or(|generation| generation < record.incarnation.generation)
            && reading.unknown_version().is_none();
        sound.then_some(record)
    }

    fn judge_superseded(&mut self, reading: &Reading, rules: &ClusterRules, latched: &mut Vec<Latched>) {
        let promised = self.reckoning.map_or(Duration::ZERO, |reckoning| reckoning.terms().write_drain);
        let shown = reading.newest().map_or(Duration::ZERO, |record| record.terms.write_drain);
        let drain = promised.max(shown).max(rules.minimum_write_drain);
        let below = self.superseding_bound(reading);
        self.gone.show_superseded(below, drain, reading.ended.instant);
        if let Some(bound) = self.gone.settle(below, reading.started, reading.ended)
            && let Some(generation) = bound.0.checked_sub(1).map(Generation)
            && self.first.is_some_and(|first| generation >= first)
            && !self.gone.is_latched(generation)
        {
            latched.push(self.latched(generation, Evidence::Superseded, reading, None));
        }
    }

    /// All generations below this one are shown to be over: by a higher generation of the same machine, or freed.
    fn superseding_bound(&mut self, reading: &Reading) -> Generation {
        let by_freed = match self.identity.freed() {
            Generation(0) => Generation(0),
            Generation(freed) => Generation(freed.saturating_add(1)),
        };
        if self.identity.conflict().is_some() {
            self.gone.drop_shown();
            return by_freed;
        }
        let newest = reading.newest().filter(|record| record.state != HostState::Free);
        by_freed.max(newest.map_or(Generation(0), |record| record.incarnation.generation))
    }

    fn judge_stall(
        &mut self,
        generation: Generation,
        reading: &Reading,
        live: LivePath,
        another_advanced: bool,
        latched: &mut Vec<Latched>,
    ) {
        let Some(reckoning) = self.reckoning else { return };
        let start = self.stall_start;
        // The read must have *started* so late: one that began before may have been served before.
        let (read_at, live_from) = if planted!(VerdictReadEarly) {
            (reading.ended.instant, start)
        } else {
            (reading.started, start.plus(reckoning.live_path_after()))
        };
        if !ObserverDeadline(start.plus(reckoning.verdict_after())).reached(read_at) {
            return;
        }
        self.withheld = reckoning.no_expiry.or_else(|| live.why_not(live_from, another_advanced));
        if self.withheld.is_none() {
            let stall = Some((start, reckoning.verdict_after()));
            self.latch(generation, Evidence::Expired, reading, stall, latched);
        }
    }

    fn judge_cap(
        &mut self,
        generation: Generation,
        reading: &Reading,
        live: LivePath,
        another_advanced: bool,
        latched: &mut Vec<Latched>,
    ) {
        let (Some(reckoning), Some((_, start))) = (self.reckoning, self.fencing) else { return };
        if !ObserverDeadline(start.plus(reckoning.cap_after_fencing())).reached(reading.started) {
            return;
        }
        let killed = start.plus(reckoning.killed_after_fencing());
        self.withheld = reckoning.no_expiry.or_else(|| live.why_not(killed, another_advanced));
        if self.withheld.is_none() {
            let cap = Some((start, reckoning.cap_after_fencing()));
            self.latch(generation, Evidence::Expired, reading, cap, latched);
        }
    }

    fn latch(
        &mut self,
        generation: Generation,
        evidence: Evidence,
        reading: &Reading,
        stall: Option<(Instant, Duration)>,
        latched: &mut Vec<Latched>,
    ) {
        if self.gone.latch(generation, evidence, reading.ended) {
            latched.push(self.latched(generation, evidence, reading, stall));
        }
    }

    /// Latches an operator's word, read as a conviction or acknowledged as the own.
    pub(super) fn confirm(&mut self, generation: Generation, since: Now) -> Option<Latched> {
        let fresh = self.gone.latch(generation, Evidence::Confirmed, since);
        let incarnation = Incarnation { slot: self.slot, generation };
        let name = self.name.clone();
        let evidence = Evidence::Confirmed;
        fresh.then_some(Latched { incarnation, evidence, since, name, stalled_since: None })
    }

    fn latched(
        &self,
        generation: Generation,
        evidence: Evidence,
        reading: &Reading,
        stalled_since: Option<(Instant, Duration)>,
    ) -> Latched {
        let incarnation = Incarnation { slot: self.slot, generation };
        Latched { incarnation, evidence, since: reading.ended, name: self.name.clone(), stalled_since }
    }

    /// When the next read must start at the earliest for something to be proven by time; none when nothing can be, or
    /// when a read that started so late has been judged.
    pub(super) fn next_deadline(&self) -> Option<ObserverDeadline> {
        let reading = self.reading.as_ref()?;
        let by_time = self.time_deadline(reading);
        let both = [by_time, self.gone.next_ripe()];
        both.into_iter().flatten().filter(|due| !due.reached(reading.started)).min_by_key(|due| due.0.boot_ns)
    }

    pub(super) fn time_deadline(&self, reading: &Reading) -> Option<ObserverDeadline> {
        let reckoning = self.reckoning.filter(|reckoning| reckoning.no_expiry.is_none())?;
        let record = self
            .standing(reading)
            .filter(|record| self.gone.evidence(record.incarnation.generation).is_none())?;
        match self.fencing {
            Some((generation, start)) if generation == record.incarnation.generation => {
                Some(ObserverDeadline(start.plus(reckoning.cap_after_fencing())))
            }
            _ if record.state == HostState::Held => {
                Some(ObserverDeadline(self.stall_start.plus(reckoning.verdict_after())))
            }
            _ => None,
        }
    }
}
