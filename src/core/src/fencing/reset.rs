//! The reset rule: when a host that cannot show itself fenced resets itself. The trigger is the fencer's process's.

use std::time::Duration;

use crate::fencing::fencer::Fencer;
use crate::fencing::state::State;
use crate::fencing::{BEAT, Event};
use crate::planted::planted;
use crate::terms::{PET_INTERVAL, RESET_LATENCY, kill_bound};
use crate::time::{HolderDeadline, Instant};

/// So much sooner than the deadline the beat itself resets the host: who beats says why, and a proof of that very beat still
/// counts. It is taken from the pet interval that the bounds leave between the proof and the reset.
const LEAD: Duration = BEAT;

impl Fencer {
    /// Tells whether this host resets itself where it has no proof: `fence.reset` is on, and there is a trigger for it.
    pub fn resets_host(&mut self, on: bool) {
        self.resets = on;
    }

    /// When the reset is due: one beat before latched end + `fence_budget` - `reset_latency`, while no proof is there and the
    /// host resets itself. Peers count by end + budget (ARCHITECTURE 3), and from the trigger to the reset it takes
    /// `reset_latency` at the most. It comes no sooner, since what the bounds give to the kill and to quiescence lies before
    /// it: kill + quiesce + pet interval + reset latency <= `fence_budget` ([`crate::terms::Setting::check`]), and a beat is
    /// less than a pet interval; whatever stands in the way of a proof meanwhile. Where the terms are not known (page and
    /// agent lost), the kill has its bound, and nothing more is waited for: the end that was promised may have been long ago.
    #[must_use]
    pub fn reset_due(&self) -> Option<HolderDeadline> {
        let State::Ended(end) = &self.state else { return None };
        let owes = self.resets && end.clean.is_none();
        owes.then(|| HolderDeadline(end.latched.0.plus(self.reset_wait())))
    }

    /// From an end to its reset.
    fn reset_wait(&self) -> Duration {
        let budget = self.half.terms.fence_budget;
        let latency = if planted!(ResetAtBudgetsEnd) { Duration::ZERO } else { RESET_LATENCY };
        if budget.is_zero() { kill_bound() } else { budget.saturating_sub(latency + LEAD) }
    }

    /// When a thread of its own resets the host, unless it is told otherwise before: latched end + `fence_budget` -
    /// `reset_latency`, while no proof is there. While the lease is guarded, the same of the end that was accepted last: whoever
    /// beats may be stuck from now on, and would latch that very end if it came back later (R7, R8).
    #[must_use]
    pub fn reset_deadline(&self) -> Option<HolderDeadline> {
        let due = match &self.state {
            State::Armed(guard) if self.resets => {
                // Without its page it is latched once the copy has not come in time.
                let end =
                    guard.end.or(guard.bad_since.map(|since| HolderDeadline(since.plus(PET_INTERVAL))))?;
                HolderDeadline(end.0.plus(self.reset_wait()))
            }
            _ => self.reset_due()?,
        };
        Some(HolderDeadline(due.0.plus(LEAD)))
    }

    /// True when the host must be reset now. Where a trigger had no effect it is pulled again after `reset_latency`.
    #[must_use]
    pub fn must_reset(&self, now: Instant) -> bool {
        let again = |last| now.since_by_faster(last) >= RESET_LATENCY;
        self.reset_due().is_some_and(|due| due.reached(now)) && self.reset_tried.is_none_or(again)
    }

    /// The trigger is about to be pulled: the host is reset, or something keeps it from that and the watchdog remains.
    pub fn resetting(&mut self, now: Instant) {
        if self.reset_tried.replace(now).is_none()
            && let State::Ended(end) = &self.state
        {
            self.note(Event::Resets(end.lease.incarnation, end.obstacle));
        }
    }

    /// How long until the reset is due; none when it was tried, or is not due at all.
    #[must_use]
    pub fn reset_in(&self, now: Instant) -> Option<Duration> {
        self.reset_due().filter(|_| self.reset_tried.is_none()).map(|due| due.left(now))
    }
}
