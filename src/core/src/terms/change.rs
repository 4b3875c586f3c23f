//! Changing terms: which changes bring a verdict sooner, which later, and what counts while a change is under way.
//!
//! A change that makes a verdict come sooner is kept by the fencer before it is written; one that makes it come later
//! is used only after both copies carry it (PROTOCOL 5). This module compares; it never decides when.

use std::time::Duration;

use crate::format::WatchdogClass;
use crate::terms::Terms;

/// All of a record by which an observer may call its host gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Promise {
    /// The durations.
    pub terms: Terms,
    /// The class of the host's watchdog.
    pub watchdog: WatchdogClass,
    /// True when the host may reset itself.
    pub reset_on: bool,
    /// True when the host may be called expired without a hardware watchdog.
    pub expire_without_hardware: bool,
}

/// What differs between two promises, in words of the record.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Change {
    /// What makes a verdict come sooner.
    pub sooner: Vec<&'static str>,
    /// What makes a verdict come later.
    pub later: Vec<&'static str>,
}

impl Change {
    /// True when nothing differs that a verdict depends on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sooner.is_empty() && self.later.is_empty()
    }
}

impl Promise {
    /// What changes for observers when this promise is replaced by `new`. Intervals are no terms: no verdict's time
    /// depends on them.
    #[must_use]
    pub fn change_to(&self, new: &Self) -> Change {
        let mut change = Change::default();
        let mut note = |name, order: std::cmp::Ordering| match order {
            std::cmp::Ordering::Less => change.sooner.push(name),
            std::cmp::Ordering::Greater => change.later.push(name),
            std::cmp::Ordering::Equal => {}
        };
        let (old_terms, new_terms) = (&self.terms, &new.terms);
        note("lease_ttl", new_terms.lease_ttl.cmp(&old_terms.lease_ttl));
        note("fence_budget", new_terms.fence_budget.cmp(&old_terms.fence_budget));
        note("write_drain", new_terms.write_drain.cmp(&old_terms.write_drain));
        note("clock_drift_ppm", new_terms.drift_ppm.cmp(&old_terms.drift_ppm));
        // A device's time is no promise that could be kept ahead of its record: the larger one is kept until both copies
        // carry the other.
        let watchdog = new_terms.watchdog_actual.cmp(&old_terms.watchdog_actual);
        note("watchdog_actual", if watchdog.is_ne() { std::cmp::Ordering::Greater } else { watchdog });
        // A stronger class, a reset that is on, or a permission let a verdict come that did not come before.
        note("watchdog class", strength(self.watchdog).cmp(&strength(new.watchdog)));
        note("reset", self.reset_on.cmp(&new.reset_on));
        note("expire without hardware", self.expire_without_hardware.cmp(&new.expire_without_hardware));
        change
    }

    /// Per term, the one with the later verdict: what an observer takes of two copies, or of terms and their echo,
    /// while they differ (PROTOCOL 1).
    #[must_use]
    pub fn later_of(&self, other: &Self) -> Self {
        Self {
            terms: self.terms.later_of(&other.terms),
            watchdog: by_strength(self.watchdog, other.watchdog).0,
            reset_on: self.reset_on && other.reset_on,
            expire_without_hardware: self.expire_without_hardware && other.expire_without_hardware,
        }
    }

    /// Per term, the one that ends soonest: what the holder keeps while either may be on storage (PROTOCOL 5).
    #[must_use]
    pub fn sooner_of(&self, other: &Self) -> Self {
        Self {
            terms: self.terms.sooner_of(&other.terms),
            watchdog: by_strength(self.watchdog, other.watchdog).1,
            reset_on: self.reset_on || other.reset_on,
            expire_without_hardware: self.expire_without_hardware || other.expire_without_hardware,
        }
    }
}

impl Terms {
    /// Per term, the larger: the later verdict.
    #[must_use]
    pub fn later_of(&self, other: &Self) -> Self {
        self.per_term(other, Duration::max).with_drift(self.drift_ppm.max(other.drift_ppm))
    }

    /// Per term, the smaller: the sooner end. Of the watchdog's time it is the larger: the longer a device holds, the sooner
    /// the pets must end. Waits that protect others (`write_drain` before a receipt or between two reads) must take
    /// [`later_of`](Self::later_of) instead.
    #[must_use]
    pub fn sooner_of(&self, other: &Self) -> Self {
        let watchdog_actual = self.watchdog_actual.max(other.watchdog_actual);
        let sooner = self.per_term(other, Duration::min).with_drift(self.drift_ppm.min(other.drift_ppm));
        Self { watchdog_actual, ..sooner }
    }

    fn per_term(&self, other: &Self, pick: fn(Duration, Duration) -> Duration) -> Self {
        Self {
            lease_ttl: pick(self.lease_ttl, other.lease_ttl),
            fence_budget: pick(self.fence_budget, other.fence_budget),
            write_drain: pick(self.write_drain, other.write_drain),
            renewal_interval: pick(self.renewal_interval, other.renewal_interval),
            scan_interval: pick(self.scan_interval, other.scan_interval),
            drift_ppm: self.drift_ppm,
            watchdog_actual: pick(self.watchdog_actual, other.watchdog_actual),
        }
    }

    fn with_drift(self, drift_ppm: u16) -> Self {
        Self { drift_ppm, ..self }
    }
}

/// By how much a class lets peers trust that the host ends itself.
fn strength(class: WatchdogClass) -> u8 {
    match class {
        WatchdogClass::None => 0,
        WatchdogClass::Soft => 1,
        WatchdogClass::Virtual => 2,
        WatchdogClass::Hardware => 3,
    }
}

/// The weaker and the stronger of two classes.
fn by_strength(a: WatchdogClass, b: WatchdogClass) -> (WatchdogClass, WatchdogClass) {
    if strength(a) <= strength(b) { (a, b) } else { (b, a) }
}
