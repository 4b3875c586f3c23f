//! `leasefence lease list`: the lease pages as they stand on the storage, read by a thread and a descriptor of its own,
//! for people. What the member decides by, it reads itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use leasefence_api as api;
use leasefence_api::LeaseList;
use leasefence_core::format::{
    Copies, Header, HostRecord, Layout, LeaseEntry, LeaseFlags, LeasePage, LeaseState, SECTOR_LEN,
};
use leasefence_core::ids::{DomainId, Incarnation, Slot, Term};
use leasefence_core::storage::{IoDone, IoId, IoOp, IoRequest};
use leasefence_disk::{Disk, DiskOptions};
use tokio::sync::oneshot;

/// Longest that storage may take to answer one read, before the reader gives up.
const DEADLINE: Duration = Duration::from_secs(4);

/// What to read, and how to call what is found.
pub(crate) struct Question {
    /// The lease file.
    pub(crate) path: PathBuf,
    /// Only this domain.
    pub(crate) domain: Option<DomainId>,
    /// Names of the domains that libvirt knows here.
    pub(crate) names: BTreeMap<DomainId, String>,
}

impl Question {
    /// Answers on a thread of its own.
    pub(crate) fn ask(self, answer: oneshot::Sender<Result<LeaseList, String>>) {
        let work = move || drop(answer.send(self.read()));
        drop(thread::Builder::new().name("leases".to_owned()).spawn(work));
    }

    fn read(&self) -> Result<LeaseList, String> {
        let mut reader = Reader::open(&self.path)?;
        let layout = reader.header()?.layout;
        let hosts = hosts(&layout, &reader.read_range(&layout.host_records())?);
        let mut list = LeaseList { age_ms: Some(0), ..LeaseList::default() };
        for page in 0..layout.pages() {
            let scan = reader.read_range(&layout.lease_page_range(page))?;
            self.take_page(&layout, page, &scan, &hosts, &mut list);
        }
        list.entries.sort_by(|a, b| (&a.uuid, b.term, a.slot).cmp(&(&b.uuid, a.term, b.slot)));
        Ok(list)
    }

    fn take_page(
        &self,
        layout: &Layout,
        page: u8,
        scan: &[u8],
        hosts: &BTreeMap<Slot, String>,
        list: &mut LeaseList,
    ) {
        let mut found: Vec<(Incarnation, LeaseEntry)> = Vec::new();
        for slot in layout.slots() {
            let copies = Copies::<LeasePage>::in_page_scan(layout, page, slot, scan);
            match copies.newest() {
                Some((_, sector)) => {
                    found.extend(sector.entries().map(|entry| (sector.incarnation, *entry)));
                }
                None if copies.both_empty() && !hosts.contains_key(&slot) => {}
                None => {
                    let sentence = format!("Page {page} of slot {slot} cannot be read in either copy.");
                    list.unreadable.push(sentence);
                }
            }
        }
        let wanted = |domain: DomainId| self.domain.is_none_or(|only| only == domain);
        for (incarnation, entry) in found.iter().filter(|(_, entry)| wanted(entry.domain)) {
            let top = top(entry.domain, &found);
            list.entries.push(self.describe(*incarnation, entry, top, hosts));
        }
    }

    fn describe(
        &self,
        incarnation: Incarnation,
        entry: &LeaseEntry,
        top: Option<Term>,
        hosts: &BTreeMap<Slot, String>,
    ) -> api::LeaseEntry {
        api::LeaseEntry {
            uuid: entry.domain.to_string(),
            name: self.names.get(&entry.domain).cloned(),
            slot: incarnation.slot.0,
            generation: incarnation.generation.0,
            host: hosts.get(&incarnation.slot).cloned(),
            state: entry.state.as_str().to_owned(),
            term: entry.term.0,
            want_term: entry.want_term.0,
            top: top == Some(entry.term) && makes_top(entry.state),
            ha: entry.flags.contains(LeaseFlags::HA),
            hold: entry.flags.contains(LeaseFlags::HOLD),
            priority: entry.priority,
            failures: entry.failures,
            deaths: entry.deaths,
            changed_unix_ms: u64::from(entry.changed_s) * 1000,
        }
    }
}

/// The highest term among own, orphan, stopped and saved.
fn top(domain: DomainId, found: &[(Incarnation, LeaseEntry)]) -> Option<Term> {
    let counts = |entry: &&LeaseEntry| entry.domain == domain && makes_top(entry.state);
    found.iter().map(|(_, entry)| entry).filter(counts).map(|entry| entry.term).max()
}

fn makes_top(state: LeaseState) -> bool {
    matches!(state, LeaseState::Own | LeaseState::Orphan | LeaseState::Stopped | LeaseState::Saved)
}

fn hosts(layout: &Layout, scan: &[u8]) -> BTreeMap<Slot, String> {
    let name = |slot| {
        let copies = Copies::<HostRecord>::in_scan(layout, slot, scan);
        copies.newest().map(|(_, record)| (slot, record.host_name.to_string()))
    };
    layout.slots().filter_map(name).collect()
}

/// The lease file, opened for reading alone.
struct Reader {
    disk: Disk,
    done: Receiver<IoDone>,
    size: u64,
    next: u64,
}

impl Reader {
    fn open(path: &std::path::Path) -> Result<Self, String> {
        let (done, ended) = mpsc::channel();
        let options = DiskOptions { read_only: true, ..DiskOptions::default() };
        let (disk, medium) =
            Disk::open_within(path, options, DEADLINE, move |io_done| drop(done.send(io_done)))
                .map_err(|error| error.to_string())?;
        Ok(Self { disk, done: ended, size: medium.size, next: 0 })
    }

    fn header(&mut self) -> Result<Header, String> {
        let last = self.size.saturating_sub(SECTOR_LEN as u64);
        let mut said = String::new();
        for offset in [0, last] {
            match Header::decode(offset, &self.read(offset, SECTOR_LEN)?) {
                Ok(header) if header.features.readable() => return Ok(header),
                Ok(_) => return Err("the lease file has features that this version does not know".to_owned()),
                Err(error) => said = error.to_string(),
            }
        }
        Err(format!("neither header of the lease file can be read: {said}"))
    }

    fn read_range(&mut self, range: &std::ops::Range<u64>) -> Result<Vec<u8>, String> {
        let len = usize::try_from(range.end - range.start).map_err(|error| error.to_string())?;
        self.read(range.start, len)
    }

    fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        self.next += 1;
        let request = IoRequest { id: IoId(self.next), op: IoOp::Read { offset, len } };
        if !self.disk.submit(request) {
            return Err("the reading thread has ended".to_owned());
        }
        let done = self.done.recv_timeout(DEADLINE).map_err(|_| "the storage does not answer".to_owned())?;
        done.result.map_err(|error| format!("reading {len} bytes at {offset}: {error}"))
    }
}
