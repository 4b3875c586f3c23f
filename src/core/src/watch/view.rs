//! What can be said of a slot now, in a verdict and in words. It changes nothing.

use std::time::Duration;

use super::reading::Reading;
use super::slot_watch::SlotWatch;
use super::{Reckoning, Watch};
use crate::evidence::{Evidence, HostView, Verdict};
use crate::format::{DecodeError, HostRecord, HostState};
use crate::ids::{Generation, Incarnation, Slot};
use crate::time::{Instant, ObserverDeadline};

/// A record that did not change for this many renewals is called stalled.
const RENEWALS_MISSED: u32 = 3;

/// A host, with all that `status` shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostReport {
    /// Slot, incarnation, name and verdict.
    pub view: HostView,
    /// A sentence that says why.
    pub reason: String,
    /// Lease left at the latest, by the observer's clock.
    pub lease_left: Option<Duration>,
    /// Time until the verdict if nothing changes.
    pub verdict_left: Option<Duration>,
    /// How long ago its record was last seen to change, or was first read.
    pub last_change_age: Option<Duration>,
    /// Its newest valid record.
    pub record: Option<HostRecord>,
    /// How this observer reckons with it.
    pub reckoning: Option<Reckoning>,
}

impl Watch {
    /// What can be said of the host in `slot`; none when there is none.
    #[must_use]
    pub fn report(&self, slot: Slot, now: Instant) -> Option<HostReport> {
        let watch = self.slot(slot)?;
        let mut report = watch.report(now)?;
        if let Some(why) = self.unreadable {
            report.view.verdict = Verdict::Unknown(why.to_owned());
            why.clone_into(&mut report.reason);
            report.verdict_left = None;
        }
        Some(report)
    }

    /// What can be said of all hosts, by slot.
    #[must_use]
    pub fn reports(&self, now: Instant) -> Vec<HostReport> {
        self.slots().filter_map(|watch| self.report(watch.slot, now)).collect()
    }

    /// The slot of the host with this name; the first by slot if two have it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Slot> {
        let mut named =
            self.slots().filter(|watch| watch.reading.as_ref().is_some_and(|reading| !reading.is_vacant()));
        named.find(|watch| watch.name == name).map(|watch| watch.slot)
    }
}

impl SlotWatch {
    /// The newest valid record of the slot's host; none when vacant, or when neither copy is valid.
    #[must_use]
    pub fn record(&self) -> Option<&HostRecord> {
        self.reading.as_ref()?.newest().filter(|record| record.state != HostState::Free)
    }

    /// The last reading.
    #[must_use]
    pub fn reading(&self) -> Option<&Reading> {
        self.reading.as_ref()
    }

    /// The slot's highest incarnation that was seen.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.identity.highest().map(|generation| Incarnation { slot: self.slot, generation })
    }

    /// Which slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// True when the newest record went forward within the last two scans.
    #[must_use]
    pub fn advances(&self) -> bool {
        self.advanced_lately()
    }

    /// True when a generation is over because the slot shows a later life, or was freed, or because it was released.
    #[must_use]
    pub fn is_past(&self, generation: Generation) -> bool {
        self.gone.is_past(generation)
    }

    /// All generations up to this one were freed by an operator; zero when none.
    #[must_use]
    pub fn freed_generation(&self) -> Generation {
        self.identity.freed()
    }

    /// True when the last good scan shows each of the two copies to be zero or `free`: only then are zeros in the slot's lease
    /// pages *empty*. A copy that is damaged, or of a host, may hide one that wrote there.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        let vacant = |copy: &Result<HostRecord, DecodeError>| match copy {
            Ok(record) => record.state == HostState::Free,
            Err(error) => *error == DecodeError::Empty,
        };
        self.reading.as_ref().is_some_and(|r| vacant(&r.copies().a) && vacant(&r.copies().b))
    }

    /// After the read that first showed the copies as they are.
    #[must_use]
    pub fn stall_start(&self) -> Option<Instant> {
        self.reading.as_ref().map(|_| self.stall_start)
    }

    /// How long both copies have been unchanged, by the slower clock: since the last change, or since the first read.
    #[must_use]
    pub fn unchanged_for(&self, now: Instant) -> Option<Duration> {
        let since = self.last_change.unwrap_or(self.first_read);
        self.reading.as_ref().map(|_| now.since_by_slower(since))
    }

    /// How long both copies were *shown* to be unchanged: up to the start of the last good read. What they said since is
    /// not known.
    #[must_use]
    pub fn shown_unchanged_for(&self) -> Option<Duration> {
        let since = self.last_change.unwrap_or(self.first_read);
        self.reading.as_ref().map(|reading| reading.started.since_by_slower(since))
    }

    pub(super) fn may_prove_by_time(&self, now: Instant) -> bool {
        let Some(reckoning) = self.reckoning.filter(|reckoning| reckoning.no_expiry.is_none()) else {
            return false;
        };
        let from = match self.fencing {
            Some((_, start)) => start.plus(reckoning.killed_after_fencing()),
            None => self.stall_start.plus(reckoning.live_path_after()),
        };
        let open =
            self.record().is_some_and(|record| self.gone.evidence(record.incarnation.generation).is_none());
        open && ObserverDeadline(from).reached(now)
    }

    fn report(&self, now: Instant) -> Option<HostReport> {
        let reading = self.reading.as_ref().filter(|reading| !reading.is_vacant())?;
        let generation = self.identity.highest().unwrap_or_default();
        let verdict_left = self.verdict_left(reading, now);
        let verdict = self.verdict(reading, now);
        let reason = self.reason(&verdict, reading);
        let held = reading.newest().is_some_and(|record| record.state == HostState::Held);
        let lease_left = self.reckoning.filter(|_| held).map(|reckoning| {
            reckoning.terms().lease_ttl.saturating_sub(now.since_by_slower(self.stall_start))
        });
        let incarnation = Incarnation { slot: self.slot, generation };
        Some(HostReport {
            view: HostView { slot: self.slot, incarnation, name: self.name.clone(), verdict },
            reason,
            lease_left,
            verdict_left,
            last_change_age: self.unchanged_for(now),
            record: self.record().cloned(),
            reckoning: self.reckoning,
        })
    }

    fn verdict_left(&self, reading: &Reading, now: Instant) -> Option<Duration> {
        self.time_deadline(reading).map(|due| due.left(now))
    }

    fn verdict(&self, reading: &Reading, now: Instant) -> Verdict {
        // What is latched stays, whatever the record says since.
        if let Some((evidence, since)) = self.gone.evidence(self.identity.highest().unwrap_or_default()) {
            return Verdict::Gone { evidence, since };
        }
        if let Some(why) = self.why_unknown(reading) {
            return Verdict::Unknown(why);
        }
        let Some(record) = reading.newest() else { return Verdict::Unknown(reading.faults()) };
        match (record.state, self.fencing) {
            (_, Some((generation, start))) if generation == record.incarnation.generation => {
                let cap = self.reckoning.map_or(Duration::MAX, |reckoning| reckoning.cap_after_fencing());
                Verdict::Fencing { left: ObserverDeadline(start.plus(cap)).left(now) }
            }
            (HostState::Joining, _) => {
                Verdict::Joining { advances: !self.is_silent(now, record.terms.lease_ttl) }
            }
            (HostState::Disarmed, _) => Verdict::Disarmed,
            (HostState::Held, _) => self.held_verdict(reading, record, now),
            (state, _) => Verdict::Unknown(format!("its record says {}", state.as_str())),
        }
    }

    fn held_verdict(&self, reading: &Reading, record: &HostRecord, now: Instant) -> Verdict {
        let patience = record.terms.renewal_interval * RENEWALS_MISSED;
        if !self.is_silent(now, patience) {
            return match self.changes {
                0 => Verdict::Unknown("it has only just begun to be watched".to_owned()),
                _ => Verdict::Alive,
            };
        }
        let why_not = self.withheld.or(self.reckoning.and_then(|reckoning| reckoning.no_expiry));
        Verdict::Stalled { left: self.verdict_left(reading, now), why_not: why_not.map(str::to_owned) }
    }

    fn is_silent(&self, now: Instant, patience: Duration) -> bool {
        self.unchanged_for(now).is_none_or(|age| age > patience)
    }

    fn why_unknown(&self, reading: &Reading) -> Option<String> {
        let highest = self.identity.highest().unwrap_or_default();
        if let Some(error) = reading.unknown_version() {
            return Some(error.to_string());
        }
        if self.identity.conflict().is_some_and(|generation| generation >= highest) {
            return Some("conflict: two machines or two boots claim this slot".to_owned());
        }
        let older = reading.newest().is_some_and(|record| record.incarnation.generation < highest);
        older.then(|| format!("no valid copy of generation {highest}; {}", reading.faults()))
    }

    fn reason(&self, verdict: &Verdict, reading: &Reading) -> String {
        match verdict {
            Verdict::Gone { evidence, .. } => gone_reason(*evidence).to_owned(),
            Verdict::Joining { advances: true } => "it has no lease yet".to_owned(),
            Verdict::Joining { advances: false } => {
                "it never held its lease, and its record stands still: only an operator can confirm it"
                    .to_owned()
            }
            Verdict::Alive => "its record advances".to_owned(),
            Verdict::Fencing { .. } => "its lease has ended, and its fencer is at work".to_owned(),
            Verdict::Stalled { left: Some(_), why_not: None } => "its record stands still".to_owned(),
            Verdict::Stalled { why_not, .. } => {
                let why = why_not.as_deref().unwrap_or("time proves nothing here");
                format!("its record stands still, but {why}")
            }
            Verdict::Disarmed => "it is in maintenance: it never expires".to_owned(),
            Verdict::Unknown(why) if why.is_empty() => reading.faults(),
            Verdict::Unknown(why) => why.clone(),
        }
    }
}

fn gone_reason(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Expired => "it did not renew until it must have been fenced, seen over a path that is live",
        Evidence::Fenced => "its own receipt says that no domain is left and its storage is quiet",
        Evidence::Superseded => "its slot shows a later life, or was freed",
        Evidence::Released => "it stopped cleanly, without domains",
        Evidence::Confirmed => "an operator or a fence agent said so",
    }
}
