//! Domain leases and recovery, as the member drives them: what they may rely on at each step, when they may use the
//! storage thread, and what follows from what they say. The rules of leases are theirs.

mod survey;
mod turn;

use std::collections::BTreeMap;

use super::migration::{Migrations, Return, Told};
use super::phase::Phase;
use super::user_starts::UserStarts;
use super::{Member, RecoveryStatus};
use crate::evidence::{Evidence, Verdict};
use crate::fencing::{OwnLease, StartToken};
use crate::format::{LeaseFlags, LeasePage, LeaseState};
use crate::ids::{DomainId, Incarnation, Slot};
use crate::lease::{LeaseContext, LeasePolicy, Leases, LeasesConfig, OwnPage, PageScan, SectorView};
use crate::planted::planted;
use crate::recovery::Recoveries;
use crate::time::{Instant, Now};

/// Leases and recoveries of the own incarnation.
#[derive(Clone, Debug)]
pub(super) struct Leasing {
    pub(super) leases: Leases,
    pub(super) recoveries: Recoveries,
    pub(super) starts: UserStarts,
    pub(super) migrations: Migrations,
    /// Each page as last read, for `status`.
    pub(super) scans: BTreeMap<u8, PageScan>,
    /// When lease work goes on, as it said when it was last asked.
    pub(super) due: Option<Instant>,
    /// True once it was told that it may not write any more: it takes part no more.
    pub(super) lost: bool,
}

impl Leasing {
    /// All open start tokens: of this process's starts, users' among them, and of those before it that are not proven closed.
    fn tokens(&self) -> Vec<StartToken> {
        let mut tokens = self.recoveries.tokens();
        tokens.extend(self.leases.tokens());
        tokens.extend(self.starts.tokens());
        tokens
    }
}

impl Member {
    /// A new incarnation: the own sectors as they were written by the entry.
    pub(super) fn leases_after_rejoin(&mut self, own: Incarnation, pages: Vec<LeasePage>) {
        let Some(config) = self.leases_config(own) else { return };
        self.begin_leasing(own, Leases::after_rejoin(config, pages));
    }

    /// The same incarnation goes on in another process, or after a break of its lease while it was joining.
    pub(super) fn leases_after_restart(&mut self, own: Incarnation) {
        let Some(config) = self.leases_config(own) else { return };
        let listed = self.half.own.clone();
        let mut leases = Leases::after_restart(config, &listed);
        leases.adopt_tokens(&self.half.tokens);
        self.begin_leasing(own, leases);
        // Libvirt may have resumed one of them, and it may be long until the own sectors may be read back.
        if let Some(leasing) = &mut self.leasing {
            let look = |own: &OwnLease| (own.domain, Return::new(Instant::default(), Told::Nothing));
            leasing.migrations.returns.extend(listed.iter().map(look));
        }
    }

    fn leases_config(&mut self, me: Incarnation) -> Option<LeasesConfig> {
        let seed = self.draw();
        let layout = self.header.as_ref()?.layout;
        Some(LeasesConfig { layout, me, boot_id: self.config.boot_id, policy: LeasePolicy::default(), seed })
    }

    fn begin_leasing(&mut self, own: Incarnation, leases: Leases) {
        let Some(header) = &self.header else { return };
        let recoveries = Recoveries::new(self.config.recovery, header.layout, own);
        let starts = UserStarts::default();
        self.leasing = Some(Box::new(Leasing {
            leases,
            recoveries,
            starts,
            migrations: Migrations::default(),
            scans: BTreeMap::new(),
            due: None,
            lost: false,
        }));
        self.domains.settled = false;
    }

    /// Calls leases and recoveries with what they may rely on now.
    pub(super) fn with_leasing<R>(
        &mut self,
        now: &Now,
        call: impl FnOnce(&LeaseContext<'_>, &mut Leasing) -> R,
    ) -> Option<R> {
        let mut leasing = self.leasing.take()?;
        let may_write = self.may_write_leases(now.instant);
        leasing.lost |= !may_write;
        let gone = |incarnation: Incarnation| self.counts_as_gone(incarnation);
        let vacant = |slot: Slot| self.is_vacant(slot);
        let hosts = self.hosts();
        let context =
            LeaseContext { now, may_write, unknown: &self.unknown, gone: &gone, vacant: &vacant, hosts };
        let result = call(&context, &mut leasing);
        self.leasing = Some(leasing);
        Some(result)
    }

    /// True while the own lease is valid and not latched; while joining or in maintenance it is renewed and watched by
    /// the own deadlines like one, since nobody but an operator can call such a host gone.
    fn may_write_leases(&self, now: Instant) -> bool {
        let resting = matches!(self.phase, Phase::Adopting { .. } | Phase::Arming { .. } | Phase::Disarmed);
        let valid = self.holder.as_ref().is_some_and(|holder| holder.is_valid(now));
        self.replaced.is_none() && (self.lease_is_live(now) || (resting && valid && self.latched().is_none()))
    }

    /// True for an incarnation whose evidence counts already: an expired or confirmed one only once its conviction is in
    /// the own record, acknowledged and read back, or once it is superseded, freed or released as well (its conviction may
    /// have been reused then).
    pub(super) fn counts_as_gone(&self, incarnation: Incarnation) -> bool {
        let slot = self.watch.as_ref().and_then(|watch| watch.slot(incarnation.slot));
        let past = slot.is_some_and(|slot| slot.is_past(incarnation.generation));
        match self.evidence(incarnation) {
            Some((Evidence::Expired | Evidence::Confirmed, _)) => {
                past || self.convictions.is_published(incarnation)
            }
            Some((Evidence::Fenced | Evidence::Superseded | Evidence::Released, _)) => true,
            None => planted!(StalledIsGone) && self.is_stalled(incarnation),
        }
    }

    /// Only a planted bug calls another host gone that is stalled.
    fn is_stalled(&self, incarnation: Incarnation) -> bool {
        let watch = self.watch.as_ref().filter(|_| self.incarnation() != Some(incarnation));
        let report = watch.and_then(|watch| watch.report(incarnation.slot, self.last.instant));
        let view = report.map(|report| report.view).filter(|view| view.incarnation == incarnation);
        view.is_some_and(|view| matches!(view.verdict, Verdict::Stalled { .. }))
    }

    fn is_vacant(&self, slot: Slot) -> bool {
        self.watch.as_ref().and_then(|watch| watch.slot(slot)).is_some_and(crate::watch::SlotWatch::is_vacant)
    }

    fn hosts(&self) -> u16 {
        let hosts = self.watch.as_ref().map_or(0, crate::watch::Watch::hosts);
        u16::try_from(hosts).unwrap_or(u16::MAX).max(1)
    }

    /// True when no lease work is under way and no want is left.
    pub(super) fn lease_work_is_over(&self) -> bool {
        self.leasing.as_ref().is_none_or(|leasing| {
            let idle =
                leasing.recoveries.is_quiet() && leasing.starts.is_empty() && !leasing.migrations.arrive();
            idle && leasing.leases.is_quiet() && leasing.tokens().is_empty()
        })
    }

    /// An own entry that stands, and why it has not ended: a record `released` would make it one that others may recover.
    pub(super) fn why_an_entry_stands(&self) -> Option<(DomainId, &str)> {
        let leases = &self.leasing.as_ref()?.leases;
        let owned = || leases.own_leases().first().map(|lease| (lease.domain, "its end is not proven yet"));
        leases.not_quiet().next().or_else(owned)
    }

    /// The version of each own page, for the own record: a hint to peers.
    pub(super) fn page_versions(&self) -> [u16; 16] {
        self.leasing.as_ref().map(|leasing| leasing.leases.page_versions()).unwrap_or_default()
    }

    /// What the page carries of leases.
    pub(super) fn refresh_half_of_leases(&mut self) {
        let Some(leasing) = &self.leasing else { return };
        self.half.tokens = leasing.tokens();
        if !leasing.leases.are_listed(&self.half.own) {
            self.half.own = leasing.leases.own_leases();
        }
    }

    pub(super) fn recovery_statuses(&self) -> Vec<RecoveryStatus> {
        self.leasing.as_ref().map(|leasing| leasing.recoveries.status()).unwrap_or_default()
    }

    /// How many domains an incarnation owns, and how many of them are HA, as last read; none before the pages were read.
    pub(super) fn domain_counts(&self, incarnation: Incarnation) -> (Option<u32>, Option<u32>) {
        let Some(leasing) = self.leasing.as_ref().filter(|leasing| !leasing.scans.is_empty()) else {
            return (None, None);
        };
        let slot = incarnation.slot.index();
        let scanned = leasing.scans.iter().filter_map(|(number, scan)| {
            // What this host has written itself it need not read.
            if self.incarnation() == Some(incarnation) {
                return leasing.leases.page(*number).map(OwnPage::content);
            }
            match scan.sectors.get(slot) {
                Some(SectorView::Valid(page)) if page.incarnation == incarnation => Some(page),
                _ => None,
            }
        });
        let own = scanned.flat_map(|page| page.entries().filter(|entry| entry.state == LeaseState::Own));
        let (mut all, mut ha) = (0, 0);
        for entry in own {
            all += 1;
            ha += u32::from(entry.flags.contains(LeaseFlags::HA));
        }
        (Some(all), Some(ha))
    }
}
