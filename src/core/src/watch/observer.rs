//! The observer without a slot: reads the header, scans, and says of every slot what it can prove.
//!
//! It writes nothing but its nonce into an observer sector, and only when a verdict by time may be near. It never says
//! expired of a dead picture: neither of a file that nobody writes, nor of a writable copy of one.

use std::time::Duration;

use super::header_read::{HeaderError, HeaderRead};
use super::live_path::LivePath;
use super::scan::{Scan, Scanned};
use super::slot_watch::Latched;
use super::{HostReport, Watch};
use crate::format::{Header, HostName, OBSERVER_SECTORS, ObserverSector, SECTOR_LEN};
use crate::ids::{BootId, Nonce, Sequence};
use crate::storage::{IoDone, IoError, IoId, IoOp, IoRequest, Step};
use crate::time::{Instant, Now, ObserverDeadline};

/// Between two scans: the hosts' own interval, within these.
const SCAN_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(250)..=Duration::from_secs(1);

/// What an observer is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObserverConfig {
    /// Size of the file or device in bytes.
    pub size: u64,
    /// The cluster name that the header must carry, if one is expected.
    pub cluster_name: Option<String>,
    /// This machine's name, for people.
    pub name: String,
    /// This boot.
    pub boot_id: BootId,
    /// Seed of the nonces and of the sector that is used.
    pub seed: u64,
}

/// Why an observer cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObserverError {
    /// No header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Another cluster's file.
    #[error("the lease file belongs to cluster '{found}', not to '{wanted}'")]
    WrongCluster {
        /// The name in the header.
        found: String,
        /// The name that was expected.
        wanted: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    Header(HeaderRead),
    /// Until the next scan is due.
    Idle,
    /// Writing the nonce.
    Nonce {
        nonce: Nonce,
    },
    Scanning {
        scan: Scan,
        nonce: Option<(Nonce, Instant)>,
    },
    Failed(ObserverError),
}

/// An observer without a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observer {
    config: ObserverConfig,
    header: Option<Header>,
    watch: Option<Watch>,
    stage: Stage,
    outstanding: Option<IoId>,
    ios: u64,
    sector: u8,
    sequence: Sequence,
    last_started: Option<Instant>,
    warning: Option<String>,
    last_error: Option<IoError>,
}

impl Observer {
    /// An observer that will read the header first.
    #[must_use]
    pub fn new(config: ObserverConfig) -> Self {
        let sector = u8::try_from(config.seed % u64::from(OBSERVER_SECTORS)).unwrap_or_default();
        let stage = Stage::Header(HeaderRead::new(config.size));
        Self {
            config,
            header: None,
            watch: None,
            stage,
            outstanding: None,
            ios: 0,
            sector,
            sequence: Sequence(0),
            last_started: None,
            warning: None,
            last_error: None,
        }
    }

    /// What to do: a storage request, a wait, or the error that ends it.
    pub fn poll(&mut self, now: &Now) -> Step<ObserverError> {
        if self.stage == Stage::Idle && self.is_due(now.instant) {
            self.start_pass(now);
        }
        match &self.stage {
            Stage::Failed(error) => Step::Done(error.clone()),
            Stage::Idle => Step::Wait(self.next_start(now.instant)),
            Stage::Header(read) => match read.poll() {
                Step::Io(op) => Step::Io(op),
                Step::Wait(at) => Step::Wait(at),
                Step::Done(_) => Step::Wait(now.instant),
            },
            Stage::Nonce { nonce } => match &self.header {
                Some(header) => Step::Io(self.nonce_write(header, *nonce, now)),
                None => Step::Wait(now.instant),
            },
            Stage::Scanning { scan, .. } => match scan.poll() {
                Step::Io(op) => Step::Io(op),
                Step::Wait(_) | Step::Done(_) => Step::Wait(now.instant),
            },
        }
    }

    /// As [`Self::poll`], with the operation numbered for a storage thread; nothing while one is outstanding.
    pub fn poll_request(&mut self, now: &Now) -> Option<IoRequest> {
        if self.outstanding.is_some() {
            return None;
        }
        let Step::Io(op) = self.poll(now) else { return None };
        self.ios += 1;
        self.outstanding = Some(IoId(self.ios));
        Some(IoRequest { id: IoId(self.ios), op })
    }

    /// The end of the operation that `poll` asked for. Gives the evidence that was latched by it.
    pub fn handle_io(&mut self, done: &IoDone) -> Vec<Latched> {
        self.outstanding = None;
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Header(mut read) => {
                read.handle_io(done);
                self.take_header(read);
                Vec::new()
            }
            Stage::Nonce { nonce } => {
                let written = done.result.is_ok().then_some((nonce, done.issued.instant));
                self.scan(written);
                Vec::new()
            }
            Stage::Scanning { mut scan, nonce } => {
                scan.handle_io(done);
                self.take_scan(scan, nonce)
            }
            stage @ (Stage::Idle | Stage::Failed(_)) => {
                self.stage = stage;
                Vec::new()
            }
        }
    }

    /// The header, once it was read.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The watch, once the header was read.
    #[must_use]
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// What can be said of all hosts, by slot; empty before the first scan.
    #[must_use]
    pub fn reports(&self, now: Instant) -> Vec<HostReport> {
        self.watch.as_ref().map(|watch| watch.reports(now)).unwrap_or_default()
    }

    /// What an operator should know: a damaged header, or the last operation's error.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let error = || self.last_error.as_ref().map(|error| format!("the last scan failed: {error}"));
        self.warning.clone().or_else(error)
    }

    fn is_due(&self, now: Instant) -> bool {
        let regular = self.last_started.is_none_or(|last| now.since_by_slower(last) >= self.interval());
        regular || self.deadline_ahead().is_some_and(|due| due.reached(now))
    }

    fn next_start(&self, now: Instant) -> Instant {
        let regular = self.last_started.map_or(now, |last| last.plus(self.interval()));
        let left = ObserverDeadline(regular).left(now);
        now.plus(self.deadline_ahead().map_or(left, |due| left.min(due.left(now))))
    }

    /// The next deadline, if no pass was begun at it: one that failed is made again after an interval, not at once.
    fn deadline_ahead(&self) -> Option<ObserverDeadline> {
        let deadline = self.watch.as_ref().and_then(Watch::next_deadline);
        deadline.filter(|due| self.last_started.is_none_or(|last| !due.reached(last)))
    }

    fn interval(&self) -> Duration {
        let records = self.watch.iter().flat_map(Watch::records);
        let shortest = records.map(|record| record.terms.scan_interval).min();
        shortest.unwrap_or(*SCAN_INTERVALS.end()).clamp(*SCAN_INTERVALS.start(), *SCAN_INTERVALS.end())
    }

    fn start_pass(&mut self, now: &Now) {
        self.last_started = Some(now.instant);
        if self.watch.as_ref().is_some_and(|watch| watch.may_prove_by_time(now.instant)) {
            self.sequence = self.sequence.next();
            self.stage = Stage::Nonce { nonce: self.draw() };
        } else {
            self.scan(None);
        }
    }

    fn scan(&mut self, nonce: Option<(Nonce, Instant)>) {
        if let Some(header) = &self.header {
            let scan = Scan::new(header.layout, nonce.is_some());
            let scan = self.watch.iter().fold(scan, Scan::knowing);
            self.stage = Stage::Scanning { scan, nonce };
        }
    }

    fn draw(&self) -> Nonce {
        // Spread by a multiplication: all that matters is that no other observer writes the same.
        Nonce(self.config.seed.wrapping_add(self.sequence.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn nonce_write(&self, header: &Header, nonce: Nonce, now: &Now) -> IoOp {
        let place = header.layout.observer(self.sector);
        let name = HostName::cut(&self.config.name);
        let boot_id = self.config.boot_id;
        let sector = ObserverSector { boot_id, sequence: self.sequence, nonce, wall_ns: now.wall_ns, name };
        IoOp::Write { offset: place.offset, data: sector.encode(&place) }
    }

    fn take_header(&mut self, read: HeaderRead) {
        match read.poll() {
            Step::Done(Ok(found)) => {
                let name = found.header.cluster_name.as_str();
                if let Some(wanted) = self.config.cluster_name.clone().filter(|wanted| wanted != name) {
                    self.stage =
                        Stage::Failed(ObserverError::WrongCluster { found: name.to_owned(), wanted });
                    return;
                }
                self.warning = found.warning;
                self.watch = Some(Watch::new(&found.header));
                self.header = Some(found.header);
                self.stage = Stage::Idle;
            }
            Step::Done(Err(error)) => self.stage = Stage::Failed(error.into()),
            Step::Io(_) | Step::Wait(_) => self.stage = Stage::Header(read),
        }
    }

    fn take_scan(&mut self, scan: Scan, nonce: Option<(Nonce, Instant)>) -> Vec<Latched> {
        match scan.poll() {
            Step::Done(Ok(scanned)) => {
                self.stage = Stage::Idle;
                self.last_error = None;
                let live = self.live_path(&scanned, nonce);
                self.watch.as_mut().map(|watch| watch.apply(scanned, live)).unwrap_or_default()
            }
            Step::Done(Err(error)) => {
                self.stage = Stage::Idle;
                self.last_error = Some(error);
                Vec::new()
            }
            Step::Io(_) | Step::Wait(_) => {
                self.stage = Stage::Scanning { scan, nonce };
                Vec::new()
            }
        }
    }

    /// The nonce must be read back in the same pass. Foreign bytes: another observer uses the sector; take the next.
    fn live_path(&mut self, scanned: &Scanned, nonce: Option<(Nonce, Instant)>) -> LivePath {
        let (Some((nonce, nonce_issued)), Some(header)) = (nonce, &self.header) else {
            return LivePath::NotShown(
                "no sign that this path is live: no nonce of this observer was acknowledged",
            );
        };
        let at = usize::from(self.sector) * SECTOR_LEN;
        let bytes = scanned.observers.get(at..at + SECTOR_LEN).unwrap_or_default();
        let place = header.layout.observer(self.sector);
        if ObserverSector::decode(&place, bytes).is_ok_and(|sector| sector.nonce == nonce) {
            return LivePath::Observer { nonce_issued };
        }
        self.sector = (self.sector + 1) % OBSERVER_SECTORS;
        LivePath::NotShown("no sign that this path is live: the nonce was not read back")
    }
}
