//! A lease file in memory, and hosts whose storage operations a test lets happen, fail, or land late.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fencing::OwnLease;
use crate::format::{Layout, LeaseEntry, LeaseFlags, LeasePage, LeaseState, RecordCopy, Unit};
use crate::ids::{BootId, DomainId, FileId, Generation, Incarnation, Sequence, Slot, Term};
use crate::lease::{
    AcquireKind, AcquireOutcome, AcquireRequest, DomainSpec, LeaseContext, LeaseEvent, LeasePolicy, Leases,
    LeasesConfig,
};
use crate::storage::{IoDone, IoError, IoId, IoOp, Step};
use crate::time::{Instant, Now};
use crate::unknown::{UnknownRules, UnknownWrites};

pub(crate) const RULES: UnknownRules = UnknownRules {
    hold: Duration::from_secs(60),
    drain: Duration::from_secs(2),
    longest_gap: Duration::from_secs(5),
};

/// What becomes of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It happens and is acknowledged.
    Done,
    /// The call fails. A write has not landed; the test may let it land later.
    Fails,
    /// The write lands, and its call fails.
    LandsUnacknowledged,
}

/// The lease file, and what everybody knows of the hosts.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) layout: Layout,
    pub(crate) bytes: Vec<u8>,
    pub(crate) now: Now,
    pub(crate) gone: BTreeSet<Incarnation>,
    pub(crate) vacant: BTreeSet<Slot>,
    pub(crate) hosts: u16,
}

/// One host's leases, as its member would hold them.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) me: Incarnation,
    pub(crate) leases: Leases,
    pub(crate) unknown: UnknownWrites,
    pub(crate) may_write: bool,
}

pub(crate) fn who(slot: u16, generation: u32) -> Incarnation {
    Incarnation { slot: Slot(slot), generation: Generation(generation) }
}

pub(crate) fn domain(n: u8) -> DomainId {
    DomainId([n; 16])
}

pub(crate) fn boot(incarnation: Incarnation) -> BootId {
    let mut bytes = [0xb0; 16];
    bytes[0] = u8::try_from(incarnation.slot.0).unwrap();
    bytes[1] = u8::try_from(incarnation.generation.0).unwrap();
    BootId(bytes)
}

/// An HA domain's entry.
pub(crate) fn entry(n: u8, state: LeaseState, term: u32) -> LeaseEntry {
    let flags = LeaseFlags::PROTECTED.set(LeaseFlags::HA, true);
    LeaseEntry { domain: domain(n), state, term: Term(term), flags, ..LeaseEntry::default() }
}

pub(crate) fn want(n: u8, term: u32) -> LeaseEntry {
    LeaseEntry { want_term: Term(term), ..entry(n, LeaseState::Empty, 0) }
}

pub(crate) fn recovery(n: u8) -> AcquireRequest {
    AcquireRequest { domain: domain(n), kind: AcquireKind::Recovery { resumed: None } }
}

pub(crate) fn plain(n: u8) -> AcquireRequest {
    let spec = DomainSpec { ha: true, ..DomainSpec::default() };
    AcquireRequest { domain: domain(n), kind: AcquireKind::Plain(spec) }
}

impl Lab {
    /// A file for this many hosts with one lease page, each host's sectors written by its first generation, without entries.
    pub(crate) fn new(hosts: u16) -> Self {
        let layout = Layout::new(FileId([7; 16]), Unit::Bytes4096, hosts, 1).unwrap();
        let bytes = vec![0; usize::try_from(layout.total_size()).unwrap()];
        let instant = Instant { boot_ns: 1_000_000_000_000, raw_ns: 1_000_000_000_000 };
        let now = Now { instant, ..Now::default() };
        let mut lab = Self { layout, bytes, now, gone: BTreeSet::new(), vacant: BTreeSet::new(), hosts };
        (0..hosts).for_each(|slot| lab.put(who(slot, 1), 1, &[]));
        lab
    }

    /// Writes both copies of a sector.
    pub(crate) fn put(&mut self, whose: Incarnation, sequence: u64, entries: &[LeaseEntry]) {
        for copy in RecordCopy::BOTH {
            self.put_copy(whose, sequence, entries, copy);
        }
    }

    /// Writes one copy of a sector.
    pub(crate) fn put_copy(
        &mut self,
        whose: Incarnation,
        sequence: u64,
        entries: &[LeaseEntry],
        copy: RecordCopy,
    ) {
        let mut page = LeasePage::new(whose, boot(whose), Sequence(sequence));
        for entry in entries {
            page.insert(*entry).unwrap();
        }
        let place = self.layout.lease_page(0, whose.slot, copy);
        self.write(place.offset, &page.encode(&place));
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).unwrap();
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    /// Damages one copy of a slot's sector.
    pub(crate) fn damage(&mut self, slot: u16, copy: RecordCopy) {
        let place = self.layout.lease_page(0, Slot(slot), copy);
        let at = usize::try_from(place.offset).unwrap();
        self.bytes[at + 100] ^= 0xff;
    }

    /// One copy of a slot's sector, if it is valid.
    pub(crate) fn copy(&self, slot: u16, copy: RecordCopy) -> Option<LeasePage> {
        let place = self.layout.lease_page(0, Slot(slot), copy);
        let at = usize::try_from(place.offset).unwrap();
        LeasePage::decode(&place, &self.bytes[at..at + place.len]).ok()
    }

    /// What a slot's newest copy says of a domain.
    pub(crate) fn says(&self, slot: u16, n: u8) -> Option<LeaseEntry> {
        let copies = RecordCopy::BOTH.into_iter().filter_map(|copy| self.copy(slot, copy));
        let newest = copies.max_by_key(|page| (page.incarnation.generation, page.sequence))?;
        newest.get(domain(n)).copied()
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now.instant = self.now.instant.plus(duration);
    }

    /// A host whose own sector is as it lies in the file.
    pub(crate) fn host(&self, me: Incarnation) -> Host {
        let page = self.copy(me.slot.0, RecordCopy::A).unwrap();
        let leases = Leases::after_rejoin(self.config(me), vec![page]);
        Host { me, leases, unknown: UnknownWrites::new(RULES), may_write: true }
    }

    /// A host whose agent was restarted, and has read its own sector back.
    pub(crate) fn restarted(&mut self, me: Incarnation) -> Host {
        self.restarted_with(me, &[])
    }

    /// The same, where the page lists these.
    pub(crate) fn restarted_with(&mut self, me: Incarnation, listed: &[OwnLease]) -> Host {
        let leases = Leases::after_restart(self.config(me), listed);
        let mut host = Host { me, leases, unknown: UnknownWrites::new(RULES), may_write: true };
        self.run(&mut host);
        host
    }

    pub(crate) fn config(&self, me: Incarnation) -> LeasesConfig {
        let seed = u64::from(me.slot.0) + 1;
        LeasesConfig { layout: self.layout, me, boot_id: boot(me), policy: LeasePolicy::default(), seed }
    }

    /// Calls `f` with the context that this host's member would give.
    pub(crate) fn with<T>(&self, host: &mut Host, f: impl FnOnce(&LeaseContext<'_>, &mut Leases) -> T) -> T {
        let ctx = LeaseContext {
            now: &self.now,
            may_write: host.may_write,
            unknown: &host.unknown,
            gone: &|incarnation| self.gone.contains(&incarnation),
            vacant: &|slot| self.vacant.contains(&slot),
            hosts: self.hosts,
        };
        f(&ctx, &mut host.leases)
    }

    /// The host's next operation, if it has one.
    pub(crate) fn next(&self, host: &mut Host) -> Option<IoOp> {
        match self.with(host, |ctx, leases| leases.poll(ctx)) {
            Step::Io(op) => Some(op),
            Step::Wait(_) | Step::Done(()) => None,
        }
    }

    /// Lets an operation end like this; a millisecond passes.
    pub(crate) fn finish(&mut self, host: &mut Host, op: &IoOp, fate: Fate) {
        let issued = self.now;
        if let IoOp::Write { offset, data } = op {
            host.unknown.issue(*offset, data.len(), issued.instant);
            if fate != Fate::Fails {
                self.write(*offset, data);
            }
            host.unknown.ended(*offset, fate == Fate::Done);
        }
        self.pass(Duration::from_millis(1));
        let result = match (op, fate) {
            (IoOp::Read { offset, len }, Fate::Done) => {
                let at = usize::try_from(*offset).unwrap();
                Ok(self.bytes[at..at + len].to_vec())
            }
            (IoOp::Write { .. }, Fate::Done) => Ok(Vec::new()),
            _ => Err(IoError::Failed("timed out".into())),
        };
        let done = IoDone { id: IoId(0), issued, ended: self.now, result };
        self.with(host, |ctx, leases| leases.handle_io(ctx, &done));
    }

    /// Lets all that the host wants to do happen, until it waits.
    pub(crate) fn run(&mut self, host: &mut Host) -> Vec<LeaseEvent> {
        self.with(host, |ctx, leases| leases.quiet_turn(ctx));
        while let Some(op) = self.next(host) {
            self.finish(host, &op, Fate::Done);
        }
        events(host)
    }

    /// As [`run`](Self::run); the barriers that it asks for are acknowledged, and `write_drain` passes.
    pub(crate) fn quiesce(&mut self, host: &mut Host) {
        for (domain, asked) in barriers(&self.run(host)) {
            self.answer(host, domain, asked, &Ok(Duration::from_millis(1)));
        }
        self.pass(RULES.drain);
        self.run(host);
    }

    /// The answer to a barrier.
    pub(crate) fn answer(
        &self,
        host: &mut Host,
        domain: DomainId,
        asked: Instant,
        result: &Result<Duration, String>,
    ) {
        self.with(host, |ctx, leases| leases.barrier(ctx, domain, asked, result, RULES.drain));
    }

    /// Lets the host's operations happen until its `n`th write is next (1 = the first), which is returned, not issued.
    pub(crate) fn run_to_write(&mut self, host: &mut Host, n: usize) -> IoOp {
        let mut writes = 0;
        loop {
            let op = self.next(host).expect("the host has no more to do");
            writes += usize::from(matches!(op, IoOp::Write { .. }));
            if writes == n {
                return op;
            }
            self.finish(host, &op, Fate::Done);
        }
    }

    /// Lets the host's writes happen up to and with the `n`th.
    pub(crate) fn run_through_write(&mut self, host: &mut Host, n: usize) {
        let op = self.run_to_write(host, n);
        self.finish(host, &op, Fate::Done);
    }

    /// Time passes, renewals are acknowledged each second, and the reads that end an unknown write are done.
    pub(crate) fn settle_unknown(&mut self, host: &mut Host) {
        for _ in 0..200 {
            let issued = self.now.instant;
            self.pass(Duration::from_secs(1));
            host.unknown.renewal_acknowledged(issued, self.now.instant);
            if let Step::Io(IoOp::Read { offset, len }) = host.unknown.poll(self.now.instant) {
                let at = usize::try_from(offset).unwrap();
                let result = Ok(self.bytes[at..at + len].to_vec());
                let done = IoDone { id: IoId(0), issued: self.now, ended: self.now, result };
                host.unknown.handle_io(offset, &done);
            }
        }
        assert!(!host.unknown.any(), "the write is over");
    }

    /// The host's next acquire outcome, all else happening as it should.
    pub(crate) fn acquire(&mut self, host: &mut Host, request: AcquireRequest) -> AcquireOutcome {
        host.leases.acquire(request);
        outcome(&self.run(host))
    }
}

pub(crate) fn events(host: &mut Host) -> Vec<LeaseEvent> {
    std::iter::from_fn(|| host.leases.poll_event()).collect()
}

/// The barriers that are asked for among these events.
pub(crate) fn barriers(events: &[LeaseEvent]) -> Vec<(DomainId, Instant)> {
    let barrier = |event: &LeaseEvent| match event {
        LeaseEvent::Barrier { domain, asked } => Some((*domain, *asked)),
        _ => None,
    };
    events.iter().filter_map(barrier).collect()
}

/// The one acquire outcome among these events.
pub(crate) fn outcome(events: &[LeaseEvent]) -> AcquireOutcome {
    let mut outcomes = events.iter().filter_map(|event| match event {
        LeaseEvent::Acquire { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    outcomes.next().expect("no acquire has ended")
}

/// The entry of an acquire that was won.
pub(crate) fn won(outcome: AcquireOutcome) -> LeaseEntry {
    match outcome {
        AcquireOutcome::Acquired(entry) => entry,
        other => panic!("not acquired: {other:?}"),
    }
}
