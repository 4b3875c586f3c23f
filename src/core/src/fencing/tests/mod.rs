//! Timelines: one test for each sentence about the fencer. Times are milliseconds after the fencer started; the ttl is
//! 8 s, the budget 2 s.

mod beats;
mod ends;
mod pets;
mod proofs;
mod resets;
mod restarts;
mod writers;

use std::time::Duration;

use super::{
    AgentHalf, Beat, DomainProcess, Event, Fencer, FencerHalf, HalfReading, Hands, Marker, MarkerFound,
    PageView, QuiesceTarget, RestoredPage, Scan, StartToken, Step, StorageKind, Wish,
};
use crate::ids::{BootId, DomainId, FileId, Generation, Incarnation, Slot, Term};
use crate::terms::Terms;
use crate::time::{HolderDeadline, Instant, Now};

const BOOT: BootId = BootId([0xb0; 16]);
const OTHER_BOOT: BootId = BootId([0xb1; 16]);

/// The clocks do not agree, as on a real machine.
fn at(ms: u64) -> Instant {
    Instant { boot_ns: 1_000_000_000_000 + ms * 1_000_000, raw_ns: 900_000_000_000 + ms * 1_000_000 }
}

fn now(ms: u64) -> Now {
    Now { instant: at(ms), suspended_ns: 100_000_000_000, wall_ns: 0 }
}

fn end(ms: u64) -> HolderDeadline {
    HolderDeadline(at(ms))
}

fn generation(number: u32) -> Incarnation {
    Incarnation { slot: Slot(3), generation: Generation(number) }
}

/// A guest that started `started` ms after the fencer.
fn process(domain: u8, started: u64) -> DomainProcess {
    let domain = DomainId([domain; 16]);
    DomainProcess { domain, pid: 100, start_time: at(started).boot_ns / 10_000_000, scan: 0 }
}

fn token(domain: u8, opened: u64) -> StartToken {
    StartToken { domain: DomainId([domain; 16]), term: Term(1), opened: at(opened) }
}

/// A host: the fencer, its page, its marker, and its processes, beaten by hand.
struct Host {
    fencer: Fencer,
    agent: AgentHalf,
    readable: bool,
    marker: MarkerFound,
    published: FencerHalf,
    processes: Vec<DomainProcess>,
    /// What others have open for writing, by device number.
    writers: Vec<u64>,
    scan_works: bool,
    /// When the last search began, where it was not in the look itself.
    searches: Option<Option<Instant>>,
    looked: Instant,
    marker_works: bool,
    page_works: bool,
    looked_thoroughly: bool,
    killed: Vec<DomainProcess>,
    /// So many were killed before this beat: in each beat a process is noted once.
    killed_before: usize,
    events: Vec<Event>,
    resets: u32,
    /// When the reset's own thread would pull the trigger.
    reset_by: Option<HolderDeadline>,
    /// The same at the moment when the half was published last.
    stood_behind: Option<HolderDeadline>,
}

impl Host {
    /// Never armed; the agent joins with generation 5.
    fn new() -> Self {
        let fencer = Fencer::start(&now(0), BOOT, MarkerFound::None, &RestoredPage::default());
        let agent = AgentHalf {
            file_id: FileId([0xf1; 16]),
            boot_id: BOOT,
            incarnation: generation(5),
            terms: Terms {
                lease_ttl: Duration::from_secs(8),
                fence_budget: Duration::from_secs(2),
                watchdog_actual: Duration::from_secs(3),
                ..Terms::default()
            },
            quiesce: vec![QuiesceTarget { kind: StorageKind::OneKernel, device: 1 }],
            covered: (1..=3).map(|domain| DomainId([domain; 16])).collect(),
            ..AgentHalf::default()
        };
        let published = fencer.half().clone();
        Self {
            fencer,
            agent,
            readable: true,
            marker: MarkerFound::None,
            published,
            processes: Vec::new(),
            writers: Vec::new(),
            scan_works: true,
            searches: None,
            looked: Instant::default(),
            marker_works: true,
            page_works: true,
            looked_thoroughly: false,
            killed: Vec::new(),
            killed_before: 0,
            events: Vec::new(),
            resets: 0,
            reset_by: None,
            stood_behind: None,
        }
    }

    /// Armed at 0 with an end at 8000.
    fn armed() -> Self {
        let mut host = Self::new();
        host.arm(0);
        assert!(host.published.armed && host.published.latched.is_none());
        host
    }

    fn arm(&mut self, ms: u64) {
        self.agent.wish = Wish::Armed;
        self.agent.arm_count += 1;
        self.renew(ms);
    }

    /// The agent publishes an end one ttl ahead.
    fn renew(&mut self, ms: u64) {
        self.agent.lease_end = end(ms + 8000);
        self.beat(ms);
    }

    /// The agent publishes this end.
    fn publish_end(&mut self, ms: u64, until: u64) {
        self.agent.lease_end = end(until);
        self.beat(ms);
    }

    /// One beat of a fencer whose kills take effect at once.
    fn beat(&mut self, ms: u64) {
        self.beat_at(&now(ms));
        self.processes.retain(|process| !self.killed[self.killed_before..].contains(process));
        self.beat_at(&now(ms));
    }

    /// One beat in which nothing dies.
    fn beat_at(&mut self, now: &Now) {
        let mut beat = Beat::default();
        while self.step(&mut beat, now).is_some() {}
        self.events.extend(self.fencer.take_events());
    }

    fn step(&mut self, beat: &mut Beat, now: &Now) -> Option<Step> {
        let mut fencer = self.fencer.clone();
        let step = beat.step(now, &mut fencer, self);
        self.fencer = fencer;
        step
    }

    /// The fencer dies, and is started again with its page.
    fn restart(&mut self, ms: u64) {
        let (own, agent) = (self.published.clone(), self.agent.clone());
        let page = RestoredPage { own: Some(&own), agent: self.readable.then_some(&agent) };
        self.fencer = Fencer::start(&now(ms), BOOT, self.marker, &page);
    }

    /// The fencer dies, and is started again without a page: the new one is empty.
    fn restart_without_page(&mut self, ms: u64) {
        self.readable = false;
        self.fencer = Fencer::start(&now(ms), BOOT, self.marker, &RestoredPage::default());
    }

    fn is_latched(&self) -> bool {
        self.published.latched.is_some()
    }

    fn is_clean(&self) -> bool {
        self.published.clean.is_some()
    }

    fn marker(&self) -> Marker {
        match self.marker {
            MarkerFound::Marker(marker) => marker,
            other => panic!("no marker: {other:?}"),
        }
    }
}

impl Hands for Host {
    fn read_agent(&mut self) -> HalfReading<&AgentHalf> {
        self.killed_before = self.killed.len();
        if self.readable { HalfReading::Good(&self.agent) } else { HalfReading::Bad }
    }

    fn write_marker(&mut self, marker: &Marker) -> bool {
        if self.marker_works {
            self.marker = MarkerFound::Marker(*marker);
        }
        self.marker_works
    }

    fn kill(&mut self, fencer: &Fencer) {
        let condemned = self.processes.iter().filter(|process| fencer.condemns(process));
        let fresh: Vec<_> = condemned
            .filter(|process| !self.killed[self.killed_before..].contains(process))
            .copied()
            .collect();
        self.killed.extend(fresh);
    }

    fn publish(&mut self, half: &FencerHalf) -> bool {
        self.stood_behind = self.reset_by;
        if self.page_works {
            self.published = half.clone();
        }
        self.page_works
    }

    fn look(&mut self, now: Instant, thorough: bool) {
        self.looked = now;
        self.looked_thoroughly = thorough;
    }

    fn reset(&mut self) {
        self.resets += 1;
    }

    fn reset_by(&mut self, deadline: Option<HolderDeadline>) {
        self.reset_by = deadline;
    }

    fn found(&self) -> (bool, &[DomainProcess]) {
        (self.scan_works, &self.processes)
    }

    fn searched(&self) -> Option<Instant> {
        self.searches.unwrap_or(Some(self.looked))
    }

    fn outside_writers(&self) -> &[u64] {
        &self.writers
    }
}
