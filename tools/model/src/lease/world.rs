//! The whole cluster of the lease model: hosts, the page on storage, writes that may land late, and what a domain's user
//! may rely on. It takes steps and judges states; what a host does is the core's business.

use leasefence_core::format::{LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::{Incarnation, Slot, Term};
use leasefence_core::lease::{
    AcquireKind, AcquireOutcome, AcquireRequest, DomainSpec, EndReason, LeaseContext, LeaseEvent,
    for_next_generation,
};
use leasefence_core::member::StopReason;
use leasefence_core::storage::IoOp;
use leasefence_core::time::Now;

use super::host::{Asked, Host, Process, Waits};
use super::sectors::{Sector, newest, top_of};
use super::step::Step;
use super::{Bounds, DOMAIN, boot_of, layout};

/// What the user of the domain was told last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Wish {
    /// It runs: it must run somewhere, or be found again.
    Runs,
    /// A stop or start is under way: either will do.
    Unclear,
    /// It is stopped, acknowledged: nobody but a user may start it.
    Stopped,
}

/// A write that may land: whose sector, which copy, what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Late {
    pub(super) slot: u16,
    pub(super) copy: RecordCopy,
    pub(super) sector: Sector,
}

/// The cluster.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(super) hosts: Vec<Host>,
    pub(super) disk: Vec<[Sector; 2]>,
    pub(super) late: Vec<Late>,
    pub(super) left: Bounds,
    pub(super) wish: Wish,
    /// The tops, by term, that a recovery was started from since the user's last start.
    pub(super) recovered: Vec<Term>,
    /// What went wrong in a step.
    pub(super) wrong: Option<&'static str>,
    /// False where damage may lose what a host said.
    keeps_all: bool,
    /// A read of the page passes the sectors in their order.
    pub(super) in_order: bool,
}

impl World {
    /// The domain runs on host 0, by a user's start.
    pub(super) fn new(hosts: u16, bounds: Bounds, in_order: bool) -> Self {
        let fresh: Vec<Host> = (0..hosts).map(|slot| Host::new(slot, hosts)).collect();
        let sector = |host: &Host| host.leases().and_then(|leases| leases.page(0)).map(|own| Sector::of(own.content().clone()));
        let disk = fresh.iter().map(|host| [sector(host).unwrap_or(Sector::DAMAGED); 2]).collect();
        let mut world = Self {
            hosts: fresh,
            disk,
            late: Vec::new(),
            left: Bounds { starts: 1, ..Bounds::default() },
            wish: Wish::Stopped,
            recovered: Vec::new(),
            wrong: None,
            keeps_all: bounds.damages < 2,
            in_order,
        };
        world.take(Step::UserStarts(0, 1));
        let mut steps = Vec::new();
        while !world.host(0).runs() && steps.len() < 100 {
            let mut next = Vec::new();
            world.steps(&mut next);
            let own = |step: &&Step| matches!(step, Step::Lands(0) | Step::Reads(0, _) | Step::Runs(0));
            let Some(step) = next.iter().find(own) else { break };
            world.take(*step);
            steps.push(*step);
        }
        world.left = bounds;
        world
    }

    pub(super) fn host(&self, slot: u16) -> &Host {
        &self.hosts[usize::from(slot)]
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.hosts.len()).unwrap_or(u16::MAX)
    }

    /// The oracle: each host's last generation, and whether that is dead.
    fn oracle(&self) -> impl Fn(Incarnation) -> bool + use<> {
        let lives: Vec<(u32, bool)> = self.hosts.iter().map(|host| (host.generation, host.dead)).collect();
        move |who: Incarnation| {
            let life = lives.get(who.slot.index());
            life.is_some_and(|(last, dead)| who.generation.0 < *last || (who.generation.0 == *last && *dead))
        }
    }

    /// What happens to one host, then everything that follows at once.
    fn on(&mut self, slot: u16, act: impl FnOnce(&mut Host, &dyn Fn(Incarnation) -> bool, u16)) {
        let (gone, count) = (self.oracle(), self.count());
        act(&mut self.hosts[usize::from(slot)], &gone, count);
        self.follow(slot, &gone);
        self.hosts[usize::from(slot)].finish();
    }

    /// Takes one step.
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Recover(slot, first) => {
                self.ask(slot, Asked::Recovery);
                self.reads(slot, first);
            }
            Step::UserStarts(slot, first) => {
                self.left.starts -= 1;
                self.ask(slot, Asked::User);
                self.reads(slot, first);
            }
            Step::DropIsDue(slot, first) => {
                self.left.drops -= 1;
                self.on(slot, |host, _, _| host.drops += 1);
                self.reads(slot, first);
            }
            Step::Lands(slot) => self.lands(slot),
            Step::Fails(slot) => self.fails(slot),
            Step::Reads(slot, other) => self.reads(slot, other),
            Step::LandsLate(at) => {
                let Late { slot, copy, sector } = self.late.remove(at);
                self.put(slot, copy, sector);
            }
            Step::HoldPasses(slot) => {
                self.late.retain(|late| late.slot != slot);
                let (own, layout) = (self.disk[usize::from(slot)], layout(self.count()));
                self.on(slot, |host, _, _| {
                    host.settle_unknown(|offset| {
                        let copies = RecordCopy::BOTH.into_iter().zip(own);
                        let place = |copy| layout.lease_page(0, Slot(slot), copy);
                        copies
                            .filter(|(copy, _)| place(*copy).offset == offset)
                            .map(|(copy, sector)| sector.bytes(&layout, Slot(slot), copy).to_vec())
                            .next()
                            .unwrap_or_default()
                    });
                });
            }
            Step::Runs(slot) => self.runs(slot),
            Step::StartFails(slot) => {
                self.left.failed_starts -= 1;
                self.on(slot, |host, gone, count| {
                    host.process = Process::None;
                    host.call(gone, count, |leases, context| leases.end(context, DOMAIN, EndReason::NeverRan));
                });
            }
            Step::UserStops(slot) => {
                self.left.stops -= 1;
                self.wish = Wish::Unclear;
                self.on(slot, |host, gone, count| {
                    host.process = Process::Ending;
                    stopped(host, gone, count, StopReason::Shutdown);
                });
            }
            Step::Exits(slot) => {
                self.on(slot, |host, gone, count| {
                    host.process = Process::None;
                    fencer_scans(host, gone, count);
                });
            }
            Step::Crashes(slot) => {
                self.left.crashes -= 1;
                self.on(slot, |host, gone, count| {
                    host.process = Process::None;
                    stopped(host, gone, count, StopReason::Crashed);
                });
            }
            Step::Dies(slot) => {
                self.left.deaths -= 1;
                self.may_land_late(slot);
                self.hosts[usize::from(slot)].die();
            }
            Step::Rejoins(slot) => self.rejoins(slot),
            Step::AgentRestarts(slot) => {
                self.left.restarts -= 1;
                self.may_land_late(slot);
                self.on(slot, |host, _, count| host.restart_agent(count));
            }
            Step::Settles(slot) => {
                self.on(slot, |host, gone, count| {
                    host.unsettled = false;
                    let (running, now) = (host.listed(), host.now());
                    host.call(gone, count, |leases, _| leases.listed(&running, now.instant));
                    fencer_scans(host, gone, count);
                });
            }
            Step::Damaged(slot, copy) => {
                self.left.damages -= 1;
                self.put(slot, copy, Sector::DAMAGED);
            }
        }
    }

    fn ask(&mut self, slot: u16, asked: Asked) {
        let kind = match asked {
            Asked::Recovery => AcquireKind::Recovery { resumed: None },
            Asked::User => AcquireKind::Plain(DomainSpec { ha: true, ..DomainSpec::default() }),
        };
        self.on(slot, |host, gone, count| {
            host.asked = asked;
            host.call(gone, count, |leases, _| leases.acquire(AcquireRequest { domain: DOMAIN, kind }));
        });
    }

    fn put(&mut self, slot: u16, copy: RecordCopy, sector: Sector) {
        let [a, b] = &mut self.disk[usize::from(slot)];
        *(if copy == RecordCopy::A { a } else { b }) = sector;
    }

    /// What a host was writing when it stopped waiting for it.
    fn may_land_late(&mut self, slot: u16) {
        if let Waits::Write(copy, sector) = self.host(slot).waits {
            self.late.push(Late { slot, copy, sector });
        }
    }

    fn lands(&mut self, slot: u16) {
        let Waits::Write(copy, sector) = self.host(slot).waits else { return };
        self.put(slot, copy, sector);
        self.write_ends(slot, copy, sector, true);
    }

    fn fails(&mut self, slot: u16) {
        let Waits::Write(copy, sector) = self.host(slot).waits else { return };
        self.left.failures -= 1;
        self.may_land_late(slot);
        self.write_ends(slot, copy, sector, false);
    }

    fn write_ends(&mut self, slot: u16, copy: RecordCopy, sector: Sector, landed: bool) {
        let place = layout(self.count()).lease_page(0, Slot(slot), copy);
        self.on(slot, |host, gone, count| {
            host.unknown.ended(place.offset, landed);
            host.waits = Waits::Nothing;
            if let Some(page) = host.rejoining {
                // The same bytes again after a failed write.
                match (landed, copy) {
                    (true, RecordCopy::B) => {
                        host.rejoining = None;
                        host.joined(count, sector.page().unwrap_or_default());
                    }
                    (true, RecordCopy::A) => write(host, RecordCopy::B, page, count),
                    (false, _) => write(host, copy, page, count),
                }
                return;
            }
            let done = host.done(if landed { Ok(Vec::new()) } else { Err(()) });
            host.call(gone, count, |leases, context| leases.handle_io(context, &done));
        });
    }

    fn reads(&mut self, slot: u16, other: u16) {
        let now = self.disk[usize::from(other)];
        let host = &mut self.hosts[usize::from(slot)];
        let Waits::Scan(seen) = &mut host.waits else { return };
        seen[usize::from(other)] = Some(now);
        let whole = (0_u16..).zip(seen.iter()).all(|(each, seen)| each == slot || seen.is_some());
        if !whole {
            return;
        }
        let seen: Vec<[Sector; 2]> =
            self.disk.iter().zip(seen.iter()).map(|(own, seen)| seen.unwrap_or(*own)).collect();
        let layout = layout(self.count());
        let copies = RecordCopy::BOTH.into_iter().flat_map(|copy| {
            let slots = (0_u16..).map(Slot).zip(&seen);
            slots.map(move |(slot, [a, b])| (slot, copy, if copy == RecordCopy::A { *a } else { *b }))
        });
        let bytes: Vec<_> = copies.map(|(slot, copy, sector)| sector.bytes(&layout, slot, copy)).collect();
        let bytes = bytes.concat();
        let others = (0_u16..).zip(&seen).filter(|(each, _)| *each != slot);
        let top = others.filter_map(|(_, copies)| top_of(newest(*copies))).map(|entry| entry.term).max();
        self.on(slot, |host, gone, count| {
            let own = host.leases().and_then(|leases| leases.entry(DOMAIN)).filter(|entry| entry.state != LeaseState::Empty);
            host.seen_top = top.max(own.map(|entry| entry.term)).unwrap_or_default();
            host.waits = Waits::Nothing;
            let done = host.done(Ok(bytes));
            host.call(gone, count, |leases, context| leases.handle_io(context, &done));
        });
    }

    fn runs(&mut self, slot: u16) {
        let (asked, seen_top) = (self.host(slot).asked, self.host(slot).seen_top);
        if asked == Asked::Recovery {
            if self.wish == Wish::Stopped {
                self.wrong = Some("a recovery started the domain after its user had stopped it");
            }
            if self.recovered.contains(&seen_top) {
                self.wrong = Some("one death was recovered twice");
            }
            self.recovered.push(seen_top);
            self.recovered.sort_unstable();
        }
        self.wish = Wish::Runs;
        self.on(slot, |host, gone, count| {
            host.process = Process::Running;
            let now = host.now();
            host.call(gone, count, |leases, _| leases.started(DOMAIN, now.instant));
        });
    }

    fn rejoins(&mut self, slot: u16) {
        self.left.rejoins -= 1;
        self.late.retain(|late| late.slot != slot);
        let copies = self.disk[usize::from(slot)];
        self.on(slot, |host, _, count| {
            host.generation += 1;
            host.dead = false;
            let (me, boot_id) = (host.me(), boot_of(host.me()));
            let highest = copies.iter().filter_map(|copy| copy.version()).map(|(_, sequence)| sequence).max();
            let sequence = highest.unwrap_or_default().next();
            let blank = LeasePage::new(me, boot_id, sequence);
            let found = newest(copies).page();
            let next = for_next_generation(found.as_ref().unwrap_or(&blank), me, boot_id, sequence);
            let sector = Sector::of(next);
            host.rejoining = Some(sector);
            write(host, RecordCopy::A, sector, count);
        });
    }

    /// Everything that a host does at once: takes its events, and issues its next operation.
    fn follow(&mut self, slot: u16, gone: &dyn Fn(Incarnation) -> bool) {
        let count = self.count();
        for _ in 0..16 {
            self.take_events(slot, gone);
            let host = &mut self.hosts[usize::from(slot)];
            if !host.is_idle() {
                return;
            }
            let polled = host.call(gone, count, leasefence_core::lease::Leases::poll);
            match polled {
                Some(leasefence_core::storage::Step::Io(IoOp::Write { offset, data })) => self.issued(slot, offset, &data),
                Some(leasefence_core::storage::Step::Io(IoOp::Read { offset, len })) => {
                    self.reading(slot, offset, len, gone);
                }
                _ => return self.take_events(slot, gone),
            }
        }
    }

    fn take_events(&mut self, slot: u16, gone: &dyn Fn(Incarnation) -> bool) {
        let count = self.count();
        while let Some(Some(event)) = self.hosts[usize::from(slot)].call(gone, count, |leases, _| leases.poll_event()) {
            self.event(slot, &event);
        }
    }

    fn issued(&mut self, slot: u16, offset: u64, data: &[u8]) {
        let layout = layout(self.count());
        let place = RecordCopy::BOTH.map(|copy| (copy, layout.lease_page(0, Slot(slot), copy)));
        let Some((copy, place)) = place.into_iter().find(|(_, place)| place.offset == offset) else {
            self.wrong = Some("a host wrote into another's sector");
            return;
        };
        let Ok(page) = LeasePage::decode(&place, data) else {
            self.wrong = Some("a host wrote a sector that nobody can read");
            return;
        };
        let host = &mut self.hosts[usize::from(slot)];
        let own = page.get(DOMAIN).is_some_and(|entry| entry.state == LeaseState::Own);
        if own && !host.owns() && host.asked == Asked::User && host.process == Process::None {
            // A user's start takes the lease: what was stopped may run again, and what was recovered is past.
            if self.wish == Wish::Stopped {
                self.wish = Wish::Unclear;
            }
            self.recovered.clear();
        }
        host.unknown.issue(offset, data.len(), host.now().instant);
        host.waits = Waits::Write(copy, Sector::of(page));
    }

    /// Own sectors and single ones are read at once: only the large read of a page is as slow as the adversary likes.
    fn reading(&mut self, slot: u16, offset: u64, len: usize, gone: &dyn Fn(Incarnation) -> bool) {
        let (layout, count) = (layout(self.count()), self.count());
        if len != layout.lease_page(0, Slot(0), RecordCopy::A).len {
            self.hosts[usize::from(slot)].waits = Waits::Scan(vec![None; self.hosts.len()]);
            return;
        }
        let copies = layout.slots().zip(&self.disk).flat_map(|(owner, [a, b])| [(owner, RecordCopy::A, *a), (owner, RecordCopy::B, *b)]);
        let found = copies
            .into_iter()
            .find(|(owner, copy, _)| layout.lease_page(0, *owner, *copy).offset == offset)
            .map(|(owner, copy, sector)| sector.bytes(&layout, owner, copy).to_vec());
        let host = &mut self.hosts[usize::from(slot)];
        let done = host.done(Ok(found.unwrap_or_default()));
        host.call(gone, count, |leases, context| leases.handle_io(context, &done));
    }

    fn event(&mut self, slot: u16, event: &LeaseEvent) {
        match event {
            LeaseEvent::Acquire { outcome: AcquireOutcome::Acquired(_), .. } => {
                self.hosts[usize::from(slot)].process = Process::Permitted;
            }
            LeaseEvent::Ended { entry, .. } if entry.state == LeaseState::Stopped && self.wish == Wish::Unclear => {
                self.wish = Wish::Stopped;
            }
            LeaseEvent::Convicted { .. } => self.wrong = Some("a host that lives was convicted"),
            LeaseEvent::Foreign(_) => self.wrong = Some("a host holds its own sector for another's"),
            _ => {}
        }
    }

    /// What is wrong in this state.
    pub(super) fn violation(&self) -> Option<String> {
        let running = self.hosts.iter().filter(|host| host.runs()).count();
        if running > 1 {
            return Some("two copies of the domain run".to_owned());
        }
        if self.hosts.iter().filter(|host| host.owns()).count() > 1 {
            return Some("two live hosts own the domain".to_owned());
        }
        if let Some(slot) = self.overtaken_owner() {
            return Some(format!("host {slot} owns the domain, acknowledged, and its entry is not the top"));
        }
        let top = self.disk.iter().filter_map(|copies| top_of(newest(*copies))).max_by_key(|entry| entry.term);
        let findable = top.is_some_and(|top| matches!(top.state, LeaseState::Own | LeaseState::Orphan));
        if self.keeps_all && self.wish == Wish::Runs && running == 0 && !findable {
            return Some("the domain of a dead host can never be found again".to_owned());
        }
        self.wrong.map(str::to_owned)
    }

    fn overtaken_owner(&self) -> Option<u16> {
        let owner = self.hosts.iter().find(|host| host.owns())?;
        let term = owner.leases()?.entry(DOMAIN)?.term;
        let others = (0_u16..).zip(&self.disk).filter(|(slot, _)| *slot != owner.slot);
        let overtaken =
            others.filter_map(|(_, copies)| top_of(newest(*copies))).any(|entry| entry.term >= term);
        overtaken.then_some(owner.slot)
    }
}

fn write(host: &mut Host, copy: RecordCopy, sector: Sector, count: u16) {
    let place = layout(count).lease_page(0, Slot(host.slot), copy);
    host.unknown.issue(place.offset, place.len, host.now().instant);
    host.waits = Waits::Write(copy, sector);
}

fn stopped(host: &mut Host, gone: &dyn Fn(Incarnation) -> bool, count: u16, reason: StopReason) {
    let Now { instant, .. } = host.now();
    host.call(gone, count, |leases, _| leases.stopped(DOMAIN, reason, instant));
    fencer_scans(host, gone, count);
}

fn fencer_scans(host: &mut Host, gone: &dyn Fn(Incarnation) -> bool, count: u16) {
    for half in host.fencer_halves() {
        host.call(gone, count, |leases, context: &LeaseContext<'_>| leases.fencer(context, &half));
    }
}

impl std::hash::Hash for World {
    /// In canonical form: of the numbers of writes only their order in a sector counts.
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        let ranks: Vec<Vec<_>> = (0_u16..).zip(&self.disk).map(|(slot, copies)| self.versions(slot, *copies)).collect();
        let ranked = |slot: u16, sector: Sector| {
            let at = ranks.get(usize::from(slot)).and_then(|ranks| ranks.binary_search(&sector.version()).ok());
            (sector.body(), at.unwrap_or(usize::MAX))
        };
        for host in &self.hosts {
            (host.generation, host.dead, &host.mind, host.process, host.asked, host.unsettled, host.drops).hash(hasher);
            host.unknown.hash(hasher);
            host.rejoining.map(|sector| ranked(host.slot, sector)).hash(hasher);
            // Only while an acquire is at work does it matter what the last scan has shown.
            let seen_top = if host.is_idle() && host.process != Process::Permitted { Term(0) } else { host.seen_top };
            seen_top.hash(hasher);
            match &host.waits {
                Waits::Nothing => 0_u8.hash(hasher),
                Waits::Write(copy, sector) => (1_u8, copy, ranked(host.slot, *sector)).hash(hasher),
                Waits::Scan(seen) => {
                    2_u8.hash(hasher);
                    for copies in seen {
                        // Of two copies that both were read only the newer counts, unless one is damaged.
                        let damaged = |[a, b]: &[Sector; 2]| (*a == Sector::DAMAGED, *b == Sector::DAMAGED);
                        copies.map(|copies| (damaged(&copies), newest(copies).body())).hash(hasher);
                    }
                }
            }
        }
        for (slot, copies) in (0_u16..).zip(&self.disk) {
            copies.map(|sector| ranked(slot, sector)).hash(hasher);
        }
        let mut late: Vec<_> =
            self.late.iter().map(|late| (late.slot, late.copy, ranked(late.slot, late.sector))).collect();
        late.sort_unstable();
        late.hash(hasher);
        (self.left, self.wish, &self.recovered, self.wrong).hash(hasher);
    }
}

impl World {
    /// The numbers of all writes of a sector that are there or may come to be, in order.
    fn versions(
        &self,
        slot: u16,
        copies: [Sector; 2],
    ) -> Vec<Option<(leasefence_core::ids::Generation, leasefence_core::ids::Sequence)>> {
        let host = self.host(slot);
        let mut versions: Vec<_> = copies.iter().map(|sector| sector.version()).collect();
        versions.extend(host.rejoining.map(Sector::version));
        if let Waits::Write(_, sector) = host.waits {
            versions.push(sector.version());
        }
        versions.extend(self.late.iter().filter(|late| late.slot == slot).map(|late| late.sector.version()));
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}
