//! The facade of domain leases: own sectors, what is queued, and the one job that is at work.

#[cfg(feature = "model-check")]
mod marks;
mod migrating;
mod next;
mod owning;
mod quieting;
mod results;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::backoff::BackOff;
use super::found_tokens::FoundTokens;
use super::incoming::IncomingDomains;
use super::jobs::{Job, PageSlot, Work};
use super::own::{Edit, OwnPage};
use super::owned_domains::OwnedDomains;
use super::page_of;
use super::types::{AcquireOutcome, AcquireRequest, LeaseContext, LeaseEvent, LeasePolicy};
use super::write::unknown_copy;
use crate::fencing::{OwnLease, StartToken};
use crate::format::{Layout, LeaseEntry, LeasePage, RecordCopy};
use crate::ids::{BootId, DomainId, Incarnation};
use crate::storage::{IoDone, Step};
use crate::time::Instant;
use crate::unknown::NEVER;

/// What does not change while an incarnation lives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LeasesConfig {
    /// Where the pages lie.
    pub layout: Layout,
    /// Whose leases.
    pub me: Incarnation,
    /// In which boot.
    pub boot_id: BootId,
    /// The numbers.
    pub policy: LeasePolicy,
    /// Seed of the back-offs.
    pub seed: u64,
}

/// A key that waits for its acquire.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Queued {
    request: AcquireRequest,
    tries: u8,
    not_before: Option<Instant>,
}

/// All domain leases of one incarnation.
///
/// # How a member drives it
/// - After a claim or rejoin: [`Leases::after_rejoin`] with the pages as they were written. After an agent's restart within
///   the incarnation: [`Leases::after_restart`] with the page's own list.
/// - Whenever the storage thread is free and neither a renewal nor a scan is due: [`poll`](Self::poll). `Step::Io` is to be
///   issued (a write only after it was put into the [`UnknownWrites`](crate::unknown::UnknownWrites) *and* the page that
///   carries it was published) and its end given to [`handle_io`](Self::handle_io), after `UnknownWrites::ended`. It is
///   not to be polled in between. `Step::Wait` says when to come back, `Step::Done` is never returned.
/// - After each call: [`poll_event`](Self::poll_event) until there is none. Each event goes to
///   [`Recoveries::handle_lease_event`](crate::recovery::Recoveries::handle_lease_event) as well.
/// - As they come: [`fencer`](Self::fencer), [`listed`](Self::listed), [`stopped`](Self::stopped).
/// - Into the own record: [`page_versions`](Self::page_versions). Into the page: [`own_leases`](Self::own_leases).
/// - `may_write` false in any call ends everything for good: this incarnation acquires and ends nothing any more.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Leases {
    config: LeasesConfig,
    pages: Vec<PageSlot>,
    queue: Vec<Queued>,
    job: Option<Job>,
    domains: OwnedDomains,
    incoming: IncomingDomains,
    /// Entries that were ended in memory and not yet acknowledged.
    ended: BTreeMap<DomainId, OwnLease>,
    /// The page's own list from before a restart, of the sectors that are not read back yet.
    listed_before: Vec<OwnLease>,
    /// Its open start tokens.
    tokens: FoundTokens,
    scans_wanted: BTreeSet<u8>,
    sweep: VecDeque<(u8, RecordCopy)>,
    sweep_due: Option<Instant>,
    drops: VecDeque<u8>,
    drops_due: Option<Instant>,
    load_retry: Option<Instant>,
    back_off: BackOff,
    closed: bool,
    lost: bool,
    events: VecDeque<LeaseEvent>,
}

/// Between two tries of reading an own sector back.
const LOAD_RETRY: Duration = Duration::from_secs(1);

impl Leases {
    /// After a claim or a rejoin: the own sectors as they were written to both copies, acknowledged, page 0 first.
    #[must_use]
    pub fn after_rejoin(config: LeasesConfig, pages: Vec<LeasePage>) -> Self {
        let ready =
            (0_u8..).zip(pages).map(|(page, content)| PageSlot::Ready(OwnPage::written(page, content)));
        let pages = ready.collect();
        Self::new(config, pages, Vec::new())
    }

    /// After an agent's restart within the incarnation: the own sectors are read back, each once no write to it is unknown
    /// any more; own entries stay as they are until libvirt has answered and the fencer has scanned.
    #[must_use]
    pub fn after_restart(config: LeasesConfig, listed: &[OwnLease]) -> Self {
        let pages = (0..config.layout.pages()).map(|_| PageSlot::NotLoaded).collect();
        Self::new(config, pages, listed.to_vec())
    }

    fn new(config: LeasesConfig, pages: Vec<PageSlot>, listed_before: Vec<OwnLease>) -> Self {
        let back_off = BackOff::new(config.seed);
        Self {
            config,
            pages,
            queue: Vec::new(),
            job: None,
            domains: OwnedDomains::default(),
            incoming: IncomingDomains::default(),
            ended: BTreeMap::new(),
            listed_before,
            tokens: FoundTokens::default(),
            scans_wanted: BTreeSet::new(),
            sweep: VecDeque::new(),
            sweep_due: None,
            drops: VecDeque::new(),
            drops_due: None,
            load_retry: None,
            back_off,
            closed: false,
            lost: false,
            events: VecDeque::new(),
        }
    }

    /// The start tokens in the page from before an agent's restart: each stays in the page until it is proven closed, and no
    /// own entry of its domain ends before.
    pub fn adopt_tokens(&mut self, tokens: &[StartToken]) {
        self.tokens = FoundTokens::new(tokens);
    }

    /// Those of them that are still open, for the page, beside
    /// [`Recoveries::tokens`](crate::recovery::Recoveries::tokens).
    #[must_use]
    pub fn tokens(&self) -> Vec<StartToken> {
        self.tokens.to_page()
    }

    /// Whose leases these are.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.config.me
    }

    /// Queues an acquire; [`LeaseEvent::Acquire`] tells its outcome. A domain that is queued or at work already is left
    /// as it is.
    pub fn acquire(&mut self, request: AcquireRequest) {
        if self.lost || self.closed {
            let outcome = AcquireOutcome::LostLease;
            self.events.push_back(LeaseEvent::Acquire { domain: request.domain, outcome });
        } else if !self.is_acquiring(request.domain) {
            self.queue.push(Queued { request, tries: 0, not_before: None });
        }
    }

    /// True while an acquire of this domain is queued or at work.
    #[must_use]
    pub fn is_acquiring(&self, domain: DomainId) -> bool {
        let at_work = match &self.job {
            Some(Job { work: Work::Acquire(_, tries), .. }) => tries.contains_key(&domain),
            _ => false,
        };
        at_work || self.queue.iter().any(|queued| queued.request.domain == domain)
    }

    /// Disarming or releasing: what is queued ends, nothing new is taken. What is at work ends by itself; it is over, and no
    /// want is left, once [`is_quiet`](Self::is_quiet).
    pub fn close(&mut self) {
        self.closed = true;
        self.drain_queue();
    }

    /// Takes acquires again, after a [`close`](Self::close).
    pub fn reopen(&mut self) {
        self.closed = false;
    }

    /// True between a [`close`](Self::close) and a [`reopen`](Self::reopen).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// True when nothing is at work that may write, and storage holds what memory says. The round of looks at the own sectors does not
    /// count: where storage is slow the next begins before it ends.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.job.as_ref().is_none_or(|job| matches!(job.work, Work::Reread(_)))
            && self.queue.is_empty()
            && self.pages.iter().all(|p| p.ready().is_some_and(|o| !o.is_dirty()))
    }

    /// Asks for a read of a page: [`LeaseEvent::Scanned`].
    pub fn scan_page(&mut self, page: u8) {
        if page < self.config.layout.pages() {
            self.scans_wanted.insert(page);
        }
    }

    /// This host's entry of a domain, from memory.
    #[must_use]
    pub fn entry(&self, domain: DomainId) -> Option<&LeaseEntry> {
        self.own_page(domain).and_then(|own| own.content().get(domain))
    }

    /// The own sector of a page, once it is known.
    #[must_use]
    pub fn page(&self, page: u8) -> Option<&OwnPage> {
        self.pages.get(usize::from(page)).and_then(PageSlot::ready)
    }

    /// True when this host owns the domain's lease, acknowledged.
    #[must_use]
    pub fn owns(&self, domain: DomainId) -> bool {
        self.domains.contains(domain)
    }

    /// True while `own` of it may stand on storage, or come to stand there: it is owned, incoming, being acquired, or its end is
    /// not acknowledged yet.
    #[must_use]
    pub fn may_be_own(&self, domain: DomainId) -> bool {
        let has = self.owns(domain) || self.incoming(domain).is_some();
        has || self.is_acquiring(domain) || self.ended.contains_key(&domain)
    }

    /// The domains that are owned, for the page; also those whose end is not acknowledged yet: an agent that is restarted
    /// finds `own` of them on storage, and must know that they ran. Of an own sector that this process has not read back yet: what
    /// the page has listed before.
    #[must_use]
    pub fn own_leases(&self) -> Vec<OwnLease> {
        self.listed_in_page().collect()
    }

    /// True when the page lists them as they are.
    #[must_use]
    pub fn are_listed(&self, list: &[OwnLease]) -> bool {
        self.listed_in_page().eq(list.iter().copied())
    }

    fn listed_in_page(&self) -> impl Iterator<Item = OwnLease> {
        let ending = self.ended.values().filter(|own| !self.domains.contains(own.domain));
        self.domains.to_page().chain(ending.copied()).chain(self.listed_before.iter().copied())
    }

    /// The version of each page, for the own record: a hint to peers that there is something to read.
    #[must_use]
    pub fn page_versions(&self) -> [u16; 16] {
        let mut versions = [0; 16];
        for (version, page) in versions.iter_mut().zip(&self.pages) {
            let sequence = page.ready().map_or(0, |own| own.content().sequence.0);
            *version = u16::try_from(sequence & 0xffff).unwrap_or_default();
        }
        versions
    }

    /// True while something happened that was not taken yet.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<LeaseEvent> {
        self.events.pop_front()
    }

    /// The next storage operation, or when to come back ([`NEVER`]: only when something happens).
    pub fn poll(&mut self, ctx: &LeaseContext<'_>) -> Step<()> {
        if self.lost || !ctx.may_write {
            self.lose(ctx);
            return Step::Wait(NEVER);
        }
        self.forgive(ctx);
        loop {
            self.tell_ended();
            self.refuse_unusable(ctx);
            if self.job.is_none() {
                self.job = self.next_job(ctx);
            }
            let Some(job) = &mut self.job else { return Step::Wait(self.next_due(ctx)) };
            let Some(own) = self.pages.get_mut(usize::from(job.page)) else { return Step::Wait(NEVER) };
            match job.poll(ctx, own) {
                Step::Io(op) => return Step::Io(op),
                Step::Wait(until) => return Step::Wait(until),
                Step::Done(end) => {
                    let page = job.page;
                    self.job = None;
                    self.finish(ctx, page, end);
                }
            }
        }
    }

    /// The end of the operation that was asked for. Called also when the lease has ended meanwhile.
    pub fn handle_io(&mut self, ctx: &LeaseContext<'_>, done: &IoDone) {
        let Some(job) = &mut self.job else { return };
        if let Some(own) = self.pages.get_mut(usize::from(job.page)) {
            job.handle_io(ctx, own, done);
        }
        if !ctx.may_write {
            self.lose(ctx);
        }
    }

    fn own_page(&self, domain: DomainId) -> Option<&OwnPage> {
        self.page(page_of(&self.config.layout, domain))
    }

    fn edit(&mut self, domain: DomainId, edit: &Edit) {
        let page = page_of(&self.config.layout, domain);
        if let Some(own) = self.pages.get_mut(usize::from(page)).and_then(PageSlot::ready_mut) {
            own.edit(edit);
        }
    }

    fn is_unknown(&self, page: u8, ctx: &LeaseContext<'_>) -> bool {
        unknown_copy(&self.config.layout, page, self.config.me.slot, ctx)
    }

    fn note(&mut self, text: String) {
        self.events.push_back(LeaseEvent::Note(text));
    }
}
