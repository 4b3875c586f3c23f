//! Disarming and releasing: a promise is weakened in the page first, in both copies on storage second, and by the fencer
//! letting go last (R12).

use std::time::Duration;

use super::phase::{Phase, WeakenStep, Weakening};
use super::{LogLevel, Member, RequestId};
use crate::fencing::Wish;
use crate::format::{HostRecord, HostState};
use crate::planted::planted;
use crate::renewal::{Holder, TermsInUse};
use crate::time::{Now, ObserverDeadline};

/// How long a release waits for own entries to end.
const RELEASE_PATIENCE: Duration = Duration::from_secs(30);

impl Member {
    /// Begins to weaken the promise: from here the page denies starts.
    pub(super) fn weaken(&mut self, now: &Now, to: HostState, request: Option<RequestId>) {
        let from = match self.phase {
            Phase::Adopting { resting } => resting,
            Phase::Disarmed => HostState::Disarmed,
            _ => HostState::Held,
        };
        let weakening = Weakening { from, to, request, step: WeakenStep::Draining };
        self.desk.note(
            LogLevel::Info,
            "weakening",
            format!("on its way to {}: starts are denied", to.as_str()),
        );
        self.enter(now, Phase::Weakening(weakening));
        self.publish();
    }

    /// Steps that wait for nothing but this member and its fencer.
    pub(super) fn weaken_turn(&mut self, now: &Now) {
        let Phase::Weakening(weakening) = self.phase else { return };
        match weakening.step {
            WeakenStep::Draining
                if weakening.to == HostState::Released && self.entries_stand(now, weakening) => {}
            WeakenStep::Draining if self.may_write_weakened() => {
                self.phase = Phase::Weakening(Weakening {
                    step: WeakenStep::Writing { first_shown: None },
                    ..weakening
                });
                self.pass.hurry();
            }
            WeakenStep::LettingGo if !self.is_guarded() => self.weakened(now, weakening),
            WeakenStep::Draining | WeakenStep::Writing { .. } | WeakenStep::LettingGo => {}
        }
    }

    /// True while `released` would call a domain gone that is not: an own entry of a released incarnation is one that others
    /// may recover. Ends of entries are waited for, not for ever; a start that was under way when the release was asked for
    /// refuses it at once.
    fn entries_stand(&mut self, now: &Now, weakening: Weakening) -> bool {
        if self.a_protected_domain().is_some() {
            let text =
                "a protected domain has started here meanwhile: stop or migrate it first, then release";
            self.refuse_release(now, weakening, text);
            return true;
        }
        let Some((domain, why)) = self.why_an_entry_stands() else { return false };
        let text = format!("the lease of domain {domain} stands ({why}): release again once it has ended");
        if ObserverDeadline(self.phase_since.plus(RELEASE_PATIENCE)).reached(now.instant) {
            self.refuse_release(now, weakening, &text);
        }
        true
    }

    fn refuse_release(&mut self, now: &Now, weakening: Weakening, text: &str) {
        self.desk.note(LogLevel::Warn, "weakening", format!("not released: {text}"));
        self.desk.reply_if_asked(weakening.request, false, text);
        let phase = match weakening.from {
            HostState::Held => Phase::Held,
            resting => Phase::Adopting { resting },
        };
        self.enter(now, phase);
        self.publish();
    }

    /// No write of the own record may still land when the first weaker one is issued: it could turn it back.
    fn may_write_weakened(&self) -> bool {
        (!self.own_record_unknown() || planted!(DisarmOverUnknown))
            && !self.pass.is_scanning()
            && self.in_flight.is_none()
            && self.lease_work_is_over()
    }

    /// Nothing is guarded, and no copy gives a verdict: what they carry, or a change under way, binds nobody any more. The first
    /// `held` that comes must carry what is so then, and not the class of a watchdog that was let go meanwhile (R12).
    pub(super) fn promise_nothing(&mut self) {
        let terms = TermsInUse::new(self.wanted_promise());
        if let Some(holder) = &mut self.holder {
            holder.disarm();
            holder.set_terms(terms);
        }
    }

    /// True while the fencer guards this incarnation.
    pub(super) fn is_guarded(&self) -> bool {
        self.fencer
            .as_ref()
            .is_none_or(|fencer| fencer.armed && Some(fencer.incarnation) == self.incarnation())
    }

    /// True from the moment in which the page asks the fencer to let go until what it made of that was seen: the end latched, or
    /// nothing guarded. It may have let go already, and holds to the end that it guards until it does (R12); so it alone decides.
    pub(super) fn fencer_decides(&self) -> bool {
        let armed = self.holder.as_ref().is_some_and(Holder::is_armed);
        let resumes = matches!(self.phase, Phase::Resuming) && self.half.wish == Wish::Disarm;
        let asked = self.phase.lets_go() || resumes;
        armed && asked && self.latched().is_none() && !planted!(EndsWhileLettingGo)
    }

    /// After a scan: both copies must be read back as weakened, twice, `write_drain` apart, with no write unknown.
    pub(super) fn weakened_after_scan(&mut self) {
        let Phase::Weakening(weakening) = self.phase else { return };
        let WeakenStep::Writing { first_shown } = weakening.step else { return };
        let Some((started, ended)) = self
            .both_copies_say(weakening.to)
            .filter(|_| !self.own_record_unknown() || planted!(DisarmOverUnknown))
        else {
            self.phase =
                Phase::Weakening(Weakening { step: WeakenStep::Writing { first_shown: None }, ..weakening });
            return;
        };
        let apart =
            |first: crate::time::Instant| ObserverDeadline(first.plus(self.longest_drain())).reached(started);
        let step = match first_shown {
            Some(first) if apart(first) => WeakenStep::LettingGo,
            _ if planted!(DisarmAfterOneCopy) => WeakenStep::LettingGo,
            first => WeakenStep::Writing { first_shown: Some(first.unwrap_or(ended)) },
        };
        self.phase = Phase::Weakening(Weakening { step, ..weakening });
    }

    /// The start and end of the last read, if it showed both own copies in this state.
    fn both_copies_say(&self, state: HostState) -> Option<(crate::time::Instant, crate::time::Instant)> {
        let own = self.incarnation()?;
        let reading = self.watch.as_ref()?.slot(own.slot)?.reading()?;
        let says = |record: &HostRecord| record.state == state && record.incarnation == own;
        let enough = if planted!(DisarmAfterOneCopy) { 1 } else { 2 };
        let both = reading.copies().valid().filter(|record| says(record)).count() >= enough;
        both.then_some((reading.started, reading.ended.instant))
    }

    fn weakened(&mut self, now: &Now, weakening: Weakening) {
        if weakening.to == HostState::Disarmed {
            self.promise_nothing();
            self.enter(now, Phase::Disarmed);
            if let Some(reason) = &self.doomed {
                self.desk.reply_if_asked(weakening.request, false, format!("not left disarmed: {reason}"));
                self.end_if_doomed(now);
            } else {
                let text = "in maintenance: domains here are neither fenced nor restarted";
                self.desk.note(LogLevel::Warn, "disarmed", text);
                let text = "disarmed: domains of this host are neither fenced nor restarted";
                self.desk.reply_if_asked(weakening.request, true, text);
            }
        } else {
            self.desk.note(LogLevel::Info, "released", "the lease is released, with zero domains");
            self.desk.reply_if_asked(weakening.request, true, "released");
            self.phase = Phase::Over;
        }
        self.publish();
    }
}
