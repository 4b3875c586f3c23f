//! A change of terms under way (PROTOCOL 5): what the next record carries, and what the holder keeps meanwhile.
//!
//! A change that brings a verdict sooner is kept by page and fencer before any record carries it. One that brings it
//! later is issued only with no write unknown, and used only once both copies carry it. In between the holder keeps,
//! per term, what ends soonest of all that may be on storage.

use std::time::Duration;

use crate::format::RecordCopy;
use crate::ids::Sequence;
use crate::planted::planted;
use crate::terms::{Promise, Terms};

/// The promises that may be on storage, and the one that is wanted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TermsInUse {
    target: Promise,
    /// What both copies carried when no change was under way.
    base: Promise,
    /// What the next record carries.
    carried: Promise,
    /// What each copy carries, as acknowledged.
    copies: [Option<Promise>; 2],
    /// What the holder has begun to keep, before any record carries it: a sooner verdict.
    keeping: Option<Promise>,
    /// Records that were issued and are not known to have landed.
    pub(super) outstanding: Vec<(Sequence, Promise)>,
}

impl TermsInUse {
    /// No change: a new incarnation carries what it wants from its first record on.
    #[must_use]
    pub fn new(target: Promise) -> Self {
        Self {
            target,
            base: target,
            carried: target,
            copies: [None; 2],
            keeping: None,
            outstanding: Vec::new(),
        }
    }

    /// A restarted agent with a configuration that may differ: `on_storage` are the promises of the records that may be
    /// there. Until they are replaced they are kept.
    #[must_use]
    pub fn resume(target: Promise, on_storage: &[Promise]) -> Self {
        let mut state = Self::new(target);
        let on_storage = if planted!(OldTermsAfterRestart) { &[] } else { on_storage };
        if let Some((first, rest)) = on_storage.split_first() {
            let base = rest.iter().fold(*first, |sooner, promise| sooner.sooner_of(promise));
            (state.base, state.carried) = (base, base);
            state.copies = [Some(base); 2];
        }
        state
    }

    /// What the holder keeps: per term what ends soonest of all that may be on storage or is about to be.
    #[must_use]
    pub fn in_use(&self) -> Promise {
        if planted!(TtlRaisedAtIssue) {
            return self.keeping.iter().fold(self.carried, |sooner, promise| sooner.sooner_of(promise));
        }
        // Asked for at every turn, and most of the time no change is under way.
        let same = |promise: &Promise| *promise == self.carried;
        if self.keeping.is_none() && self.outstanding.is_empty() && self.copies.iter().flatten().all(same) {
            return self.carried;
        }
        let on_storage =
            self.copies.iter().flatten().chain(self.outstanding.iter().map(|(_, promise)| promise));
        on_storage.chain(&self.keeping).fold(self.carried, |sooner, promise| sooner.sooner_of(promise))
    }

    /// By how much the record that is about to be issued raises the ttl: what a planted bug adds to the lease at once.
    pub(super) fn raise(&self) -> Duration {
        let acknowledged = self.copies.iter().flatten().map(|promise| promise.terms.lease_ttl).max();
        acknowledged.map_or(Duration::ZERO, |ttl| self.carried.terms.lease_ttl.saturating_sub(ttl))
    }

    /// What is acknowledged to be on storage, whatever else may be there: what a planted bug counts the lease by.
    pub(super) fn acknowledged_last(&self) -> Promise {
        let acknowledged = self.copies.iter().flatten().copied();
        acknowledged.reduce(|sooner, promise| sooner.sooner_of(&promise)).unwrap_or(self.carried)
    }

    /// What the next record carries.
    #[must_use]
    pub fn carried(&self) -> Promise {
        self.carried
    }

    /// True while the wanted terms are not yet what both copies carry.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.carried != self.target || self.copies.iter().flatten().any(|promise| *promise != self.target)
    }

    /// True when there is nothing to advance: the wanted terms are carried, and no record of others may still land.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.keeping.is_none() && self.outstanding.is_empty() && self.carried == self.target
    }

    /// The promise that the holder would have to keep next, where the wanted one brings a verdict sooner: it may begin to
    /// once its lease is younger than that ttl.
    #[must_use]
    pub fn sooner(&self) -> Option<Promise> {
        let begun = self.keeping.is_some() || self.carried.change_to(&self.target).sooner.is_empty();
        (!begun).then(|| self.in_use().sooner_of(&self.target))
    }

    /// The holder keeps the sooner promise from now on; the fencer's echo of it is waited for.
    pub fn keep_sooner(&mut self) {
        self.keeping = self.sooner();
    }

    /// Takes the next step, if it may: `echo` is what the fencer keeps, `unknown` says whether any write of the own
    /// record may still land.
    pub fn advance(&mut self, echo: &Terms, unknown: bool) {
        let unknown = unknown && !planted!(TtlRaisedOverUnknown);
        if self.keeping.is_some() {
            if *echo == self.in_use().terms {
                self.carried = self.carried.sooner_of(&self.target);
                self.keeping = None;
            }
        } else if self.sooner().is_none() && self.carried != self.target && !unknown {
            self.carried = self.target;
        }
    }

    /// Notes a record before it is issued.
    pub fn issue(&mut self, sequence: Sequence) {
        self.outstanding.push((sequence, self.carried));
    }

    /// The record landed.
    pub fn acknowledged(&mut self, sequence: Sequence) {
        let at = self.outstanding.iter().position(|(issued, _)| *issued == sequence);
        if let Some((_, promise)) = at.map(|at| self.outstanding.remove(at)) {
            self.copies[index_of(sequence)] = Some(promise);
        }
        if self.copies == [Some(self.target); 2] && self.outstanding.is_empty() {
            self.base = self.target;
        }
    }

    /// The record may still land: a later promise is taken back until that is over.
    pub fn unknown(&mut self) {
        if planted!(TtlRaisedOverUnknown) {
            return self.settled();
        }
        self.carried = self.carried.sooner_of(&self.base);
    }

    /// No write is unknown any more: what was outstanding is over.
    pub fn settled(&mut self) {
        self.outstanding.clear();
    }
}

fn index_of(sequence: Sequence) -> usize {
    match RecordCopy::of_sequence(sequence) {
        RecordCopy::A => 0,
        RecordCopy::B => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::WatchdogClass;

    fn promise(ttl: u64) -> Promise {
        let terms = Terms { lease_ttl: Duration::from_secs(ttl), ..Terms::default() };
        let watchdog = WatchdogClass::None;
        Promise { terms, watchdog, reset_on: false, expire_without_hardware: false }
    }

    #[test]
    fn a_sooner_verdict_is_kept_by_the_fencer_before_the_record_carries_it() {
        let mut terms = TermsInUse::resume(promise(8), &[promise(30), promise(30)]);
        assert_eq!(
            (terms.sooner(), terms.in_use()),
            (Some(promise(8)), promise(30)),
            "the lease may be older than that"
        );
        terms.keep_sooner();
        terms.advance(&promise(30).terms, false);
        assert_eq!(terms.carried(), promise(30), "the fencer has not echoed it");
        assert_eq!(terms.in_use(), promise(8), "the holder keeps it from then on");
        terms.advance(&promise(8).terms, false);
        assert_eq!(terms.carried(), promise(8));
    }

    #[test]
    fn a_later_verdict_is_issued_with_no_write_unknown_and_used_after_both_copies() {
        let mut terms = TermsInUse::resume(promise(30), &[promise(8), promise(8)]);
        terms.advance(&promise(8).terms, true);
        assert_eq!(terms.carried(), promise(8), "a write is unknown");
        terms.advance(&promise(8).terms, false);
        assert_eq!((terms.carried(), terms.in_use()), (promise(30), promise(8)), "not at issue");
        terms.issue(Sequence(4));
        terms.acknowledged(Sequence(4));
        assert_eq!(terms.in_use(), promise(8), "not after one copy");
        terms.issue(Sequence(5));
        assert_eq!(terms.in_use(), promise(8), "not before the acknowledgement");
        terms.acknowledged(Sequence(5));
        assert_eq!(terms.in_use(), promise(30));
    }

    #[test]
    fn an_unknown_record_keeps_the_sooner_end_until_it_is_over() {
        let mut terms = TermsInUse::resume(promise(30), &[promise(8), promise(8)]);
        terms.advance(&promise(8).terms, false);
        terms.issue(Sequence(4));
        terms.unknown();
        assert_eq!(terms.carried(), promise(8), "taken back while it may land");
        terms.issue(Sequence(6));
        terms.acknowledged(Sequence(6));
        assert_eq!(terms.in_use(), promise(8));
        terms.settled();
        terms.advance(&promise(8).terms, false);
        assert_eq!(terms.carried(), promise(30));
    }
}
