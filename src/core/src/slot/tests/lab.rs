//! A lease file in memory, one host's clock, and a driver that runs a procedure to its end while a test decides the fate of
//! each operation.

use std::time::Duration;

use crate::format::tests::plain_record;
use crate::format::{Claim, HostName, HostRecord, HostState, Layout, LeasePage, Place, RecordCopy, Unit};
use crate::ids::{BootId, FileId, Generation, HostKey, Incarnation, Nonce, Slot};
use crate::slot::{FreeError, Join, JoinOutcome, Joined, Joiner, SlotFree};
use crate::storage::{IoDone, IoError, IoId, IoOp, Step};
use crate::time::{Instant, Now};

pub(super) const A: HostKey = HostKey([0xaa; 16]);
pub(super) const B: HostKey = HostKey([0xbb; 16]);
pub(super) const BOOT: BootId = BootId([1; 16]);
pub(super) const OLD_BOOT: BootId = BootId([9; 16]);

/// What becomes of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Done, and acknowledged after so many milliseconds.
    Took(u64),
    /// A write that fails after so many milliseconds and never lands; a read that fails.
    Fails(u64),
    /// A write that fails although it landed.
    FailsLanded(u64),
    /// The path leads to another file.
    Replaced,
}

/// Anything with the two calls of a procedure.
pub(super) trait Procedure {
    type End;
    fn next(&mut self, now: &Now) -> Step<Self::End>;
    fn take(&mut self, done: &IoDone);
}

impl Procedure for Join {
    type End = JoinOutcome;
    fn next(&mut self, now: &Now) -> Step<JoinOutcome> {
        self.poll(now)
    }
    fn take(&mut self, done: &IoDone) {
        self.handle_io(done);
    }
}

impl Procedure for SlotFree {
    type End = Result<(), FreeError>;
    fn next(&mut self, now: &Now) -> Step<Self::End> {
        self.poll(now)
    }
    fn take(&mut self, done: &IoDone) {
        self.handle_io(done);
    }
}

/// The file, the clock, and all that was done.
pub(super) struct Lab {
    pub(super) layout: Layout,
    pub(super) file: Vec<u8>,
    pub(super) now: Now,
    /// `10005 write claim 0`, in milliseconds when issued.
    pub(super) log: Vec<(u64, String)>,
}

impl Lab {
    /// A fresh lease file of so many slots and two pages; the clock stands at 100 s after boot.
    pub(super) fn new(slots: u16) -> Self {
        let layout = Layout::new(FileId([7; 16]), Unit::Bytes4096, slots, 2).unwrap();
        let file = vec![0; usize::try_from(layout.total_size()).unwrap()];
        let mut lab = Self { layout, file, now: Now::default(), log: Vec::new() };
        lab.advance(100_000);
        lab
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.now.instant = self.now.instant.plus(Duration::from_millis(ms));
    }

    pub(super) fn ms(&self) -> u64 {
        self.now.instant.boot_ns / 1_000_000
    }

    pub(super) fn put(&mut self, place: &Place, bytes: &[u8]) {
        let at = usize::try_from(place.offset).unwrap();
        self.file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn get(&self, place: &Place) -> &[u8] {
        let at = usize::try_from(place.offset).unwrap();
        &self.file[at..at + place.len]
    }

    pub(super) fn put_claim(&mut self, slot: u16, key: HostKey, name: &str) {
        let place = self.layout.claim(Slot(slot));
        let name = HostName::cut(name);
        let claim = Claim { slot: Slot(slot), boot_id: OLD_BOOT, host_key: key, nonce: Nonce(3), name };
        self.put(&place, &claim.encode(&place));
    }

    /// Puts the record into the copy of its sequence.
    pub(super) fn put_record(&mut self, record: &HostRecord) {
        let copy = RecordCopy::of_sequence(record.sequence);
        let place = self.layout.host_record(record.incarnation.slot, copy);
        self.put(&place, &record.encode(&place));
    }

    /// Puts a record of `key` into both copies.
    pub(super) fn put_records(&mut self, slot: u16, key: HostKey, generation: u32, state: HostState) {
        for sequence in [10, 11] {
            self.put_record(&record(slot, key, generation, sequence, state));
        }
    }

    pub(super) fn put_page(&mut self, number: u8, page: &LeasePage) {
        for copy in RecordCopy::BOTH {
            let place = self.layout.lease_page(number, page.incarnation.slot, copy);
            self.put(&place, &page.encode(&place));
        }
    }

    pub(super) fn record_at(&self, slot: u16, copy: RecordCopy) -> HostRecord {
        let place = self.layout.host_record(Slot(slot), copy);
        HostRecord::decode(&place, self.get(&place)).unwrap()
    }

    pub(super) fn page_at(&self, number: u8, slot: u16, copy: RecordCopy) -> LeasePage {
        let place = self.layout.lease_page(number, Slot(slot), copy);
        LeasePage::decode(&place, self.get(&place)).unwrap()
    }

    /// Runs to the end; each operation takes 1 ms and succeeds.
    pub(super) fn run<P: Procedure>(&mut self, procedure: &mut P) -> P::End {
        self.run_with(procedure, |_, _| Fate::Took(1))
    }

    /// Runs to the end; `fate` sees each operation by its name when it is issued, and may change the file.
    pub(super) fn run_with<P: Procedure>(
        &mut self,
        procedure: &mut P,
        mut fate: impl FnMut(&mut Self, &str) -> Fate,
    ) -> P::End {
        for turn in 0..10_000 {
            match procedure.next(&self.now) {
                Step::Done(end) => return end,
                Step::Wait(until) => self.wait_until(until),
                Step::Io(op) => {
                    let again = procedure.next(&self.now);
                    assert!(
                        matches!(again, Step::Io(same) if same == op),
                        "the answer stays the same until something happens"
                    );
                    let name = self.name(&op);
                    self.log.push((self.ms(), name.clone()));
                    let fate = fate(self, &name);
                    let done = self.execute(turn, &op, fate);
                    procedure.take(&done);
                }
            }
        }
        panic!("it does not end: {:?}", &self.log[self.log.len() - 20..]);
    }

    fn wait_until(&mut self, until: Instant) {
        assert!(until != self.now.instant, "a wait that is over is no wait");
        self.now.instant.boot_ns = self.now.instant.boot_ns.max(until.boot_ns);
        self.now.instant.raw_ns = self.now.instant.raw_ns.max(until.raw_ns);
    }

    fn execute(&mut self, id: u64, op: &IoOp, fate: Fate) -> IoDone {
        let issued = self.now;
        let failed = || Err(IoError::Failed("Input/output error".into()));
        let (took, lands, result) = match fate {
            Fate::Took(ms) => (ms, true, Ok(())),
            Fate::Fails(ms) => (ms, false, failed()),
            Fate::FailsLanded(ms) => (ms, true, failed()),
            Fate::Replaced => (1, false, Err(IoError::Replaced("lease".into()))),
        };
        self.advance(took);
        let bytes = self.apply(op, lands);
        IoDone { id: IoId(id), issued, ended: self.now, result: result.map(|()| bytes) }
    }

    /// The bytes of a read; a write changes the file if it lands.
    fn apply(&mut self, op: &IoOp, lands: bool) -> Vec<u8> {
        let place = |offset, len| Place { file_id: self.layout.file_id(), offset, len, slot: None };
        match op {
            IoOp::Read { offset, len } => self.get(&place(*offset, *len)).to_vec(),
            IoOp::Write { offset, data } => {
                let place = place(*offset, data.len());
                if lands {
                    self.put(&place, data);
                }
                Vec::new()
            }
        }
    }

    /// `write record 0 A`, `read claim 2`, `read claims`, `write page 1 0 B`, …
    fn name(&self, op: &IoOp) -> String {
        let (word, offset, len) = match op {
            IoOp::Read { offset, len } => ("read", *offset, *len),
            IoOp::Write { offset, data } => ("write", *offset, data.len()),
        };
        let layout = self.layout;
        let is = |place: Place| (place.offset, place.len) == (offset, len);
        let mut names = vec![("claims".to_owned(), offset == layout.claims().start && len > 4096)];
        names.push(("records".to_owned(), offset == layout.host_records().start && len > 4096));
        for slot in layout.slots() {
            names.push((format!("claim {slot}"), is(layout.claim(slot))));
            for copy in RecordCopy::BOTH {
                names.push((format!("record {slot} {copy:?}"), is(layout.host_record(slot, copy))));
                for page in 0..layout.pages() {
                    names.push((
                        format!("page {page} {slot} {copy:?}"),
                        is(layout.lease_page(page, slot, copy)),
                    ));
                }
            }
        }
        for page in 0..layout.pages() {
            names.push((format!("page {page}"), offset == layout.lease_page_range(page).start && len > 4096));
        }
        let name = names.into_iter().find(|(_, is)| *is).expect("an operation on a known place").0;
        format!("{word} {name}")
    }

    /// When the first operation of this name was issued.
    pub(super) fn when(&self, name: &str) -> u64 {
        self.log
            .iter()
            .find(|(_, done)| done == name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.log))
            .0
    }

    /// The operations' names, in order.
    pub(super) fn names(&self) -> Vec<&str> {
        self.log.iter().map(|(_, name)| name.as_str()).collect()
    }

    pub(super) fn writes(&self) -> Vec<&str> {
        self.names().into_iter().filter(|name| name.starts_with("write")).collect()
    }
}

pub(super) fn record(
    slot: u16,
    key: HostKey,
    generation: u32,
    sequence: u64,
    state: HostState,
) -> HostRecord {
    let incarnation = Incarnation { slot: Slot(slot), generation: Generation(generation) };
    HostRecord {
        boot_id: OLD_BOOT,
        host_key: key,
        process_nonce: Nonce(77),
        state,
        host_name: HostName::cut("alpha"),
        ..plain_record(incarnation, sequence)
    }
}

/// A machine that booted long ago, with a firmware uuid.
pub(super) fn joiner(key: HostKey) -> Joiner {
    Joiner {
        record: HostRecord { boot_id: BOOT, ..record(0, key, 0, 0, HostState::Joining) },
        page: None,
        uptime: Duration::from_secs(100),
        uptime_from: Instant::default().plus(Duration::from_secs(100)),
        has_machine_uuid: true,
    }
}

pub(super) fn joined(outcome: JoinOutcome) -> Joined {
    match outcome {
        JoinOutcome::Joined(joined) => *joined,
        other => panic!("not joined: {other:?}"),
    }
}

pub(super) fn refusal(outcome: JoinOutcome) -> String {
    match outcome {
        JoinOutcome::Refused(error) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}
