//! What happens next: a queue in the order of time, and of its filling where times are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use leasefence_core::ids::{DomainId, Term};
use leasefence_core::member::{MigrationNews, RequestId};
use leasefence_core::time::Instant;

use super::moves::Arrival;

/// Something that is due. Numbers tell a thing from a later one of its kind: what is out of date does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    PowerOn { host: usize },
    StartFencer { host: usize, boot: u32 },
    StartAgent { host: usize, boot: u32 },
    Agent { host: usize, number: u32 },
    Look { host: usize, process: u32 },
    Beat { host: usize, number: u32 },
    Offer { host: usize, boot: u32 },
    Bite { host: usize, boot: u32 },
    Reset { host: usize, boot: u32 },
    Listing { host: usize, process: u32 },
    Destroy { host: usize, boot: u32, domain: DomainId },
    Open { host: usize, process: u32 },
    Io { client: usize, number: u32 },
    TimeOut { client: usize, number: u32 },
    Land { write: u32 },
    Barrier { host: usize, process: u32, domain: DomainId, barrier: Barrier },
    Begin { host: usize, boot: u32, start: Start },
    Started { host: usize, boot: u32, start: Start },
    Stored { host: usize, boot: u32, domain: usize, chain: u64 },
    Exit { run: usize },
    Told { host: usize, process: u32, run: usize },
    Quiesced { host: usize, boot: u32, storage: usize, begun: Instant },
    Observer { number: u32 },
    Fault { number: usize },
    Over { number: usize },
    Mend,
    Tend,
    UserStart { domain: usize },
    HookLate { host: usize, id: RequestId },
    HookGoesOn { host: usize, boot: u32, domain: usize, step: HookStep },
    Moves { number: usize },
    Word { host: usize, process: u32, domain: usize, word: Word },
    End,
}

/// Where a start is of which libvirt's hook has asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HookStep {
    /// It is prepared.
    Prepare,
    /// QEMU is about to be run.
    Start,
    /// QEMU is being run.
    Runs,
    /// In the place of a migration: its CPUs are about to run.
    Cpus { run: usize },
    /// Its CPUs run.
    Started { run: usize },
    /// A start of the agent's own.
    Own { start: Start, step: OwnStep },
    /// A migration to this host.
    Arrives { number: usize, step: Arrival },
}

/// Where a start of the agent's own is, of which libvirt asks its hook as of any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnStep {
    /// It is prepared.
    Prepare,
    /// QEMU is about to be run.
    Start,
    /// QEMU is being run.
    Runs,
    /// Libvirt looks at it, and answers.
    Answered { run: usize },
}

/// What an agent is told of a domain that moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// By libvirt: its CPUs are stopped for its migration.
    Suspended,
    /// By libvirt: they run.
    Resumed,
    /// What it had asked for.
    Answer(MigrationNews),
}

/// A start that an agent's process has permitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) process: u32,
    pub(crate) domain: DomainId,
    pub(crate) term: Term,
    pub(crate) hash: u64,
}

/// A barrier that an agent has asked for: its mark, and when it was written in the world's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Barrier {
    pub(crate) asked: Instant,
    pub(crate) issued: u64,
}

/// The queue. Its order moves small items alone: what is due lies where it was put until its time comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Event>,
    free: Vec<usize>,
    filled: u64,
}

impl Queue {
    /// Puts an event in its place.
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.filled += 1;
        let place = self.free.pop().unwrap_or(self.events.len());
        match self.events.get_mut(place) {
            Some(room) => *room = event,
            None => self.events.push(event),
        }
        self.heap.push(Reverse((at, self.filled, place)));
    }

    /// The next event and its time.
    pub(crate) fn next(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at, self.events[place]))
    }

    /// How many events were put in.
    pub(crate) fn filled(&self) -> u64 {
        self.filled
    }
}
