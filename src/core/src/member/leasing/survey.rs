//! What recovery needs to know of the others.

use super::Leasing;
use crate::format::HostState;
use crate::ids::DomainId;
use crate::lease::{PageScan, page_of};
use crate::member::Member;
use crate::member::phase::Phase;
use crate::planted::planted;
use crate::recovery::{GoneHost, Survey, Survivor};
use crate::time::{Instant, Now};

impl Member {
    /// A domain's page as it was last read, none where it was not.
    pub(in crate::member) fn last_scan_of(&self, domain: DomainId) -> Option<&PageScan> {
        let layout = self.header.as_ref()?.layout;
        self.leasing.as_ref()?.scans.get(&page_of(&layout, domain))
    }

    /// Has a domain's page read.
    pub(in crate::member) fn read_page_of(&mut self, domain: DomainId) {
        if let (Some(header), Some(leasing)) = (&self.header, &mut self.leasing) {
            leasing.leases.scan_page(page_of(&header.layout, domain));
        }
    }

    /// After a good scan: what recovery needs to know of the others.
    pub(in crate::member) fn survey_for_recovery(&mut self, now: &Now) {
        if !matches!(self.phase, Phase::Held) {
            return;
        }
        let Some(survey) = self.survey(now.instant) else { return };
        self.with_leasing(now, |context, leasing| {
            let Leasing { leases, recoveries, .. } = leasing;
            recoveries.survey(context, leases, survey);
        });
    }

    fn survey(&self, now: Instant) -> Option<Survey> {
        let watch = self.watch.as_ref()?;
        let own = self.incarnation()?;
        let live = watch.slots().filter_map(|slot| {
            let record = slot.record()?;
            let mine = record.incarnation == own && self.lease_is_live(now);
            let fresh = slot.unchanged_for(now).is_some_and(|age| age < record.terms.lease_ttl);
            let alive =
                record.state == HostState::Held && fresh && watch.evidence(record.incarnation).is_none();
            let survivor = Survivor { incarnation: record.incarnation, host_key: record.host_key };
            (mine || (alive && record.incarnation.slot != own.slot)).then_some(survivor)
        });
        let gone = watch.slots().filter_map(|slot| {
            let incarnation = slot.incarnation().filter(|incarnation| self.counts_as_gone(*incarnation))?;
            let evidence = watch.evidence(incarnation).map(|(evidence, _)| evidence.as_str());
            let evidence = evidence.or(planted!(StalledIsGone).then_some("stalled"))?;
            Some(GoneHost { incarnation, evidence, stall_start: slot.stall_start() })
        });
        let drains = watch.records().map(|record| record.effective_terms().write_drain);
        Some(Survey {
            survivors: live.collect(),
            gone: gone.collect(),
            page_versions: watch.records().map(|record| (record.incarnation, record.page_versions)).collect(),
            write_drain: drains.max().unwrap_or_default().max(self.longest_drain()),
            free_memory_mib: self.free_memory_mib,
        })
    }
}
