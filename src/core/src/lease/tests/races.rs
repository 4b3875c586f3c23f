//! Three hosts, two domains, and everything that can go wrong, in an order that a seed decides: calls that fail and land
//! late, deaths, restarts of hosts and of agents, failing starts, users who start and stop, damaged copies.
//!
//! At each step: never two hosts that run a domain, terms only grow, nothing starts again after its user stopped it, and no
//! domain that should run is forgotten. At the end, when all goes well again, each that should run does, once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lab::*;
use crate::fencing::{FencerHalf, QuiesceTarget, StorageKind, UnknownWrite};
use crate::format::{LeasePage, LeaseState, RecordCopy};
use crate::ids::{Sequence, Term};
use crate::lease::{AcquireOutcome, EndReason, LeaseEvent, Leases, for_next_generation};
use crate::storage::{IoError, IoOp};
use crate::unknown::UnknownWrites;

const HOSTS: u16 = 3;
const DOMAINS: [u8; 2] = [1, 2];
const STEPS: usize = 600;

/// What the users want of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Running,
    Stopped,
    /// A start or a stop is under way, or a user's start failed: either is right.
    Either,
}

/// A host: up or down, with a write that may be in flight, and writes that may still land.
struct Racer {
    host: Option<Host>,
    generation: u32,
    in_flight: Option<IoOp>,
    late: Vec<(u64, Vec<u8>)>,
    running: BTreeSet<u8>,
}

struct Race {
    seed: u64,
    random: u64,
    lab: Lab,
    racers: Vec<Racer>,
    wanted: BTreeMap<u8, Wanted>,
    /// Counts the writes of `own` of a domain: a stop that was overtaken by a start says nothing of now.
    taken: BTreeMap<u8, u32>,
    stopping: BTreeMap<u8, u32>,
    highest: BTreeMap<u8, Term>,
    log: Vec<String>,
}

impl Race {
    fn new(seed: u64) -> Self {
        let mut lab = Lab::new(HOSTS);
        // Both domains ran on host 0, which has just died.
        lab.put(who(0, 1), 2, &DOMAINS.map(|n| entry(n, LeaseState::Own, 1)));
        lab.gone.insert(who(0, 1));
        let racer = |slot: u16| Racer {
            host: (slot != 0).then(|| lab.host(who(slot, 1))),
            generation: 1,
            in_flight: None,
            late: Vec::new(),
            running: BTreeSet::new(),
        };
        let racers = (0..HOSTS).map(racer).collect();
        let each = |value| DOMAINS.into_iter().map(|n| (n, value)).collect::<BTreeMap<_, _>>();
        Self {
            seed,
            random: seed,
            lab,
            racers,
            wanted: each(0).into_keys().map(|n| (n, Wanted::Running)).collect(),
            taken: each(0),
            stopping: BTreeMap::new(),
            highest: each(1).into_keys().map(|n| (n, Term(1))).collect(),
            log: Vec::new(),
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % below
    }

    fn must(&self, holds: bool, what: &str) {
        assert!(
            holds,
            "seed {}: {what}\n{}",
            self.seed,
            self.log[self.log.len().saturating_sub(60)..].join("\n")
        );
    }

    fn say(&mut self, line: String) {
        self.log.push(line);
    }

    fn step(&mut self) {
        let at = self.draw(usize::from(HOSTS));
        let n = DOMAINS[self.draw(DOMAINS.len())];
        match self.draw(100) {
            0..40 => self.go_on(at),
            40..55 => self.recover(at, n),
            55..62 => self.land(at),
            62..70 => self.settle(at),
            70..76 => self.pass(),
            76..80 => self.user_start(at, n),
            80..84 => self.user_stop(at, n),
            84..87 => self.die(at),
            87..92 => self.boot(at),
            92..95 => self.restart_agent(at),
            _ => self.damage(at),
        }
        self.check();
    }

    /// The next thing of this host's storage: an operation is issued, or the one in flight ends.
    fn go_on(&mut self, at: usize) {
        if self.racers[at].in_flight.is_none() {
            self.issue(at);
        } else {
            self.complete(at);
        }
        self.take_events(at);
    }

    fn issue(&mut self, at: usize) {
        let Some(host) = &mut self.racers[at].host else { return };
        let Some(op) = self.lab.next(host) else { return };
        if let IoOp::Write { offset, data } = &op {
            host.unknown.issue(*offset, data.len(), self.lab.now.instant);
            self.notice_own(at, *offset, data);
        }
        self.racers[at].in_flight = Some(op);
    }

    /// From here on `own` may stand on storage: a death now is a recovery later.
    fn notice_own(&mut self, at: usize, offset: u64, data: &[u8]) {
        let slot = crate::ids::Slot(u16::try_from(at).unwrap());
        let places = RecordCopy::BOTH.map(|copy| self.lab.layout.lease_page(0, slot, copy));
        let place = places.into_iter().find(|place| place.offset == offset).unwrap();
        let page = LeasePage::decode(&place, data).unwrap();
        for n in DOMAINS {
            let owned = page.get(domain(n)).is_some_and(|entry| entry.state == LeaseState::Own);
            let new = self.racers[at].host.as_ref().is_some_and(|host| !host.leases.owns(domain(n)));
            if owned && new {
                *self.taken.get_mut(&n).unwrap() += 1;
                if self.wanted[&n] == Wanted::Stopped {
                    self.wanted.insert(n, Wanted::Either);
                }
            }
        }
    }

    fn complete(&mut self, at: usize) {
        let fate = match self.draw(20) {
            0 => Fate::Fails,
            1 => Fate::LandsUnacknowledged,
            _ => Fate::Done,
        };
        let Some(op) = self.racers[at].in_flight.take() else { return };
        if let (IoOp::Write { offset, data }, Fate::Fails) = (&op, fate) {
            self.racers[at].late.push((*offset, data.clone()));
        }
        self.say(format!(
            "host {at}: {} {fate:?}",
            if matches!(op, IoOp::Read { .. }) { "read" } else { "write" }
        ));
        let issued = self.lab.now;
        if let (IoOp::Write { offset, data }, true) = (&op, fate != Fate::Fails) {
            self.lab.write(*offset, data);
        }
        self.lab.pass(Duration::from_millis(1));
        let result = match (&op, fate) {
            (IoOp::Read { offset, len }, Fate::Done) => {
                let from = usize::try_from(*offset).unwrap();
                Ok(self.lab.bytes[from..from + len].to_vec())
            }
            (IoOp::Write { .. }, Fate::Done) => Ok(Vec::new()),
            _ => Err(IoError::Failed("timed out".into())),
        };
        let Some(host) = &mut self.racers[at].host else { return };
        if let IoOp::Write { offset, .. } = &op {
            host.unknown.ended(*offset, fate == Fate::Done);
        }
        let done =
            crate::storage::IoDone { id: crate::storage::IoId(0), issued, ended: self.lab.now, result };
        self.lab.with(host, |ctx, leases| leases.handle_io(ctx, &done));
        // What an end means shows at the next poll.
        if let Some(op) = self.lab.next(host) {
            if let IoOp::Write { offset, data } = &op {
                host.unknown.issue(*offset, data.len(), self.lab.now.instant);
                let (offset, data) = (*offset, data.clone());
                self.notice_own(at, offset, &data);
            }
            self.racers[at].in_flight = Some(op);
        }
    }

    fn take_events(&mut self, at: usize) {
        let Some(host) = &mut self.racers[at].host else { return };
        for event in events(host) {
            match event {
                LeaseEvent::Acquire { domain: key, outcome: AcquireOutcome::Acquired(entry) } => {
                    self.acquired(at, key.0[0], entry.term);
                }
                LeaseEvent::Ended { domain: key, entry } if entry.state == LeaseState::Stopped => {
                    let n = key.0[0];
                    let overtaken = self.stopping.get(&n) != self.taken.get(&n);
                    if !overtaken && self.wanted[&n] == Wanted::Either {
                        self.wanted.insert(n, Wanted::Stopped);
                    }
                }
                _ => {}
            }
        }
    }

    fn acquired(&mut self, at: usize, n: u8, term: Term) {
        self.say(format!("host {at}: ACQUIRED {n} term {term}"));
        self.must(term > self.highest[&n], "terms grow");
        self.highest.insert(n, term);
        self.must(self.wanted[&n] != Wanted::Stopped, "started again after its user stopped it");
        self.wanted.insert(n, Wanted::Running);
        let fails = self.draw(5) == 0;
        if fails {
            self.give_back(at, n);
        } else {
            self.racers[at].running.insert(n);
        }
    }

    fn give_back(&mut self, at: usize, n: u8) {
        let Some(host) = &mut self.racers[at].host else { return };
        self.lab.with(host, |ctx, leases| leases.end(ctx, domain(n), EndReason::NeverRan));
        let state = host.leases.entry(domain(n)).map(|entry| entry.state);
        if state == Some(LeaseState::Stopped) {
            self.wanted.insert(n, Wanted::Either);
        }
        self.say(format!("host {at}: start of {n} fails, gives back {state:?}"));
    }

    fn recover(&mut self, at: usize, n: u8) {
        if let Some(host) = &mut self.racers[at].host {
            let resumed = crate::lease::AcquireKind::Recovery { resumed: self.lab.says_top(n) };
            host.leases.acquire(crate::lease::AcquireRequest { domain: domain(n), kind: resumed });
        }
    }

    fn user_start(&mut self, at: usize, n: u8) {
        // A user starts what does not run, as far as anybody can see.
        if self.wanted[&n] == Wanted::Running || self.racers.iter().any(|racer| racer.running.contains(&n)) {
            return;
        }
        if let Some(host) = &mut self.racers[at].host {
            host.leases.acquire(plain(n));
        }
    }

    fn user_stop(&mut self, at: usize, n: u8) {
        if !self.racers[at].running.contains(&n) {
            return;
        }
        let Some(host) = &mut self.racers[at].host else { return };
        if !host.leases.owns(domain(n)) {
            return;
        }
        self.lab.with(host, |ctx, leases| leases.end(ctx, domain(n), EndReason::Stopped));
        self.racers[at].running.remove(&n);
        self.wanted.insert(n, Wanted::Either);
        self.stopping.insert(n, self.taken[&n]);
        self.say(format!("host {at}: user stops {n}"));
    }

    fn land(&mut self, at: usize) {
        if self.racers[at].late.is_empty() {
            return;
        }
        let index = self.draw(self.racers[at].late.len());
        let (offset, data) = self.racers[at].late.remove(index);
        let lands = self.draw(3) > 0;
        if lands {
            self.lab.write(offset, &data);
        }
        self.say(format!("host {at}: a late write {}", if lands { "LANDS" } else { "is lost" }));
    }

    /// The hold passes and the reads agree: only once no write can land any more.
    fn settle(&mut self, at: usize) {
        let idle = self.racers[at].late.is_empty() && self.racers[at].in_flight.is_none();
        if let Some(host) = self.racers[at].host.as_mut().filter(|host| idle && host.unknown.any()) {
            self.lab.settle_unknown(host);
        }
    }

    fn pass(&mut self) {
        let ms = [1, 50, 1000, 6000, 31_000][self.draw(5)];
        self.lab.pass(Duration::from_millis(ms));
    }

    /// It dies, provably; what is in flight may land later.
    fn die(&mut self, at: usize) {
        let Some(host) = self.racers[at].host.take() else { return };
        self.lab.gone.insert(host.me);
        let racer = &mut self.racers[at];
        racer.running.clear();
        if let Some(IoOp::Write { offset, data }) = racer.in_flight.take() {
            racer.late.push((offset, data));
        }
        self.say(format!("host {at}: DIES as {}", host.me));
    }

    /// A new boot: nothing of the old can land any more, and its entries are carried over.
    fn boot(&mut self, at: usize) {
        if self.racers[at].host.is_some() || !self.racers[at].late.is_empty() {
            return;
        }
        let slot = u16::try_from(at).unwrap();
        self.racers[at].generation += 1;
        let me = who(slot, self.racers[at].generation);
        let copies = RecordCopy::BOTH.into_iter().filter_map(|copy| self.lab.copy(slot, copy));
        let found = copies.max_by_key(|page| (page.incarnation.generation, page.sequence)).unwrap();
        let next = for_next_generation(&found, me, boot(me), Sequence(1));
        let entries: Vec<_> = next.entries().copied().collect();
        self.lab.put(me, 1, &entries);
        self.racers[at].host = Some(self.lab.host(me));
        self.say(format!("host {at}: BOOTS as {me}"));
    }

    /// The agent's process is restarted within the incarnation: what was in flight is unknown.
    fn restart_agent(&mut self, at: usize) {
        let racer = &mut self.racers[at];
        let Some(host) = &mut racer.host else { return };
        if let Some(IoOp::Write { offset, data }) = racer.in_flight.take() {
            racer.late.push((offset, data));
        }
        let unknown: Vec<UnknownWrite> = host.unknown.to_page();
        let listed = host.leases.own_leases();
        host.unknown = UnknownWrites::new(RULES);
        host.unknown.restore(&unknown, self.lab.now.instant, |_| (4096, 0..4096));
        host.leases = Leases::after_restart(self.lab.config(host.me), &listed);
        self.say(format!("host {at}: its agent restarts"));
    }

    /// Libvirt and the fencer tell a restarted agent what runs.
    fn tell(&mut self, at: usize) {
        let racer = &mut self.racers[at];
        let Some(host) = &mut racer.host else { return };
        let running: BTreeSet<_> = racer.running.iter().map(|n| domain(*n)).collect();
        // These hosts share one kernel: the exit of a process is all the proof that an end needs.
        let one_kernel = QuiesceTarget { kind: StorageKind::OneKernel, device: 1 };
        for n in DOMAINS {
            host.leases.runs_on(domain(n), std::slice::from_ref(&one_kernel));
        }
        host.leases.listed(&running, self.lab.now.instant);
        let processes =
            running.iter().map(|key| crate::fencing::DomainProcess { domain: *key, ..Default::default() });
        let processes: Vec<_> = processes.collect();
        for scans in 0..4 {
            self.lab.pass(Duration::from_millis(100));
            let half = FencerHalf {
                beat: self.lab.now.instant,
                scans,
                processes: processes.clone(),
                ..FencerHalf::default()
            };
            self.lab.with(host, |ctx, leases| leases.fencer(ctx, &half));
        }
        // An own entry that never ran goes by its base.
        for n in DOMAINS {
            let stopped =
                host.leases.entry(domain(n)).is_some_and(|entry| entry.state == LeaseState::Stopped);
            let ran_nowhere = self.wanted[&n] == Wanted::Running && stopped && !running.contains(&domain(n));
            if ran_nowhere && host.leases.entry(domain(n)).is_some_and(|entry| entry.term >= self.highest[&n])
            {
                self.wanted.insert(n, Wanted::Either);
            }
        }
    }

    /// One copy of a quiet host's sector goes bad; its owner mends it within five seconds.
    fn damage(&mut self, at: usize) {
        let slot = u16::try_from(at).unwrap();
        let quiet = |racer: &Racer| {
            racer.late.is_empty() && racer.host.as_ref().is_some_and(|host| !host.unknown.any())
        };
        let [a, b] = RecordCopy::BOTH.map(|copy| self.lab.copy(slot, copy));
        if quiet(&self.racers[at]) && a.is_some() && a == b {
            let copy = if self.draw(2) == 0 { RecordCopy::A } else { RecordCopy::B };
            self.lab.damage(slot, copy);
            self.say(format!("host {at}: copy {copy:?} is damaged"));
        }
    }

    fn check(&mut self) {
        for at in 0..self.racers.len() {
            self.take_events(at);
            self.tell(at);
            self.take_events(at);
        }
        for n in DOMAINS {
            let runners = self.racers.iter().filter(|racer| racer.running.contains(&n)).count();
            self.must(runners <= 1, &format!("two hosts run domain {n}"));
            if runners == 0 && self.wanted[&n] == Wanted::Running {
                let top = self.lab.top_state(n);
                let found = matches!(top, Some(LeaseState::Own | LeaseState::Orphan));
                self.must(found, &format!("domain {n} is lost: its top is {top:?}"));
            }
        }
    }

    /// All goes well from now on.
    fn finish(&mut self) {
        for at in 0..self.racers.len() {
            while !self.racers[at].late.is_empty() {
                self.land(at);
            }
            self.boot(at);
        }
        for _ in 0..80 {
            for at in 0..self.racers.len() {
                self.calm(at);
                DOMAINS.into_iter().for_each(|n| self.recover(at, n));
            }
            self.lab.pass(Duration::from_millis(700));
            self.check();
        }
        for n in DOMAINS {
            let runners = self.racers.iter().filter(|racer| racer.running.contains(&n)).count();
            self.must(
                self.wanted[&n] != Wanted::Running || runners == 1,
                &format!("domain {n} was not recovered"),
            );
        }
    }

    /// Everything that this host wants to do happens.
    fn calm(&mut self, at: usize) {
        let racer = &mut self.racers[at];
        let Some(host) = &mut racer.host else { return };
        if let Some(op) = racer.in_flight.take() {
            // It was noted when it was issued.
            if let IoOp::Write { offset, .. } = &op {
                host.unknown.ended(*offset, true);
            }
            self.lab.finish(host, &op, Fate::Done);
        }
        self.take_events(at);
        for _ in 0..3 {
            let Some(host) = &mut self.racers[at].host else { return };
            if host.unknown.any() {
                self.lab.settle_unknown(host);
            }
            let Some(op) = self.lab.next(host) else { return };
            if let IoOp::Write { offset, data } = &op {
                let (offset, data) = (*offset, data.clone());
                self.notice_own(at, offset, &data);
            }
            let Some(host) = &mut self.racers[at].host else { return };
            self.lab.finish(host, &op, Fate::Done);
            self.take_events(at);
        }
    }
}

impl Lab {
    fn top(&self, n: u8) -> Option<crate::format::LeaseEntry> {
        let entries = (0..self.hosts).filter_map(|slot| self.says(slot, n));
        let counted = entries.filter(|e| !matches!(e.state, LeaseState::Empty | LeaseState::Incoming));
        counted.max_by_key(|entry| entry.term)
    }

    fn top_state(&self, n: u8) -> Option<LeaseState> {
        self.top(n).map(|entry| entry.state)
    }

    fn says_top(&self, n: u8) -> Option<Term> {
        self.top(n).map(|entry| entry.term)
    }
}

fn race(seed: u64) {
    let mut race = Race::new(seed);
    for _ in 0..STEPS {
        race.step();
    }
    race.finish();
}

#[test]
fn in_any_order_a_domain_runs_at_most_once_and_none_is_lost() {
    (0..16).for_each(race);
}
