//! From joining to held: entries for all running domains, then the page with a new arm count and a provisional end, the
//! fencer's echo, and only then the first `held` (PROTOCOL 6). Held, changes of terms go their way.

use super::phase::Phase;
use super::{LogLevel, Member};
use crate::time::{HolderDeadline, Now};

impl Member {
    /// Adopting: arms once the own record is acknowledged and read back, and nothing that runs here is left without an
    /// entry.
    pub(super) fn adopt(&mut self, now: &Now) {
        let Phase::Adopting { resting } = self.phase else { return };
        if resting == crate::format::HostState::Disarmed && !self.arm_wanted {
            self.phase = Phase::Disarmed;
            return;
        }
        let renewed = self.holder.as_ref().is_some_and(|holder| holder.is_valid(now.instant));
        self.hindrance = self.why_not_arm(now);
        if renewed && self.hindrance.is_none() {
            self.arm(now);
        }
    }

    fn why_not_arm(&self, now: &Now) -> Option<String> {
        if self.fencer_is_silent(now.instant) {
            return Some("the fencer does not beat: is leasefence-fencer running?".to_owned());
        }
        self.why_domains_hinder(now)
    }

    /// Asks the fencer to guard this incarnation. The provisional end is that of the coming write, issued now at the
    /// earliest: a `held` that lands without an acknowledgement is never outlived by what it promises.
    pub(super) fn arm(&mut self, now: &Now) {
        let resting = match self.phase {
            Phase::Adopting { resting } | Phase::Arming { resting, .. } => resting,
            _ => crate::format::HostState::Disarmed,
        };
        let before = self.fencer.as_ref().map_or(0, |fencer| fencer.arm_count);
        if !matches!(self.phase, Phase::Arming { .. }) {
            self.half.arm_count = self.half.arm_count.max(before).saturating_add(1);
        }
        let Some(holder) = &mut self.holder else { return };
        let end = HolderDeadline(now.instant.plus(holder.in_use().terms.lease_ttl));
        holder.arm(end);
        self.phase = Phase::Arming { resting, published: now.instant };
        self.publish();
    }

    /// The echo must be of this arming, this incarnation and these terms.
    pub(super) fn wait_for_echo(&mut self, now: &Now) {
        let Phase::Arming { published, .. } = self.phase else { return };
        let Some(fencer) = &self.fencer else { return };
        let echoed = fencer.armed
            && fencer.latched.is_none()
            && Some(fencer.incarnation) == self.incarnation()
            && fencer.arm_count == self.half.arm_count
            && fencer.terms == self.half.terms;
        if !echoed {
            if now.instant.since_by_faster(published) >= self.config.terms.longest_gap() {
                self.arm(now);
            }
            return;
        }
        let text = format!("the fencer guards arming {}", self.half.arm_count);
        self.desk.note(LogLevel::Info, "armed", text);
        self.arm_wanted = false;
        self.enter(now, Phase::Held);
        if let Some(request) = self.arm_request.take() {
            self.desk.reply(
                request,
                true,
                "armed again: this host is guarded, and its lease is held from its next renewal on",
            );
        }
        self.end_if_doomed(now);
    }

    /// A change of terms under way takes its next step.
    pub(super) fn advance_terms(&mut self, now: &Now) {
        if self.holder.as_ref().is_none_or(|holder| holder.terms().is_settled()) {
            return;
        }
        let unknown = self.own_record_unknown();
        let echo = self.fencer_echo();
        if let Some(holder) = &mut self.holder {
            if !unknown {
                holder.terms_mut().settled();
            }
            holder.keep_sooner_terms(now.instant);
            if let Some(echo) = echo {
                holder.terms_mut().advance(&echo, unknown);
            }
        }
    }
}
