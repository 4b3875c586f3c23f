//! Live migration, as far as the own entries go (PROTOCOL 4): `incoming` at the destination until its CPUs run, and the source's
//! entry, which ends once its process is gone. Who waits for what is the member's business.

use super::Leases;
use crate::fencing::OwnLease;
use crate::format::{LeaseBase, LeaseEntry, LeaseState};
use crate::ids::{DomainId, Incarnation, Term};
use crate::lease::jobs::PageSlot;
use crate::lease::own::Edit;
use crate::lease::page_of;
use crate::lease::standing::{Standing, is_elsewhere};
use crate::lease::types::{EndReason, LeaseContext, LeaseEvent};
use crate::lease::view::{KeyView, PageScan};
use crate::planted::planted;
use crate::time::Instant;

impl Leases {
    /// Under which term a domain is incoming here; none when it is not.
    #[must_use]
    pub fn incoming(&self, domain: DomainId) -> Option<Term> {
        self.incoming.term(domain)
    }

    /// The CPUs of an incoming domain run here: it is owned, under the term of its `incoming`. That is written, and written again
    /// while the outcome is unknown.
    pub fn arrived(&mut self, ctx: &LeaseContext<'_>, domain: DomainId) {
        if self.lost || !ctx.may_write {
            return;
        }
        let Some(term) = self.incoming.remove(domain) else { return };
        let Some(entry) = self.entry(domain).copied().filter(|entry| entry.state == LeaseState::Incoming)
        else {
            return;
        };
        let own = LeaseEntry { state: LeaseState::Own, changed_s: ctx.wall_s(), ..entry };
        self.edit(domain, &Edit::Put(own));
        self.domains.acquired(domain, term, false);
        self.domains.started(domain, ctx.now.instant);
        self.events.push_back(LeaseEvent::OwnChanged);
    }

    /// A migration to this host came to nothing: its process is proven gone, its token closed.
    pub fn erase_incoming(&mut self, ctx: &LeaseContext<'_>, domain: DomainId) {
        if self.lost || !ctx.may_write || self.incoming.remove(domain).is_none() {
            return;
        }
        if self.entry(domain).is_some_and(|entry| entry.state == LeaseState::Incoming) {
            self.edit(domain, &Edit::Remove(domain));
        }
        self.events.push_back(LeaseEvent::OwnChanged);
    }

    /// Libvirt has stopped the CPUs of an own domain for its migration (true), or it stays here after all (false). The page
    /// says so to an agent that is restarted.
    pub fn outgoing(&mut self, domain: DomainId, outgoing: bool) {
        if self.domains.outgoing(domain, outgoing) {
            self.events.push_back(LeaseEvent::OwnChanged);
        }
    }

    /// True while libvirt may be migrating an own domain away, its CPUs stopped.
    #[must_use]
    pub fn is_outgoing(&self, domain: DomainId) -> bool {
        self.domains.is_outgoing(domain)
    }

    /// How an own domain stands by a scan of its page that began at or after `since`; none where this scan says nothing of it.
    #[must_use]
    pub fn standing(
        &self,
        scan: &PageScan,
        domain: DomainId,
        since: Instant,
        gone: &dyn Fn(Incarnation) -> bool,
    ) -> Option<Standing> {
        if !self.is_recent(scan, domain, since) {
            return None;
        }
        match self.page(scan.page) {
            Some(own) => Standing::of(scan, own, domain, gone),
            None => Some(Standing::of_listed(scan, self.config.me.slot, self.unread(domain)?, gone)),
        }
    }

    /// True for a domain that was owned when the agent before this one ended, and of which the own sector is not read back yet.
    #[must_use]
    pub fn is_unread(&self, domain: DomainId) -> bool {
        self.unread(domain).is_some()
    }

    fn unread(&self, domain: DomainId) -> Option<&OwnLease> {
        let slot = self.pages.get(usize::from(page_of(&self.config.layout, domain)))?;
        let listed = || self.listed_before.iter().find(|own| own.domain == domain);
        if *slot == PageSlot::NotLoaded { listed() } else { None }
    }

    /// The entry of a domain that was migrated away ends, by a scan that began at or after `since`: as an orphan where the
    /// destination has it by a lease (true), as stopped otherwise (false). None where this scan says nothing of it, or is `patient`
    /// with a sector that cannot be read and may be the destination's. The caller vouches as for [`end`](Self::end).
    pub fn migrated_away(
        &mut self,
        ctx: &LeaseContext<'_>,
        scan: &PageScan,
        domain: DomainId,
        since: Instant,
        patient: bool,
    ) -> Option<bool> {
        let own = self.page(scan.page).filter(|_| self.is_recent(scan, domain, since))?;
        let destination_seen = is_elsewhere(scan, own, domain);
        if !destination_seen && patient && scan.unreadable(own.incarnation().slot).is_some() {
            return None;
        }
        self.end(ctx, domain, EndReason::MigratedAway { destination_seen });
        if planted!(SourceForgets) {
            self.edit(domain, &Edit::Remove(domain));
        }
        Some(destination_seen)
    }

    /// Whether nobody else owns a domain that is incoming here, and it would be recovered were it not: its source has seen it here, or
    /// is over. By a scan that began at or after `since`; none where this scan does not tell.
    #[must_use]
    pub fn is_given_up(
        &self,
        scan: &PageScan,
        domain: DomainId,
        since: Instant,
        gone: &dyn Fn(Incarnation) -> bool,
    ) -> Option<bool> {
        let own = self.page(scan.page).filter(|_| self.is_recent(scan, domain, since))?;
        let view = KeyView::of(scan, own, domain);
        let owned = view.top().is_some_and(|(who, top)| top.state == LeaseState::Own && !gone(*who));
        let tells = owned || scan.unreadable(own.incarnation().slot).is_none();
        tells.then(|| view.base(gone) == LeaseBase::Recoverable)
    }

    fn is_recent(&self, scan: &PageScan, domain: DomainId, since: Instant) -> bool {
        let after = scan.began.boot_ns >= since.boot_ns && scan.began.raw_ns >= since.raw_ns;
        after && scan.page == page_of(&self.config.layout, domain)
    }

    /// True when storage says of a domain's page what memory says.
    #[must_use]
    pub fn is_written(&self, domain: DomainId) -> bool {
        self.own_page(domain).is_some_and(|own| !own.is_dirty())
    }
}
