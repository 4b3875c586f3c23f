//! The whole cluster of the lease model: hosts, the page on storage, writes that may land late, and what a domain's user
//! may rely on. It takes steps and judges states; what a host does is the core's business.

use leasefence_core::fencing::{QuiesceTarget, StorageKind};
use leasefence_core::format::{LeaseState, RecordCopy};
use leasefence_core::ids::{Incarnation, Slot, Term};
use leasefence_core::lease::{
    AcquireKind, AcquireOutcome, AcquireRequest, DomainSpec, EndReason, LeaseContext, LeaseEvent,
};
use leasefence_core::member::StopReason;
use leasefence_core::time::Now;

use super::host::{Asked, Host, Process};
use super::sectors::Sector;
use super::step::Step;
use super::{Bounds, DOMAIN, layout};

/// What the user of the domain was told last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Wish {
    /// It runs: it must run somewhere, or be found again.
    Runs,
    /// A user has stopped it, and that is not acknowledged: either will do.
    Stopping,
    /// A user starts it: either will do.
    Starting,
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
    /// False where damage may lose what a host said: two copies of it, or the one that a drop has relied on.
    pub(super) keeps_all: bool,
    /// A read of the page passes the sectors in their order.
    pub(super) in_order: bool,
}

impl World {
    /// The domain runs on host `owner`, by a user's start.
    pub(super) fn new(hosts: u16, owner: u16, bounds: Bounds, in_order: bool) -> Self {
        let fresh: Vec<Host> = (0..hosts).map(|slot| Host::new(slot, hosts)).collect();
        let sector = |host: &Host| {
            host.leases().and_then(|leases| leases.page(0)).map(|own| Sector::of(own.content().clone()))
        };
        let disk = fresh.iter().map(|host| [sector(host).unwrap_or(Sector::DAMAGED); 2]).collect();
        let mut world = Self {
            hosts: fresh,
            disk,
            late: Vec::new(),
            left: Bounds { starts: 1, ..Bounds::default() },
            wish: Wish::Stopped,
            recovered: Vec::new(),
            wrong: None,
            keeps_all: bounds.damages == 0 || (bounds.damages == 1 && bounds.drops == 0),
            in_order,
        };
        world.take(Step::UserStarts(owner, u16::from(owner == 0)));
        let mut steps = Vec::new();
        while !world.host(owner).runs() && steps.len() < 100 {
            let mut next = Vec::new();
            world.steps(&mut next);
            let own = |step: &&Step| matches!(step, Step::Lands(slot) | Step::Reads(slot, _) | Step::Runs(slot) if *slot == owner);
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
    pub(super) fn on(&mut self, slot: u16, act: impl FnOnce(&mut Host, &dyn Fn(Incarnation) -> bool, u16)) {
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
                    host.call(gone, count, |leases, context| {
                        leases.end(context, DOMAIN, EndReason::NeverRan);
                    });
                });
            }
            Step::UserStops(slot) => {
                self.left.stops -= 1;
                self.wish = Wish::Stopping;
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

    pub(super) fn event(&mut self, slot: u16, event: &LeaseEvent) {
        match event {
            LeaseEvent::Acquire { outcome: AcquireOutcome::Acquired(_), .. } => {
                self.hosts[usize::from(slot)].process = Process::Permitted;
            }
            LeaseEvent::Ended { entry, .. }
                if entry.state == LeaseState::Stopped && self.wish == Wish::Stopping =>
            {
                self.wish = Wish::Stopped;
            }
            LeaseEvent::Convicted { .. } => self.wrong = Some("a host that lives was convicted"),
            LeaseEvent::Foreign(_) => self.wrong = Some("a host holds its own sector for another's"),
            _ => {}
        }
    }
}

fn stopped(host: &mut Host, gone: &dyn Fn(Incarnation) -> bool, count: u16, reason: StopReason) {
    let Now { instant, .. } = host.now();
    host.call(gone, count, |leases, _| leases.stopped(DOMAIN, reason, instant));
    fencer_scans(host, gone, count);
}

fn fencer_scans(host: &mut Host, gone: &dyn Fn(Incarnation) -> bool, count: u16) {
    // These hosts share one kernel: the exit of a process is all the proof that an end needs.
    let storages = [QuiesceTarget { kind: StorageKind::OneKernel, device: 1 }];
    host.call(gone, count, |leases, _| leases.runs_on(DOMAIN, &storages));
    for half in host.fencer_halves() {
        host.call(gone, count, |leases, context: &LeaseContext<'_>| leases.fencer(context, &half));
    }
}
