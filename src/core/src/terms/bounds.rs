//! Which settings are refused, each for a rule that it would break.
//!
//! A refusal names the inequality and both of its sides with their numbers: an operator must see what to change.

use std::time::Duration;

use crate::fencing::StorageKind;
use crate::format::WatchdogClass;
use crate::terms::{PET_INTERVAL, RESET_LATENCY, Terms, WATCHDOG_GRANULE};

/// From SIGKILL until every process of every domain is seen to be gone.
const KILL_BOUND: Duration = Duration::from_millis(500);
/// How long a write stays unknown after its call returned, unless the mount needs longer (R11).
pub const DEFAULT_UNKNOWN_HOLD: Duration = Duration::from_secs(60);
/// More than any oscillator drifts: a larger number is a slip of the pen.
const MAX_DRIFT_PPM: u16 = 10_000;
/// What the record can say of a watchdog: a u16 of 10 ms.
const MAX_WATCHDOG_ACTUAL: Duration = Duration::from_millis(655_350);

/// From SIGKILL until every process of every domain is seen to be gone.
#[must_use]
pub fn kill_bound() -> Duration {
    KILL_BOUND
}

/// How long it takes to show a storage quiet, by its kind (measured with the link cut). A storage without a proof
/// counts like the slowest one: the reset that stands in for it comes no sooner.
#[must_use]
pub fn quiesce_bound(kind: StorageKind) -> Duration {
    Duration::from_millis(match kind {
        StorageKind::OneKernel => 250,
        StorageKind::Nfs => 750,
        StorageKind::Iscsi | StorageKind::Unprovable => 1_000,
    })
}

/// What the lease file's header asks of every host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HeaderLimits {
    /// The least `write_drain`.
    pub minimum_write_drain: Duration,
    /// The longest verdict, the survival maximum included.
    pub longest_verdict_after: Duration,
}

/// A host's timing with what it depends on, as configured and as found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Setting {
    /// The terms.
    pub terms: Terms,
    /// The watchdog's class.
    pub watchdog: WatchdogClass,
    /// By how much the watchdog may reset before the time that is counted on: the steps in which it counts, 1 s unless the
    /// driver is known to be finer, since no call tells it, and what its timer may leave out.
    pub granule: Duration,
    /// True when the host resets itself where it has no proof (`fence.reset`).
    pub reset_on: bool,
    /// The kind of storage that takes longest to show quiet, of all that carry protected disks.
    pub storage: StorageKind,
    /// A renewal with its read-back, the slowest of a thousand: 1 s until measured.
    pub io_p999: Duration,
    /// How long a write stays unknown after its call returned (R11).
    pub unknown_hold: Duration,
    /// timeo x (retrans + 1) of the mount that the lease lies on, where it is known.
    pub mount_gives_up: Option<Duration>,
    /// The header's limits, where a lease file was read.
    pub header: Option<HeaderLimits>,
    /// The largest survival maximum of any valid record (0: off).
    pub survival: Duration,
}

impl Setting {
    /// A setting with this timing and what is assumed until more is known: granule and I/O of 1 s, default hold.
    #[must_use]
    pub fn assumed(terms: Terms, watchdog: WatchdogClass, storage: StorageKind) -> Self {
        Self {
            terms,
            watchdog,
            granule: WATCHDOG_GRANULE,
            reset_on: false,
            storage,
            io_p999: Duration::from_secs(1),
            unknown_hold: DEFAULT_UNKNOWN_HOLD,
            mount_gives_up: None,
            header: None,
            survival: Duration::ZERO,
        }
    }

    /// Every rule that this setting breaks; empty when it may be used.
    #[must_use]
    pub fn check(&self) -> Vec<TermsError> {
        [
            self.check_range(),
            self.check_timing(),
            self.check_watchdog(),
            self.check_hold(),
            self.check_header(),
        ]
        .concat()
    }

    /// kill + quiesce + pet interval + reset latency + granule: what must fit into the budget of a host that is reset. One that
    /// has no watchdog, and resets itself, has no steps either.
    #[must_use]
    pub fn fence_needs(&self) -> Duration {
        let resets_alone = self.reset_on && self.watchdog == WatchdogClass::None;
        let granule = if resets_alone { Duration::ZERO } else { self.granule };
        kill_bound() + quiesce_bound(self.storage) + PET_INTERVAL + RESET_LATENCY + granule
    }

    /// watchdog + reset latency + renewal interval + I/O + pet interval: what must fit into ttl + budget, or a healthy
    /// host is reset between two renewals.
    #[must_use]
    pub fn renewal_needs(&self) -> Duration {
        let terms = &self.terms;
        terms.watchdog_actual + RESET_LATENCY + terms.renewal_interval + self.io_p999 + PET_INTERVAL
    }

    fn check_range(&self) -> Vec<TermsError> {
        let terms = &self.terms;
        let named = [
            ("lease_ttl", terms.lease_ttl),
            ("fence_budget", terms.fence_budget),
            ("write_drain", terms.write_drain),
            ("renewal_interval", terms.renewal_interval),
            ("scan_interval", terms.scan_interval),
        ];
        let fits = |d: Duration| !d.is_zero() && d.subsec_nanos().is_multiple_of(1_000_000);
        let in_u32 = |d: Duration| u32::try_from(d.as_millis()).is_ok();
        let mut errors: Vec<TermsError> = named
            .into_iter()
            .filter(|(_, value)| !fits(*value) || !in_u32(*value))
            .map(|(name, value)| TermsError::Range {
                name,
                value,
                limit: "whole milliseconds, 1 ms to 49 days",
            })
            .collect();
        let actual = terms.watchdog_actual;
        if !actual.as_nanos().is_multiple_of(10_000_000) || actual > MAX_WATCHDOG_ACTUAL {
            let limit = "multiples of 10 ms, at most 655.35 s";
            errors.push(TermsError::Range { name: "watchdog_timeout", value: actual, limit });
        }
        if terms.drift_ppm == 0 || terms.drift_ppm > MAX_DRIFT_PPM {
            errors.push(TermsError::Drift { ppm: terms.drift_ppm });
        }
        errors
    }

    fn check_timing(&self) -> Vec<TermsError> {
        let terms = &self.terms;
        let mut errors = Vec::new();
        if terms.lease_ttl < 4 * terms.renewal_interval {
            errors.push(TermsError::FourRenewals {
                ttl: terms.lease_ttl,
                renewal: terms.renewal_interval,
                four: 4 * terms.renewal_interval,
            });
        }
        let scan = terms.scan_interval + self.io_p999;
        if scan > terms.longest_gap() {
            errors.push(TermsError::ScanGap { scan, quarter: terms.longest_gap(), ttl: terms.lease_ttl });
        }
        if PET_INTERVAL > terms.longest_gap() {
            errors.push(TermsError::Beat {
                beat: PET_INTERVAL,
                quarter: terms.longest_gap(),
                ttl: terms.lease_ttl,
            });
        }
        let needs = self.renewal_needs();
        if needs > terms.lease_ttl + terms.fence_budget {
            errors.push(TermsError::Renewal {
                needs,
                watchdog: terms.watchdog_actual,
                renewal: terms.renewal_interval,
                io: self.io_p999,
                ttl: terms.lease_ttl,
                budget: terms.fence_budget,
            });
        }
        errors
    }

    fn check_watchdog(&self) -> Vec<TermsError> {
        let terms = &self.terms;
        let mut errors = Vec::new();
        if self.watchdog == WatchdogClass::None {
            if !terms.watchdog_actual.is_zero() {
                errors.push(TermsError::WatchdogOfNone { actual: terms.watchdog_actual });
            }
            if self.reset_on && self.fence_needs() > terms.fence_budget {
                errors.push(TermsError::BudgetForReset {
                    needs: self.fence_needs(),
                    quiesce: quiesce_bound(self.storage),
                    storage: self.storage,
                    budget: terms.fence_budget,
                });
            }
            return errors;
        }
        if terms.watchdog_actual < self.granule || terms.watchdog_actual.is_zero() {
            errors.push(TermsError::WatchdogShort { actual: terms.watchdog_actual, granule: self.granule });
        }
        if self.fence_needs() > terms.fence_budget {
            errors.push(TermsError::Budget {
                needs: self.fence_needs(),
                quiesce: quiesce_bound(self.storage),
                storage: self.storage,
                granule: self.granule,
                budget: terms.fence_budget,
            });
        }
        errors
    }

    fn check_hold(&self) -> Vec<TermsError> {
        let hold = self.unknown_hold;
        let mut errors = Vec::new();
        if let Some(mount) = self.mount_gives_up.filter(|mount| hold < *mount) {
            errors.push(TermsError::UnknownHoldMount { hold, mount });
        }
        if hold < self.terms.write_drain {
            errors.push(TermsError::UnknownHoldDrain { hold, drain: self.terms.write_drain });
        }
        errors
    }

    fn check_header(&self) -> Vec<TermsError> {
        let Some(limits) = self.header else { return Vec::new() };
        let mut errors = Vec::new();
        if self.terms.write_drain < limits.minimum_write_drain {
            let (drain, minimum) = (self.terms.write_drain, limits.minimum_write_drain);
            errors.push(TermsError::DrainMinimum { drain, minimum });
        }
        let verdict = self.terms.verdict_after_with_survival(self.survival);
        if verdict > limits.longest_verdict_after {
            errors.push(TermsError::VerdictTooLong { verdict, longest: limits.longest_verdict_after });
        }
        errors
    }
}

/// A rule that a setting breaks, with the numbers on both sides.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TermsError {
    /// A value that the record cannot say.
    #[error("{name} = {value:?} is out of range: {limit}")]
    Range {
        /// Which.
        name: &'static str,
        /// As configured.
        value: Duration,
        /// What is allowed.
        limit: &'static str,
    },
    /// A drift that no oscillator has.
    #[error(
        "clock_drift_ppm = {ppm} is out of range: 1 to {MAX_DRIFT_PPM} (500 covers every oscillator in servers)"
    )]
    Drift {
        /// As configured.
        ppm: u16,
    },
    /// A lease must survive three lost renewals.
    #[error(
        "lease_ttl >= 4 x renewal_interval is broken: {ttl:?} < {four:?} (4 x {renewal:?}); raise lease_ttl or \
             lower renewal_interval"
    )]
    FourRenewals {
        /// `lease_ttl`.
        ttl: Duration,
        /// `renewal_interval`.
        renewal: Duration,
        /// Four of them.
        four: Duration,
    },
    /// An observer whose good reads start further apart than a quarter of the ttl restarts its stall clocks each time.
    #[error(
        "scan_interval + p99.9(io) <= lease_ttl / 4 is broken: {scan:?} > {quarter:?} (a quarter of {ttl:?}): an \
             observer's stall clocks would restart at every scan and no verdict would ever come; raise lease_ttl or \
             lower scan_interval"
    )]
    ScanGap {
        /// `scan_interval + p99.9(io)`.
        scan: Duration,
        /// A quarter of the ttl.
        quarter: Duration,
        /// `lease_ttl`.
        ttl: Duration,
    },
    /// The fencer's beat must be seen within a quarter of the ttl.
    #[error(
        "pet_interval <= lease_ttl / 4 is broken: {beat:?} > {quarter:?} (a quarter of {ttl:?}): the fencer's beat \
             would count as lost; raise lease_ttl"
    )]
    Beat {
        /// Between two beats.
        beat: Duration,
        /// A quarter of the ttl.
        quarter: Duration,
        /// `lease_ttl`.
        ttl: Duration,
    },
    /// A healthy host would be reset between two renewals.
    #[error(
        "watchdog_actual + reset_latency + renewal_interval + p99.9(io) + pet_interval <= lease_ttl + fence_budget \
             is broken: {needs:?} ({watchdog:?} + {RESET_LATENCY:?} + {renewal:?} + {io:?} + {PET_INTERVAL:?}) > \
             {ttl:?} + {budget:?}: a healthy host would be reset between two renewals; raise lease_ttl or lower \
             watchdog_timeout"
    )]
    Renewal {
        /// The left side.
        needs: Duration,
        /// `watchdog_actual`.
        watchdog: Duration,
        /// `renewal_interval`.
        renewal: Duration,
        /// p99.9 of a renewal with its read-back.
        io: Duration,
        /// `lease_ttl`.
        ttl: Duration,
        /// `fence_budget`.
        budget: Duration,
    },
    /// Kill and quiesce do not fit before the reset.
    #[error(
        "kill_bound + quiesce_bound + pet_interval + reset_latency + granule <= fence_budget is broken: {needs:?} \
             ({KILL_BOUND:?} + {quiesce:?} for storage kind {storage:?} + {PET_INTERVAL:?} + {RESET_LATENCY:?} + \
             {granule:?}) > {budget:?}: the host would be reset before it can show itself fenced; use a longer \
             preset or fence_budget, or a watchdog that is known to be off by less than {granule:?}"
    )]
    Budget {
        /// The left side.
        needs: Duration,
        /// `quiesce_bound`.
        quiesce: Duration,
        /// Of which storage.
        storage: StorageKind,
        /// `granule`.
        granule: Duration,
        /// `fence_budget`.
        budget: Duration,
    },
    /// Kill and quiesce do not fit before the host resets itself.
    #[error(
        "kill_bound + quiesce_bound + pet_interval + reset_latency <= fence_budget is broken: {needs:?} ({KILL_BOUND:?} + \
             {quiesce:?} for storage kind {storage:?} + {PET_INTERVAL:?} + {RESET_LATENCY:?}) > {budget:?}: with fence.reset = \"on\" \
             the host would reset itself before it can show itself fenced; use a longer preset or fence_budget"
    )]
    BudgetForReset {
        /// The left side.
        needs: Duration,
        /// `quiesce_bound`.
        quiesce: Duration,
        /// Of which storage.
        storage: StorageKind,
        /// `fence_budget`.
        budget: Duration,
    },
    /// A class `none` host has no device.
    #[error(
        "watchdog class is none, but watchdog_actual is {actual:?}: leave out the timeout, or name the device"
    )]
    WatchdogOfNone {
        /// As configured.
        actual: Duration,
    },
    /// A watchdog must be set, and hold for more than one of its steps.
    #[error(
        "the watchdog holds for {actual:?} with steps of {granule:?}: set watchdog_timeout to at least one step"
    )]
    WatchdogShort {
        /// What the driver returned, plus the granule.
        actual: Duration,
        /// The steps.
        granule: Duration,
    },
    /// The kernel may retry a write for longer than it is held unknown.
    #[error(
        "unknown_hold >= timeo x (retrans + 1) is broken: {hold:?} < {mount:?}: the mount may still send a write \
             that was given up; raise unknown_hold to at least {mount:?}"
    )]
    UnknownHoldMount {
        /// `unknown_hold`.
        hold: Duration,
        /// From the mount's options.
        mount: Duration,
    },
    /// The storage may hold a write for longer than it is held unknown.
    #[error("unknown_hold >= write_drain is broken: {hold:?} < {drain:?}; raise unknown_hold")]
    UnknownHoldDrain {
        /// `unknown_hold`.
        hold: Duration,
        /// `write_drain`.
        drain: Duration,
    },
    /// The cluster's storage holds writes for longer.
    #[error("write_drain >= the lease file's minimum is broken: {drain:?} < {minimum:?}; raise write_drain")]
    DrainMinimum {
        /// `write_drain`.
        drain: Duration,
        /// In the header.
        minimum: Duration,
    },
    /// Peers, and `init --force`, must not have to wait for longer than the header says.
    #[error(
        "verdict_after <= the lease file's longest is broken: {verdict:?} > {longest:?}; lower lease_ttl, or make \
             the lease file anew with a longer limit"
    )]
    VerdictTooLong {
        /// `verdict_after`, the survival maximum included.
        verdict: Duration,
        /// In the header.
        longest: Duration,
    },
}
