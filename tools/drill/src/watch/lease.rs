//! Looks at the lease file, as any machine could: the records of all hosts, and what they say of the canary.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use leasefence_core::format::{Copies, Header, HostRecord, LeasePage, LeaseState, SECTOR_LEN};
use leasefence_core::ids::{DomainId, Slot};
use leasefence_core::storage::{IoDone, IoId, IoOp, IoRequest};
use leasefence_disk::{Disk, DiskOptions};

use super::{EntrySeen, Eye, LOOK, RecordSeen, Sight};

/// A storage that has not answered by then is said not to.
const DEADLINE: Duration = Duration::from_secs(5);

/// Starts to look; ends when nobody listens any more.
///
/// # Errors
/// When the lease file cannot be read, or there is no thread to be had.
pub(super) fn start(path: &Path, canary: DomainId, eye: Eye) -> Result<(), String> {
    let mut reader = Reader::open(path)?;
    let look = move || {
        let mut shown = Shown::default();
        loop {
            let goes_on = match reader.look(canary) {
                Ok((records, entries)) => shown.tell(records, entries, &eye),
                Err(why) => eye.sees(Sight::Trouble(why)),
            };
            if !goes_on {
                return;
            }
            thread::sleep(LOOK);
        }
    };
    thread::Builder::new().name("lease".to_owned()).spawn(look).map(drop).map_err(|error| error.to_string())
}

/// What the lease file says now of the hosts and of a domain.
///
/// # Errors
/// When it cannot be read.
pub fn read_once(path: &Path, canary: DomainId) -> Result<(Vec<RecordSeen>, Vec<EntrySeen>), String> {
    Reader::open(path)?.look(canary)
}

/// What was told already: only changes are.
#[derive(Default)]
struct Shown {
    records: BTreeMap<u16, RecordSeen>,
    entries: BTreeMap<u16, EntrySeen>,
}

impl Shown {
    fn tell(&mut self, records: Vec<RecordSeen>, entries: Vec<EntrySeen>, eye: &Eye) -> bool {
        let new = |record: &RecordSeen| self.records.get(&record.incarnation.0) != Some(record);
        let records: Vec<_> = records.into_iter().filter(new).collect();
        let new = |entry: &EntrySeen| self.entries.get(&entry.incarnation.0) != Some(entry);
        let entries: Vec<_> = entries.into_iter().filter(new).collect();
        let mut goes_on = true;
        for record in records {
            self.records.insert(record.incarnation.0, record.clone());
            goes_on &= eye.sees(Sight::Record(record));
        }
        for entry in entries {
            self.entries.insert(entry.incarnation.0, entry.clone());
            goes_on &= eye.sees(Sight::Entry(entry));
        }
        goes_on && !eye.is_blind()
    }
}

/// The lease file, opened for reading alone. Each read is of the file that the path leads to at that moment.
struct Reader {
    disk: Disk,
    done: Receiver<IoDone>,
    header: Header,
    next: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, String> {
        let (done, ended) = mpsc::channel();
        let options = DiskOptions { read_only: true, ..DiskOptions::default() };
        let (disk, _) = Disk::open_within(path, options, DEADLINE, move |end| drop(done.send(end)))
            .map_err(|error| error.to_string())?;
        let mut next = 0;
        let first = read(&disk, &ended, &mut next, 0, SECTOR_LEN)?;
        let header = Header::decode(0, &first).map_err(|error| {
            format!("the header of the lease file {} cannot be read: {error}", path.display())
        })?;
        Ok(Self { disk, done: ended, header, next })
    }

    fn range(&mut self, range: &Range<u64>) -> Result<Vec<u8>, String> {
        let len = usize::try_from(range.end - range.start).map_err(|error| error.to_string())?;
        read(&self.disk, &self.done, &mut self.next, range.start, len)
    }

    fn look(&mut self, canary: DomainId) -> Result<(Vec<RecordSeen>, Vec<EntrySeen>), String> {
        let layout = self.header.layout;
        let scan = self.range(&layout.host_records())?;
        let record =
            |slot| Copies::<HostRecord>::in_scan(&layout, slot, &scan).newest().map(|(_, r)| seen(r));
        let records: Vec<_> = layout.slots().filter_map(record).collect();
        let page = layout.page_of(canary);
        let scan = self.range(&layout.lease_page_range(page))?;
        let entry = |slot: Slot| {
            let copies = Copies::<LeasePage>::in_page_scan(&layout, page, slot, &scan);
            let (_, sector) = copies.newest()?;
            let entry = sector.get(canary)?;
            let host = records.iter().find(|record| record.incarnation.0 == slot.0)?.host.clone();
            Some(EntrySeen {
                host,
                incarnation: (sector.incarnation.slot.0, sector.incarnation.generation.0),
                state: entry.state,
                term: entry.term.0,
                defined: entry.definition_version > 0 && entry.definition_hash != 0,
            })
        };
        let entries = layout.slots().filter_map(entry).collect();
        Ok((records, entries))
    }
}

fn read(
    disk: &Disk,
    done: &Receiver<IoDone>,
    next: &mut u64,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, String> {
    *next += 1;
    let id = IoId(*next);
    if !disk.submit(IoRequest { id, op: IoOp::Read { offset, len } }) {
        return Err("the thread that reads the lease file has ended".to_owned());
    }
    loop {
        let end = done
            .recv_timeout(DEADLINE)
            .map_err(|_| "the lease's storage does not answer this drill".to_owned())?;
        // The end of a read that was given up before is not this one's.
        if end.id == id {
            return end.result.map_err(|error| format!("reading the lease file: {error}"));
        }
    }
}

fn seen(record: &HostRecord) -> RecordSeen {
    RecordSeen {
        host: record.host_name.to_string(),
        incarnation: (record.incarnation.slot.0, record.incarnation.generation.0),
        sequence: record.sequence.0,
        state: record.state,
        issued_ns: record.issued_ns,
        convicts: record
            .convictions
            .iter()
            .flatten()
            .map(|conviction| (conviction.target.slot.0, conviction.target.generation.0))
            .collect(),
    }
}

/// True for an entry that makes its host the domain's owner.
#[must_use]
pub(crate) fn owns(entry: &EntrySeen) -> bool {
    entry.state == LeaseState::Own
}
