//! Migrations that are denied: the owner is named, as it stands on storage, for whoever asked for them.

use std::time::Duration;

use super::user_starts::ANSWER_WITHIN;
use super::{Member, RequestId};
use crate::format::{LeasePage, LeaseState};
use crate::ids::{DomainId, Incarnation};
use crate::lease::{SectorView, page_of};
use crate::time::{HolderDeadline, Instant, Now};

/// A denial waits no longer for the owner's name, nor past the time that its hook waits for any answer.
const DENIED_WITHIN: Duration = Duration::from_secs(1);

impl Member {
    /// A denial names the owner: that is read first, where it can be. The hook has waited since `asked`.
    pub(super) fn deny_migration(
        &mut self,
        now: &Now,
        (id, asked): (RequestId, Instant),
        domain: DomainId,
        why: String,
    ) -> Result<(), String> {
        let layout = self.header.as_ref().map(|header| header.layout);
        let (Some(layout), Some(leasing)) = (layout, &mut self.leasing) else { return Err(why) };
        leasing.leases.scan_page(page_of(&layout, domain));
        let until = HolderDeadline(now.instant.plus(DENIED_WITHIN));
        let until = until.min(HolderDeadline(asked.plus(ANSWER_WITHIN)));
        let overtaken = leasing.migrations.denials.insert(domain, (id, until, why));
        self.overtake(overtaken.map(|(id, ..)| id));
        self.domains.settled = false;
        Ok(())
    }

    /// Answers the hooks whose denial waits for a read of this page, or has waited for too long.
    pub(super) fn answer_denied(&mut self, now: &Now, read: Option<u8>) {
        let Some(layout) = self.header.as_ref().map(|header| header.layout) else { return };
        let Some(leasing) = &mut self.leasing else { return };
        let due = |(domain, (_, until, _)): (&DomainId, &(RequestId, HolderDeadline, String))| {
            (until.reached(now.instant) || read == Some(page_of(&layout, *domain))).then_some(*domain)
        };
        let due: Vec<_> = leasing.migrations.denials.iter().filter_map(due).collect();
        for domain in due {
            let denied = self.leasing.as_mut().and_then(|l| l.migrations.denials.remove(&domain));
            if let Some((id, _, why)) = denied {
                let why = self.with_owner(domain, why);
                self.deny_start(id, domain, &why);
            }
        }
    }

    /// Who owns it, as far as this host has read: told with each denial of a migration.
    fn with_owner(&self, domain: DomainId, why: String) -> String {
        match self.owner_elsewhere(domain).map(|owner| self.name_of(owner)) {
            Some(owner) if !why.contains(&owner) => format!("{owner} owns it and keeps it: {why}"),
            _ => why,
        }
    }

    fn owner_elsewhere(&self, domain: DomainId) -> Option<Incarnation> {
        let scan = self.last_scan_of(domain)?;
        let pages = scan.sectors.iter().filter_map(|sector| match sector {
            SectorView::Valid(page) => Some(page),
            SectorView::Empty | SectorView::Unreadable(_) => None,
        });
        let owns = |page: &&LeasePage| page.get(domain).is_some_and(|entry| entry.state == LeaseState::Own);
        let others = pages.filter(|page| Some(page.incarnation) != self.incarnation());
        others.filter(owns).map(|page| page.incarnation).find(|who| !self.counts_as_gone(*who))
    }
}
