//! The end of an incarnation: page, latch, `fencing`, CLEAN, receipt, and then a rejoin with the next generation. Once
//! over, nothing revives it: neither a late acknowledgement, nor a process that was stopped and goes on.

use std::time::Duration;

use super::pass::WrittenRecord;
use super::phase::{Ending, Phase};
use super::{Command, LogLevel, Member};
use crate::fencing::Clean;
use crate::format::{HostState, RecordCopy};
use crate::planted::planted;
use crate::time::{Instant, Now, ObserverDeadline};

/// Between two kills by the agent itself, where the fencer is silent.
const KILL_AGAIN: Duration = Duration::from_secs(1);

impl Member {
    /// Looks whether the own lease is over: latched by the fencer, or past its end by the faster clock.
    pub(super) fn watch_own_end(&mut self, now: &Now) {
        if !matches!(self.phase, Phase::Held | Phase::Weakening(_) | Phase::Arming { .. }) {
            return;
        }
        if self.latched().is_some() {
            self.end(now, "the fencer has latched the lease's end");
            return;
        }
        // It keeps the same end until it lets go: what it has not latched then is no lease any more that could end.
        if self.fencer_decides() {
            return;
        }
        let armed =
            self.holder.as_ref().is_some_and(|holder| holder.is_armed() && !holder.is_valid(now.instant));
        let revivable = planted!(LateAckRevives) && (self.in_flight.is_some() || self.pass.is_scanning());
        if armed && !revivable && !matches!(self.phase, Phase::Arming { .. }) {
            self.end(now, "the lease ran out without a renewal that counts");
        }
    }

    /// Ends the incarnation: the page says so at once, the fencer does the rest.
    ///
    /// A host that is not armed has no fencer that would act on an end, and may have domains that it is adopting: it is
    /// armed first, and ended then. So is one whose fencer may have let go without that it was seen to.
    pub(super) fn end(&mut self, now: &Now, reason: &str) {
        let armed = self.holder.as_ref().is_some_and(crate::renewal::Holder::is_armed);
        match self.phase {
            _ if self.fencer_decides() => self.doom(now, reason),
            Phase::Held => self.end_armed(now, reason),
            Phase::Weakening(_) | Phase::Resuming if armed => self.end_armed(now, reason),
            Phase::Arming { .. } if self.latched().is_some() => self.end_armed(now, reason),
            Phase::Arming { .. } => self.doomed = Some(reason.to_owned()),
            Phase::Adopting { .. } | Phase::Disarmed if self.doomed.is_none() => {
                self.doomed = Some(reason.to_owned());
                self.desk.note(LogLevel::Warn, "lease-end", format!("{reason}: armed, in order to fence"));
                self.arm(now);
            }
            Phase::Opening
            | Phase::Header(_)
            | Phase::Choosing
            | Phase::Entering(_)
            | Phase::Resuming
            | Phase::Weakening(_)
            | Phase::Adopting { .. }
            | Phase::Disarmed
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    /// What the page promises ends now: a fencer that still guards latches it, and cannot let go any more. One that has let go
    /// sees nothing in it, and is armed anew once that was seen: under the arm count before it would never latch.
    fn doom(&mut self, now: &Now, reason: &str) {
        if self.doomed.is_none() {
            self.doomed = Some(reason.to_owned());
            let text = format!(
                "{reason}: the fencer, which was asked to let go, latches the end or is armed for it"
            );
            self.desk.note(LogLevel::Warn, "lease-end", text);
        }
        if let Some(holder) = &mut self.holder {
            holder.end_now(now.instant);
        }
        self.publish();
    }

    /// The fencer guards this incarnation, or is to guard it for that: what it was doomed for ends it.
    pub(super) fn end_if_doomed(&mut self, now: &Now) {
        if let Some(reason) = self.doomed.take() {
            self.end(now, &reason);
        }
    }

    fn end_armed(&mut self, now: &Now, reason: &str) {
        let doomed = self.doomed.take();
        let reason = doomed.as_deref().unwrap_or(reason);
        let Some(holder) = &mut self.holder else { return };
        holder.end_now(now.instant);
        let incarnation = holder.incarnation();
        self.refuse_all(reason);
        self.desk.note(LogLevel::Error, "lease-end", format!("the lease of {incarnation} is over: {reason}"));
        let ending = Ending {
            reason: reason.to_owned(),
            since: *now,
            killed: None,
            latch_told: false,
            clean_told: false,
            receipts: [false; 2],
            receipted: None,
        };
        self.enter(now, Phase::Ending(ending));
        self.publish();
    }

    /// Who asked for something that this incarnation can no longer do hears so.
    fn refuse_all(&mut self, reason: &str) {
        let text = format!("this host's own lease ended first: {reason}");
        let asks = self.fence_requests.close_all().into_iter().map(|ask| ask.id);
        let mut requests: Vec<_> =
            asks.chain(self.convictions.take_all_replies()).chain(self.arm_request.take()).collect();
        requests.extend(self.cluster.own.close());
        if let Phase::Weakening(weakening) = &self.phase {
            requests.extend(weakening.request);
        }
        requests.into_iter().for_each(|request| self.desk.reply(request, false, text.clone()));
    }

    /// What the record of an ended incarnation says: nothing before the latch, `fencing` until CLEAN, then the receipt.
    pub(super) fn ending_state(&self, now: Instant) -> Option<HostState> {
        if !planted!(FencingBeforeLatch) {
            self.latched()?;
        }
        Some(if self.proven_clean(now).is_some() { HostState::Fenced } else { HostState::Fencing })
    }

    /// CLEAN for this incarnation. After a quiescence by force it counts only `write_drain` later: the server may still
    /// hold a write.
    fn proven_clean(&self, now: Instant) -> Option<Clean> {
        let own = self.incarnation()?;
        let fencer = self.fencer.as_ref().filter(|fencer| fencer.incarnation == own)?;
        let clean = fencer.clean.filter(|clean| clean.generation == own.generation)?;
        let drained = || ObserverDeadline(clean.at.plus(self.longest_drain())).reached(now);
        (!clean.forced || drained() || planted!(ReceiptAfterForce)).then_some(clean)
    }

    /// The longest that storage may hold a write of this host, by any terms that are in use or wanted.
    pub(super) fn longest_drain(&self) -> Duration {
        let header = self.header.as_ref().map(|header| header.min_write_drain).unwrap_or_default();
        let in_use = self.holder.as_ref().map(|holder| holder.in_use().terms.write_drain).unwrap_or_default();
        header.max(in_use).max(self.config.terms.write_drain)
    }

    /// Waits for the fencer, tells what it did, and rejoins after the receipt.
    pub(super) fn ending_turn(&mut self, now: &Now) {
        self.kill_where_the_fencer_is_silent(now);
        let latched = self.latched().is_some();
        let clean = self.proven_clean(now.instant);
        let Phase::Ending(ending) = &mut self.phase else { return };
        if latched && !ending.latch_told {
            ending.latch_told = true;
            self.pass.hurry();
            self.desk.note(LogLevel::Info, "latched", "the fencer has latched the lease's end");
        }
        if let Some(clean) = clean
            && !ending.clean_told
        {
            ending.clean_told = true;
            self.pass.hurry();
            let after = clean.at.since_by_faster(ending.since.instant).as_millis();
            let text = format!("the fencer has proven, {after} ms after the end, that no domain is left");
            self.desk.note(LogLevel::Info, "clean", text);
        }
        if clean.is_some()
            && let Some(what) = self.replaced.clone()
        {
            self.fatal(&what);
            return;
        }
        self.rejoin_when_settled(now);
    }

    /// The receipt lies in both copies, and no write of the old incarnation may still land (R11): until then the receipt
    /// is written again and again, which is what the hold is counted by.
    fn rejoin_when_settled(&mut self, now: &Now) {
        let Phase::Ending(ending) = &self.phase else { return };
        let idle = self.in_flight.is_none() && !self.pass.is_scanning();
        let shown = ending
            .receipted
            .is_some_and(|since| now.instant.since_by_slower(since) >= self.read_by_all_within());
        let settled = !self.unknown.any() || planted!(RejoinBeforeDrain);
        if ending.receipts == [true; 2] && idle && shown && settled {
            self.rejoin(now);
        }
    }

    /// How long a record must lie there, so that every peer's next scan finds it: a rejoin writes over the receipt, and what it
    /// shows then is evidence only `write_drain` later.
    pub(super) fn read_by_all_within(&self) -> Duration {
        let records = self.watch.iter().flat_map(crate::watch::Watch::records);
        let slowest = records.map(|record| record.terms.scan_interval).max().unwrap_or_default();
        slowest.max(self.config.terms.scan_interval) * 2
    }

    /// The record of this pass was read back: a receipt in both copies ends the incarnation.
    pub(super) fn receipt_shown(&mut self, now: &Now, written: WrittenRecord) {
        let Phase::Ending(ending) = &mut self.phase else { return };
        if written.state != HostState::Fenced {
            return;
        }
        if ending.receipts == [false; 2] {
            let text =
                "the receipt is written: this incarnation is fenced, its domains may be started elsewhere";
            self.desk.note(LogLevel::Info, "fenced", text);
        }
        ending.receipted.get_or_insert(now.instant);
        ending.receipts[usize::from(RecordCopy::of_sequence(written.sequence) == RecordCopy::B)] = true;
        if ending.receipts != [true; 2] {
            self.pass.hurry();
        }
    }

    /// The second line where there is no watchdog: nobody else would end the domains if the fencer is gone.
    fn kill_where_the_fencer_is_silent(&mut self, now: &Now) {
        let (silent, no_watchdog) = (self.fencer_is_silent(now.instant), self.config.watchdog_class == 0);
        let Phase::Ending(ending) = &mut self.phase else { return };
        let due = ending.killed.is_none_or(|last| now.instant.since_by_faster(last) >= KILL_AGAIN);
        if silent && no_watchdog && due && !planted!(RenewsWithoutFencer) {
            ending.killed = Some(now.instant);
            let text = "the lease is over and the fencer is silent: the agent kills all domains itself";
            self.desk.note(LogLevel::Error, "kill-all", text);
            self.desk.push(Command::KillAll);
        }
    }

    /// The path leads to another file: a lost lease. Nothing is written any more, to neither file.
    pub(super) fn file_replaced(&mut self, now: &Now, what: &str) {
        let reason =
            format!("the lease file was replaced ({what}); mend the path, then start the agent again");
        self.lose_sector(now, &reason);
    }

    /// The own sector is no longer this host's: it is not written any more. With a lease the fencer ends it first.
    pub(super) fn lose_sector(&mut self, now: &Now, reason: &str) {
        self.replaced.get_or_insert_with(|| reason.to_owned());
        let armed = self.holder.as_ref().is_some_and(crate::renewal::Holder::is_armed);
        match self.phase {
            Phase::Held | Phase::Ending(_) | Phase::Arming { .. } => self.end(now, reason),
            Phase::Weakening(_) | Phase::Resuming if armed => self.end(now, reason),
            _ => self.fatal(reason),
        }
    }

    /// This process can take no part any more. The fencer goes on.
    pub(super) fn fatal(&mut self, reason: &str) {
        self.desk.note(LogLevel::Error, "fatal", reason);
        self.desk.push(Command::Fatal(reason.to_owned()));
        self.phase = Phase::Over;
    }
}
