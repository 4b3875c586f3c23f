//! What a finished scan means: for the own lease (read-back, foreign records, convictions, fence requests), and for the
//! others (evidence, and the convictions that follow from it).

use super::convictions::Published;
use super::pass::WrittenRecord;
use super::phase::Phase;
use super::{LogLevel, Member};
use crate::evidence::Evidence;
use crate::format::{Conviction, ConvictionKind, HostRecord};
use crate::ids::{Incarnation, Sequence};
use crate::planted::planted;
use crate::renewal::ReadBack;
use crate::time::{Instant, Now};
use crate::watch::{Latched, LivePath, Scanned, SlotWatch};

impl Member {
    /// Takes a good scan.
    pub(super) fn judge(&mut self, now: &Now, scanned: Scanned) {
        let ended = scanned.ended.instant;
        let renewed = self.judge_own(now, &scanned);
        let live = self.live_path(now, renewed);
        let latched = self.watch.as_mut().map(|watch| watch.apply(scanned, live)).unwrap_or_default();
        for latch in latched {
            self.take_evidence(now, &latch);
        }
        self.fill_convictions();
        self.judge_what_others_ask(now, ended);
        self.look_for_cluster_asks(now, ended);
        self.survey_for_recovery(now);
        match self.phase {
            Phase::Resuming => self.resume_after_scan(now),
            Phase::Weakening(_) => self.weakened_after_scan(),
            _ => {}
        }
    }

    /// The own read-back. Gives the instant before the renewal of this pass was issued, if it counts.
    fn judge_own(&mut self, now: &Now, scanned: &Scanned) -> Option<Instant> {
        let own = self.incarnation()?;
        if matches!(self.phase, Phase::Choosing | Phase::Entering(_)) {
            return None;
        }
        let (_, reading) = scanned.readings.iter().find(|(slot, _)| *slot == own.slot)?;
        let (started, ended) = (scanned.started, scanned.ended.instant);
        let back = self.holder.as_mut()?.read_back(reading.copies(), started, ended, now);
        let written = self.pass.written.filter(|written| written.acknowledged);
        self.tell_read_back(now, &back);
        if let Some(what) = &back.foreign {
            let reason =
                format!("somebody else writes this host's slot: {what}; look for a clone of this machine");
            self.lose_sector(now, &reason);
        } else if let Some(written) = written.filter(|_| back.renewed.is_some() || back.late) {
            self.record_shown(now, written);
        }
        back.renewed
    }

    fn tell_read_back(&mut self, now: &Now, back: &ReadBack) {
        for damaged in &back.damaged {
            let text = format!("{damaged}; it is written again");
            self.desk.note(LogLevel::Warn, "own-record-damaged", text);
        }
        if back.late && !matches!(self.phase, Phase::Ending(_)) {
            let text = "a renewal was acknowledged after the lease's end: it revives nothing";
            self.desk.note(LogLevel::Warn, "renewal-late", text);
        }
        if back.renewed.is_some() {
            let latency = self.holder.as_ref().and_then(crate::renewal::Holder::latency).unwrap_or_default();
            if let Some(leasing) = &mut self.leasing {
                leasing.recoveries.renewal_took(latency, now.instant);
            }
            let text = format!("renewed in {} ms", latency.as_millis());
            self.desk.note(LogLevel::Debug, "renewal", text);
        }
    }

    /// A record of this pass is acknowledged and was read back: what it carried counts.
    fn record_shown(&mut self, now: &Now, written: WrittenRecord) {
        self.publish_convictions(now, written.sequence);
        self.cluster.own.shown(now.instant);
        self.receipt_shown(now, written);
    }

    fn publish_convictions(&mut self, now: &Now, sequence: Sequence) {
        for Published { target, kind } in self.convictions.shown(sequence) {
            if kind == ConvictionKind::Confirmed
                && let Some(latched) = self.watch.as_mut().and_then(|watch| watch.confirm(target, *now))
            {
                self.tell_evidence(&latched);
            }
            for request in self.convictions.take_replies(target) {
                self.desk.reply(
                    request,
                    true,
                    format!("{target} is confirmed to be gone; the conviction is written"),
                );
            }
        }
    }

    /// A member's read path is shown to be live by an own renewal of this pass, under a lease that is valid.
    fn live_path(&self, now: &Now, renewed: Option<Instant>) -> LivePath {
        match renewed {
            Some(renewal_issued) if self.lease_is_live(now.instant) => LivePath::Member { renewal_issued },
            _ if self.lease_is_live(now.instant) => LivePath::NotShown(
                "no sign that this path is live: the own renewal of this pass was not acknowledged and read back",
            ),
            _ if planted!(VerdictWithoutLease) => LivePath::Member { renewal_issued: now.instant },
            _ => LivePath::NotShown("this host's own lease is not valid"),
        }
    }

    fn take_evidence(&mut self, now: &Now, latched: &Latched) {
        self.tell_evidence(latched);
        // Of one that the record carried before this process no publication is told.
        for request in self.convictions.take_replies(latched.incarnation) {
            let text = format!("{} is gone: {}", latched.incarnation, latched.evidence.as_str());
            self.desk.reply(request, true, text);
        }
        let kind = match latched.evidence {
            Evidence::Expired => ConvictionKind::Expired,
            Evidence::Confirmed => ConvictionKind::Confirmed,
            Evidence::Fenced | Evidence::Superseded | Evidence::Released => return,
        };
        if Some(latched.incarnation) != self.incarnation() {
            self.convict(now, latched.incarnation, kind);
        }
    }

    /// Puts a conviction into the own record, at once.
    pub(super) fn convict(&mut self, now: &Now, target: Incarnation, kind: ConvictionKind) {
        let since_s = u32::try_from(now.wall_ns / 1_000_000_000).unwrap_or(u32::MAX);
        if self.convictions.convict(Conviction { target, kind, since_s }) {
            self.pass.hurry();
        }
        self.fill_convictions();
    }

    fn fill_convictions(&mut self) {
        let Some(watch) = &self.watch else { return };
        let is_past = |target: Incarnation| {
            let slot = watch.slot(target.slot);
            slot.is_some_and(|slot| slot.is_past(target.generation))
        };
        self.convictions.fill(is_past);
    }

    fn tell_evidence(&mut self, latched: &Latched) {
        if self.incarnation().is_some_and(|own| own.slot == latched.incarnation.slot) {
            return;
        }
        let Latched { incarnation, evidence, name, .. } = latched;
        let why = match latched.stalled_since {
            Some((start, needed)) => format!(
                "its record stood still for {} ms, and {} ms prove it",
                latched.since.instant.since_by_slower(start).as_millis(),
                needed.as_millis()
            ),
            None => "its record, or an operator, says so".to_owned(),
        };
        let text = format!(
            "{name} ({incarnation}) is gone: {}; {why}: its domains may be started",
            evidence.as_str()
        );
        self.desk.note(LogLevel::Info, "verdict", text);
    }

    /// Convictions of this incarnation, and requests that it fences itself.
    fn judge_what_others_ask(&mut self, now: &Now, ended: Instant) {
        let (Some(me), Some(watch)) = (self.incarnation(), &self.watch) else { return };
        let others = || watch.slots().filter(|slot| slot.slot() != me.slot);
        let convicted = others().find_map(|slot| conviction_of(slot, me));
        let asks =
            |record: &&HostRecord| record.fence_requests.iter().flatten().any(|request| request.target == me);
        let lives: Vec<(HostRecord, bool)> = others()
            .filter_map(|slot| {
                let record = slot.record().filter(asks)?.clone();
                Some((record, slot.advances() && watch.evidence(slot.incarnation()?).is_none()))
            })
            .collect();
        if let Some(by) = convicted {
            self.end(now, &format!("{by} has convicted this incarnation"));
        }
        for (record, live) in lives {
            if self.fence_requests.must_obey(me, &record, live, ended) && matches!(self.phase, Phase::Held) {
                self.end(now, &format!("{} asks this host to fence itself", record.host_name.as_str()));
            }
        }
    }
}

/// Who convicts `me` in either valid copy of a slot's record: in doubt the holder fences.
fn conviction_of(slot: &SlotWatch, me: Incarnation) -> Option<String> {
    if planted!(ConvictionIgnored) {
        return None;
    }
    let valid = slot.reading()?.copies().valid();
    let mut records =
        valid.filter(|record| record.convictions.iter().flatten().any(|conviction| conviction.target == me));
    records.next().map(|record| format!("{} ({})", record.host_name.as_str(), record.incarnation))
}
