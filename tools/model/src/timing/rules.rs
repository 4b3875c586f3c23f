//! The numbers of a scenario: small terms in ticks, and how often the adversary may do each thing.

use std::time::Duration;

use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::{Promise, RESET_LATENCY, Terms};

use crate::relative::Horizon;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long a tick is.
    pub(crate) tick: Duration,
    /// The ttl with which it begins, in ticks.
    pub(crate) ttl: u8,
    /// The ttl of the other configuration, in ticks.
    pub(crate) other_ttl: u8,
    /// The fence budget, in ticks.
    pub(crate) budget: u8,
    /// The longest that storage holds a guest's write, in ticks.
    pub(crate) drain: u8,
    /// What the clocks may drift, in parts per million.
    pub(crate) drift_ppm: u16,
    /// What the watchdog is set to; zero where there is none.
    pub(crate) watchdog: Duration,
    /// The most own record's writes at once that may land late.
    pub(crate) late: usize,
    /// The longest that a scan of the observer takes, in ticks: what takes longer fails.
    pub(crate) slow_scan: u8,
    /// True when a read-back takes its own time; else it ends with the acknowledgement.
    pub(crate) slow_read_back: bool,
    /// True when the fencer may look at the page as late as at the next tick; else it looks at once.
    pub(crate) lazy_fencer: bool,
    /// True when a scan may end later than the storage served it.
    pub(crate) late_end: bool,
    /// True when the two copies of a read may be served in either order, at two instants.
    pub(crate) torn_reads: bool,
    /// True when the agent was just restarted with the other configuration.
    pub(crate) changing: bool,
    /// True when the agent goes on to write after its end: `fencing`, and the receipt.
    pub(crate) tells_its_end: bool,
    /// True when the host is armed only in the course of the search.
    pub(crate) joins: bool,
    /// True when the search goes on after the victim's guests are gone, where nothing worse can happen.
    pub(crate) to_the_end: bool,
    /// What the adversary may do, how often.
    pub(crate) may: May,
}

/// How often the adversary may still do each thing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct May {
    /// A write of the own record whose outcome the agent does not learn.
    pub(crate) time_out: u8,
    /// The agent's process dies (it may start again as often).
    pub(crate) crash: u8,
    /// The agent starts again with the other configuration.
    pub(crate) change: u8,
    /// Somebody asks the victim to fence itself.
    pub(crate) ask: u8,
    /// A copy of the record becomes unreadable.
    pub(crate) damage: u8,
    /// The observer's clocks gain a tick.
    pub(crate) drift: u8,
    /// One clock of a host is slewed by a tick against its other one.
    pub(crate) slew: u8,
    /// The observer's process starts again.
    pub(crate) restart_observer: u8,
    /// The observer's reads show a picture of the storage from then on.
    pub(crate) freeze: u8,
    /// The fencer hangs for good.
    pub(crate) hang: u8,
    /// The agent is paused.
    pub(crate) pause: u8,
    /// A read-back of the own record fails.
    pub(crate) fail_read_back: u8,
    /// A medium acknowledges a write and loses it.
    pub(crate) lose: u8,
}

impl Rules {
    /// The smallest in which everything shows: ttl 4, budget 1, drain 1, no drift, no watchdog, no luck needed.
    pub(crate) const fn smallest() -> Self {
        Self {
            tick: Duration::from_millis(1),
            ttl: 4,
            other_ttl: 4,
            budget: 1,
            drain: 1,
            drift_ppm: 0,
            watchdog: Duration::ZERO,
            late: 1,
            slow_scan: 1,
            slow_read_back: false,
            lazy_fencer: false,
            late_end: false,
            torn_reads: false,
            changing: false,
            tells_its_end: false,
            joins: false,
            to_the_end: false,
            may: May {
                time_out: 0,
                crash: 0,
                change: 0,
                ask: 0,
                damage: 0,
                drift: 0,
                slew: 0,
                restart_observer: 0,
                freeze: 0,
                hang: 0,
                pause: 0,
                fail_read_back: 0,
                lose: 0,
            },
        }
    }

    /// A number of ticks.
    pub(crate) fn ticks(&self, ticks: u8) -> Duration {
        self.tick * u32::from(ticks)
    }

    /// The promise of the configuration with this ttl.
    pub(crate) fn promise(&self, ttl: u8) -> Promise {
        Promise {
            terms: self.terms(ttl),
            watchdog: if self.has_watchdog() { WatchdogClass::Hardware } else { WatchdogClass::None },
            reset_on: self.has_watchdog(),
            expire_without_hardware: true,
        }
    }

    /// The terms of the configuration with this ttl.
    pub(crate) fn terms(&self, ttl: u8) -> Terms {
        Terms {
            lease_ttl: self.ticks(ttl),
            fence_budget: self.ticks(self.budget),
            write_drain: self.ticks(self.drain),
            renewal_interval: self.tick,
            scan_interval: self.tick,
            drift_ppm: self.drift_ppm,
            watchdog_actual: self.watchdog,
        }
    }

    /// The ttl, in ticks, that a record with these terms carries.
    pub(crate) fn ttl_of(&self, terms: &Terms) -> u8 {
        if terms.lease_ttl == self.ticks(self.ttl) { self.ttl } else { self.other_ttl }
    }

    /// True when a watchdog resets the host.
    pub(crate) fn has_watchdog(&self) -> bool {
        !self.watchdog.is_zero()
    }

    /// From a pet to the reset, if no other one follows.
    pub(crate) fn reset_after(&self) -> Duration {
        self.watchdog + RESET_LATENCY
    }

    /// Ages of the victim's instants beyond every threshold.
    pub(crate) fn victims_horizon(&self) -> Horizon {
        let ticks = self.ttl.max(self.other_ttl).max(self.budget).max(self.drain);
        let oldest =
            self.ticks(ticks).max(if self.has_watchdog() { self.reset_after() } else { Duration::ZERO });
        Horizon { oldest: oldest + self.tick, recent: oldest + self.tick }
    }

    /// Ages of the observer's: a scan that began that late must still know how old the stall was then.
    pub(crate) fn observers_horizon(&self) -> Horizon {
        let terms = self.terms(self.ttl.max(self.other_ttl));
        // Where nothing says `fencing`, its cap may be beyond all ages.
        let cap = terms.cap_after_fencing().min(self.ticks(20));
        let oldest = terms.verdict_after().max(cap) + self.ticks(self.slow_scan + 1);
        Horizon { oldest, recent: terms.longest_gap() + self.ticks(self.slow_scan + 1) }
    }
}
