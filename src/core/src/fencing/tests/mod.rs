//! Timelines: one test for each sentence about the fencer. Times are milliseconds after the fencer started; the ttl is
//! 8 s, the budget 2 s.

mod ends;
mod pets;
mod proofs;
mod restarts;

use std::time::Duration;

use super::{
    AgentHalf, DomainProcess, Event, Fencer, FencerHalf, Marker, MarkerFound, PageView, QuiesceTarget,
    RestoredPage, Scan, StartToken, StorageKind, Wish,
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
    scan_works: bool,
    killed: Vec<DomainProcess>,
    events: Vec<Event>,
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
            scan_works: true,
            killed: Vec::new(),
            events: Vec::new(),
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
        self.processes.retain(|process| !self.killed.contains(process));
        self.beat_at(&now(ms));
    }

    /// One beat in which nothing dies.
    fn beat_at(&mut self, now: &Now) {
        let view = if self.readable { PageView::Good(&self.agent) } else { PageView::Unreadable };
        self.fencer.handle_page(now, view);
        if let Some(marker) = self.fencer.marker_wanted() {
            self.marker = MarkerFound::Marker(marker);
            self.fencer.marker_written();
        }
        self.publish();
        let fencer = &self.fencer;
        self.killed.extend(self.processes.iter().filter(|process| fencer.condemns(process)));
        let scan = Scan { started: now.instant, complete: self.scan_works, processes: &self.processes };
        self.fencer.handle_scan(now, &scan);
        self.publish();
        self.events.extend(self.fencer.take_events());
    }

    fn publish(&mut self) {
        self.published = self.fencer.half().clone();
        self.fencer.published();
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
