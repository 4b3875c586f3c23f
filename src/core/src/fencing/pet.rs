//! The pet rule: when the watchdog may be petted. The device is the fencer's process's.

use std::time::Duration;

use crate::fencing::fencer::Fencer;
use crate::fencing::state::State;
use crate::planted::planted;
use crate::terms::{RESET_LATENCY, WATCHDOG_GRANULE};
use crate::time::{HolderDeadline, Instant, ObserverDeadline};

impl Fencer {
    /// True when a pet now keeps the promise: the machine would be reset by the lease's end + budget if this were the last
    /// one; or the fencer has proven CLEAN and, since `last_pet`, seen a host without protected processes; or it was never
    /// armed since boot, or is disarmed. The end that counts is the latched one.
    #[must_use]
    pub fn may_pet(&self, now: Instant, last_pet: Instant) -> bool {
        match &self.state {
            State::NeverArmed | State::Disarmed { .. } => true,
            State::Armed(guard) => guard.end.is_some_and(|end| self.resets_in_time(now, end)),
            State::Ended(_) if planted!(PetWithoutClean) => true,
            State::Ended(end) => {
                let still_clear =
                    self.clear_scan.is_some_and(|scan| ObserverDeadline(last_pet).reached(scan));
                let latched = if planted!(PetKeepsOldEnd) { self.half.lease_end } else { end.latched };
                (end.clean.is_some() && still_clear) || self.resets_in_time(now, latched)
            }
        }
    }

    /// Tells how long the device that is open holds after a pet, as its driver returned it plus its granule; zero when none
    /// is. Where the page's terms say less (an agent that has not heard of the device yet), this counts.
    pub fn watchdog_holds(&mut self, actual: Duration) {
        self.watchdog = actual;
    }

    fn resets_in_time(&self, now: Instant, end: HolderDeadline) -> bool {
        let latency = if planted!(ResetLatencyLeftOut) { Duration::ZERO } else { RESET_LATENCY };
        let holds = self.half.terms.watchdog_actual.max(self.watchdog);
        let holds = if planted!(GranuleLeftOut) { holds.saturating_sub(WATCHDOG_GRANULE) } else { holds };
        let reset_by = now.plus(holds).plus(latency);
        let promised = end.0.plus(self.half.terms.fence_budget);
        reset_by.boot_ns <= promised.boot_ns && reset_by.raw_ns <= promised.raw_ns
    }
}
