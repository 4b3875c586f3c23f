//! The agent's half of the page: what it must carry now, and publishing it before anything that rests on it (R11, R12).

use super::phase::{Phase, WeakenStep, Weakening};
use super::{Command, Member};
use crate::fencing::Wish;
use crate::format::HostState;
use crate::planted::planted;

impl Member {
    /// Publishes the half if it differs from what was published. Called before every storage request and every start.
    pub(super) fn publish(&mut self) {
        self.refresh_half();
        if self.header.is_some() && self.published.as_ref() != Some(&self.half) {
            self.published = Some(self.half.clone());
            self.desk.push(Command::Page(Box::new(self.half.clone())));
        }
    }

    fn refresh_half(&mut self) {
        self.half.unknown = self.unknown.to_page();
        // Until the entry is decided, the page goes on to say what it said of the incarnation before.
        let Some(holder) = &self.holder else { return };
        self.half.incarnation = holder.incarnation();
        self.half.issued = holder.issued();
        self.half.terms = holder.in_use().terms;
        if let Some(end) = holder.lease_end().filter(|_| holder.is_armed()) {
            self.half.lease_end = end;
        }
        self.half.wish = self.wish();
        self.refresh_half_of_leases();
    }

    fn wish(&self) -> Wish {
        match &self.phase {
            Phase::Weakening(Weakening { step: WeakenStep::LettingGo, .. }) | Phase::Disarmed => Wish::Disarm,
            Phase::Weakening(_) => Wish::DenyStarts,
            Phase::Arming { .. } if planted!(ArmedAfterHeld) && !self.held_is_acknowledged() => {
                self.half.wish
            }
            // A wish to be armed stands until the fencer has proven CLEAN: the end in the page is what ends it.
            Phase::Arming { .. } | Phase::Held | Phase::Ending(_) => Wish::Armed,
            Phase::Adopting { resting } if *resting == HostState::Disarmed => Wish::Disarm,
            Phase::Adopting { .. } | Phase::Entering(_) => Wish::Joining,
            Phase::Opening | Phase::Header(_) | Phase::Choosing | Phase::Resuming | Phase::Over => {
                self.half.wish
            }
        }
    }

    /// True once a `held` of this arming was acknowledged: what a planted bug waits for before it arms.
    fn held_is_acknowledged(&self) -> bool {
        let written = self.pass.written.is_some_and(|w| w.state == HostState::Held && w.acknowledged);
        written || self.half.wish == Wish::Armed
    }
}
