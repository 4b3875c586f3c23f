//! Putting together what `status` shows. It decides nothing.

use std::time::Duration;

use super::phase::Phase;
use super::{ClusterStatus, HostStatus, Member, MemberStatus, OwnStatus};
use crate::evidence::Verdict;
use crate::format::{Header, Policy, WatchdogClass};
use crate::time::{Instant, Now};
use crate::watch::HostReport;

impl Member {
    /// All that it knows, for people.
    #[must_use]
    pub fn status(&self, now: &Now) -> MemberStatus {
        let at = now.instant;
        MemberStatus {
            summary: self.summary(),
            cluster: self.header.as_ref().map(cluster_status),
            last_scan_age: self
                .watch
                .as_ref()
                .and_then(crate::watch::Watch::last_scan)
                .map(|s| at.since_by_slower(s.instant)),
            own: self.own_status(at),
            hosts: self.host_statuses(at),
            domains: self.domain_statuses(),
            recoveries: self.recovery_statuses(),
            maintenance: self.maintenance(at),
            warnings: self.all_warnings(at),
        }
    }

    /// The word for the state, as in the record where there is one.
    pub(super) fn state_word(&self) -> &'static str {
        match &self.phase {
            Phase::Opening | Phase::Header(_) | Phase::Choosing | Phase::Entering(_) | Phase::Resuming => {
                "starting"
            }
            Phase::Adopting { resting } | Phase::Arming { resting, .. } => resting.as_str(),
            Phase::Held => "held",
            Phase::Weakening(weakening) => match weakening.step {
                super::phase::WeakenStep::Draining => weakening.from.as_str(),
                _ => weakening.to.as_str(),
            },
            Phase::Disarmed => "disarmed",
            Phase::Ending(ending) if ending.receipts == [false; 2] => "fencing",
            Phase::Ending(_) => "fenced",
            Phase::Over => "released",
        }
    }

    /// Both, in a sentence that refuses something.
    pub(super) fn stands_at(&self) -> String {
        format!("{} ({})", self.state_word(), self.summary())
    }

    pub(super) fn summary(&self) -> String {
        match &self.phase {
            Phase::Opening => "waiting for the lease file".to_owned(),
            Phase::Header(_) => "reading the lease file's header".to_owned(),
            Phase::Choosing => {
                "waiting for the fencer: a lease from before this process may go on".to_owned()
            }
            Phase::Entering(entry) => format!("entering a slot: {}", entry.progress()),
            Phase::Resuming => "restarted: looking at the own record".to_owned(),
            Phase::Adopting { .. } => match &self.hindrance {
                Some(why) => format!("joining: {why}"),
                None => "joining".to_owned(),
            },
            Phase::Arming { .. } => "waiting for the fencer to be armed".to_owned(),
            Phase::Held => "holding the lease".to_owned(),
            Phase::Weakening(weakening) => format!("on the way to {}", weakening.to.as_str()),
            Phase::Disarmed => "in maintenance".to_owned(),
            Phase::Ending(ending) => self.ending_summary(&ending.reason),
            Phase::Over => "ended".to_owned(),
        }
    }

    fn ending_summary(&self, reason: &str) -> String {
        let fencer = self.fencer.as_ref().filter(|fencer| Some(fencer.incarnation) == self.incarnation());
        let step = match fencer {
            None => "the fencer has not answered",
            Some(fencer) if fencer.latched.is_none() => "the fencer has not latched it yet",
            Some(fencer) if fencer.clean.is_some() => "the fencer has proven CLEAN",
            Some(fencer) if fencer.unproven => "the fencer cannot prove that nothing is left",
            Some(_) => "the fencer is at work",
        };
        format!("the lease is over ({reason}); {step}")
    }

    fn own_status(&self, now: Instant) -> OwnStatus {
        let holder = self.holder.as_ref();
        let lease = holder.filter(|holder| holder.is_armed() && !matches!(self.phase, Phase::Disarmed));
        let class = WatchdogClass::from_code(self.config.watchdog_class).unwrap_or_default();
        OwnStatus {
            incarnation: self.incarnation(),
            state: self.state_word(),
            lease_left: lease.and_then(crate::renewal::Holder::lease_end).map(|end| end.left(now)),
            last_renewal_age: holder
                .and_then(crate::renewal::Holder::last_good)
                .map(|good| now.since_by_faster(good)),
            renewal_latency: holder.and_then(crate::renewal::Holder::latency),
            unknown_writes: self.unknown.to_page().len(),
            watchdog: class.as_str(),
            terms: holder.map_or(self.config.terms, |holder| holder.in_use().terms),
            rewritten_copies: holder.map_or(0, crate::renewal::Holder::damaged_copies),
        }
    }

    fn host_statuses(&self, now: Instant) -> Vec<HostStatus> {
        let reports = self.watch.as_ref().map(|watch| watch.reports(now)).unwrap_or_default();
        reports.into_iter().map(|report| self.host_status(report)).collect()
    }

    fn host_status(&self, report: HostReport) -> HostStatus {
        let HostReport { view, reason, lease_left, verdict_left, last_change_age, record, reckoning } =
            report;
        let own = self.incarnation().is_some_and(|own| own.slot == view.slot);
        let class = record.as_ref().map_or(WatchdogClass::None, |record| record.watchdog_class);
        let (domains_protected, domains_ha) = self.domain_counts(view.incarnation);
        HostStatus {
            slot: view.slot,
            generation: view.incarnation.generation,
            name: view.name,
            own,
            verdict: view.verdict,
            reason,
            lease_left,
            verdict_left: verdict_left.filter(|_| !own),
            last_renewal_age: last_change_age,
            watchdog: class.as_str(),
            terms: record.and(reckoning).map(|reckoning| *reckoning.terms()),
            domains_protected,
            domains_ha,
        }
    }

    fn maintenance(&self, now: Instant) -> Option<String> {
        let reports = self.watch.as_ref()?.reports(now);
        let disarmed = reports.iter().filter(|report| report.view.verdict == Verdict::Disarmed);
        let names: Vec<&str> = disarmed.map(|report| report.view.name.as_str()).collect();
        let line = || format!("in maintenance, never fenced and never expired: {}", names.join(", "));
        (!names.is_empty()).then(line)
    }

    fn all_warnings(&self, now: Instant) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        if self.header.is_some() && self.fencer_is_silent(now) {
            warnings.push(
                "the fencer does not beat: nothing is renewed until it does (leasefence-fencer)".to_owned(),
            );
        }
        if let Some(why) = self.hindrance.as_ref().filter(|_| matches!(self.phase, Phase::Adopting { .. })) {
            warnings.push(format!("this host stays joining: {why}"));
        }
        if self.convictions.waiting() > 0 {
            let text =
                "all 8 convictions of this host are in use: a further host's domains wait until one is free";
            warnings.push(text.to_owned());
        }
        if self.unknown.any() && self.in_flight.is_none() {
            warnings.push(
                "a write has an unknown outcome: its sector is not written until that is over".to_owned(),
            );
        }
        warnings.extend(self.domain_warnings());
        let slow = self.holder.as_ref().and_then(crate::renewal::Holder::latency);
        if slow.is_some_and(|latency| latency > Duration::from_secs(1)) {
            warnings.push("the last renewal took more than a second: the storage is slow".to_owned());
        }
        warnings
    }
}

fn cluster_status(header: &Header) -> ClusterStatus {
    let classes =
        [(Policy::ACCEPT_SOFT, "soft"), (Policy::ACCEPT_VIRTUAL, "virtual"), (Policy::ACCEPT_NONE, "none")];
    let accepts =
        classes.iter().filter(|(bit, _)| header.policy.contains(*bit)).map(|(_, word)| *word).collect();
    ClusterStatus {
        name: header.cluster_name.as_str().to_owned(),
        max_hosts: header.layout.max_hosts(),
        accepts,
        test: header.policy.contains(Policy::TEST),
    }
}
