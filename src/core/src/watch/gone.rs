//! What was latched of a slot's incarnations: once gone, gone for ever (R10). It only remembers; the slot's watch
//! decides what goes in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::evidence::Evidence;
use crate::ids::Generation;
use crate::time::{Instant, Now, ObserverDeadline};

/// The evidence of one slot.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Gone {
    pub(super) latched: BTreeMap<Generation, (Evidence, Now)>,
    /// All generations below were superseded, since when at the latest.
    pub(super) superseded: Option<(Generation, Now)>,
    /// Bounds that were shown, not yet for `write_drain`.
    pub(super) shown: Vec<Shown>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Shown {
    pub(super) below: Generation,
    pub(super) ripe: ObserverDeadline,
}

impl Gone {
    /// Latches evidence of one generation. False when there was evidence before, which stays.
    pub(super) fn latch(&mut self, generation: Generation, evidence: Evidence, since: Now) -> bool {
        let fresh = self.evidence(generation).is_none();
        if fresh {
            self.latched.insert(generation, (evidence, since));
        }
        fresh
    }

    /// A read that ended at `ended` shows that all generations below `below` are over. It counts only when a read that
    /// started `drain` later shows it again: a write of the old incarnation may still land until then.
    pub(super) fn show_superseded(&mut self, below: Generation, drain: Duration, ended: Instant) {
        let known = self.superseded.is_some_and(|(bound, _)| bound >= below);
        if !known && !self.shown.iter().any(|shown| shown.below >= below) {
            self.shown.push(Shown { below, ripe: ObserverDeadline(ended.plus(drain)) });
        }
    }

    /// A read shows that all generations below `below` are over; takes over the bounds that are ripe. Gives the new
    /// bound when there is one.
    pub(super) fn settle(&mut self, below: Generation, started: Instant, ended: Now) -> Option<Generation> {
        let ripe = |shown: &&Shown| shown.below <= below && shown.ripe.reached(started);
        let bound = self.shown.iter().filter(ripe).map(|shown| shown.below).max()?;
        self.shown.retain(|shown| shown.below > bound);
        self.superseded = Some((bound, ended));
        Some(bound)
    }

    /// Forgets bounds that were shown but are not ripe: two machines claim the slot.
    pub(super) fn drop_shown(&mut self) {
        self.shown.clear();
    }

    /// Why a generation is gone, and since when this observer could say so.
    pub(super) fn evidence(&self, generation: Generation) -> Option<(Evidence, Now)> {
        let superseded = || self.superseded.filter(|(bound, _)| generation < *bound);
        self.latched
            .get(&generation)
            .copied()
            .or_else(|| superseded().map(|(_, since)| (Evidence::Superseded, since)))
    }

    /// True when a generation was superseded or released: nothing of it can be needed again.
    pub(super) fn is_past(&self, generation: Generation) -> bool {
        let released =
            self.latched.get(&generation).is_some_and(|(evidence, _)| *evidence == Evidence::Released);
        released || self.superseded.is_some_and(|(bound, _)| generation < bound)
    }

    /// True when this very generation has evidence of its own, beside being superseded.
    pub(super) fn is_latched(&self, generation: Generation) -> bool {
        self.latched.contains_key(&generation)
    }

    /// When a read must start to make the next bound count.
    pub(super) fn next_ripe(&self) -> Option<ObserverDeadline> {
        self.shown.first().map(|shown| shown.ripe)
    }
}
