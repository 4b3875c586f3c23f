//! How an observer reckons with a host's record, read in the way that gives the later verdict: the durations by which
//! it waits, and whether waiting can prove anything at all. It never measures time.

use std::time::Duration;

use crate::format::{Header, HostRecord, Policy, RecordFlags, WatchdogClass};
use crate::planted::planted;
use crate::terms::Terms;

/// A host's terms as an observer must read them.
///
/// While a change of terms is under way the record and the fencer's echo of them differ: per term, the one with the
/// later verdict counts (PROTOCOL 1). The largest survival maximum of all records is added to the ttl wherever an
/// observer's rule uses it, so that this version stays safe beside one that knows survival (PROTOCOL 1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reckoning {
    terms: Terms,
    survival_max: Duration,
    /// Why waiting proves nothing for this host, by the rule of watchdog classes; none when it does.
    pub no_expiry: Option<&'static str>,
}

/// What of the lease file's header an observer's rules depend on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClusterRules {
    /// Which watchdog classes below hardware are accepted, and the test bit.
    pub policy: Policy,
    /// The least `write_drain` that any host may promise.
    pub minimum_write_drain: Duration,
}

impl ClusterRules {
    /// What `header` says.
    #[must_use]
    pub fn of(header: &Header) -> Self {
        Self { policy: header.policy, minimum_write_drain: header.min_write_drain }
    }
}

impl Reckoning {
    /// How to reckon with `record` under the header's `rules`, `survival_max` being the largest of all valid records.
    #[must_use]
    pub fn of(record: &HostRecord, rules: &ClusterRules, survival_max: Duration) -> Self {
        let mut terms = record.effective_terms();
        terms.write_drain = terms.write_drain.max(rules.minimum_write_drain);
        Self { terms, survival_max, no_expiry: why_no_expiry(record, rules.policy) }
    }

    /// From the stall's start to the verdict.
    #[must_use]
    pub fn verdict_after(&self) -> Duration {
        let tick = if planted!(OneTickShort) { Duration::from_millis(1) } else { Duration::ZERO };
        self.terms.verdict_after_with_survival(self.survival_max) - tick
    }

    /// From the stall's start until the victim has been killed: the own renewal that shows a live path must be issued
    /// after this.
    #[must_use]
    pub fn live_path_after(&self) -> Duration {
        self.terms.live_path_after(self.survival_max)
    }

    /// From the end of the read that first showed `fencing` to the verdict.
    #[must_use]
    pub fn cap_after_fencing(&self) -> Duration {
        self.terms.cap_after_fencing()
    }

    /// From the same moment until the victim has been killed, or reset: it may have been petted right before it latched.
    #[must_use]
    pub fn killed_after_fencing(&self) -> Duration {
        self.terms.killed_after_latch()
    }

    /// The longest gap between the starts of two good reads over which a stall clock may run: a quarter of the ttl.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.terms.longest_gap()
    }

    /// The terms, per term the one with the later verdict.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }
}

/// The rule of classes: by default only a hardware watchdog lets time alone prove anything. The others need the
/// header's policy *and* the holder's own permission, and reset on or the header's test bit.
fn why_no_expiry(record: &HostRecord, policy: Policy) -> Option<&'static str> {
    let accepted = match record.watchdog_class {
        WatchdogClass::Hardware => return None,
        WatchdogClass::Virtual => policy.contains(Policy::ACCEPT_VIRTUAL),
        WatchdogClass::Soft => policy.contains(Policy::ACCEPT_SOFT),
        WatchdogClass::None => policy.contains(Policy::ACCEPT_NONE),
    };
    if !accepted {
        Some("its watchdog is not hardware, and the cluster was not made to accept that class")
    } else if !record.flags.contains(RecordFlags::EXPIRE_WITHOUT_HARDWARE) {
        Some("its watchdog is not hardware, and it does not itself permit to call it expired")
    } else if !(record.flags.contains(RecordFlags::RESET_ON) || policy.contains(Policy::TEST)) {
        Some("its watchdog is not hardware, and it cannot reset itself")
    } else {
        None
    }
}
