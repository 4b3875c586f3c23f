//! One machine of the slot model: whether it is on, in which boot, and the core's own joining procedure in its agent. It is
//! driven as a member drives it: the page carries incarnation and sequence before a record is written.

use std::sync::Arc;
use std::time::Duration;

use leasefence_core::fencing::{AgentHalf, FencerHalf, Wish};
use leasefence_core::format::{HostName, HostRecord};
use leasefence_core::ids::{BootId, HostKey, Incarnation, Nonce};
use leasefence_core::marks::{Mark, Marks};
use leasefence_core::slot::{FencerSight, Join, JoinOutcome, Joiner};
use leasefence_core::storage::{IoDone, IoId, IoOp, Step};

use super::medium::Content;
use super::{layout, terms};
use crate::relative;

/// What an agent waits for from the storage.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Op {
    Read(u64, usize),
    Write(u64, Content),
}

/// An agent that joins.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Agent {
    pub(super) join: Arc<Join>,
    pub(super) op: Option<Op>,
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Machine {
    pub(super) number: u16,
    pub(super) on: bool,
    pub(super) boot: u8,
    /// Seconds since it booted, as far as they matter.
    pub(super) uptime: u8,
    /// Agents that may still be started on it.
    pub(super) starts: u8,
    pub(super) agent: Option<Agent>,
    pub(super) page: AgentHalf,
    /// What it holds: joined, and not off since.
    pub(super) holds: Option<Incarnation>,
}

impl Machine {
    pub(super) fn new(number: u16, starts: u8) -> Self {
        Self {
            number,
            on: true,
            boot: 1,
            uptime: 5,
            starts,
            agent: None,
            page: AgentHalf::default(),
            holds: None,
        }
    }

    pub(super) fn key(&self) -> HostKey {
        let mut bytes = [0xaa; 16];
        bytes[..2].copy_from_slice(&self.number.to_le_bytes());
        HostKey(bytes)
    }

    pub(super) fn name(&self) -> String {
        format!("m{}", self.number)
    }

    fn boot_id(&self) -> BootId {
        let mut bytes = [0xb0; 16];
        bytes[..2].copy_from_slice(&self.number.to_le_bytes());
        bytes[2] = self.boot;
        BootId(bytes)
    }

    /// An agent is started.
    pub(super) fn start(&mut self, slots: u16) {
        self.starts -= 1;
        let file_id = layout(slots).file_id();
        let nonce = u64::from(self.number) << 16 | u64::from(self.boot) << 8 | u64::from(self.starts);
        let record = HostRecord {
            boot_id: self.boot_id(),
            host_key: self.key(),
            process_nonce: Nonce(nonce),
            terms: terms(),
            echo: terms(),
            protocol_min: 1,
            protocol_max: 1,
            host_name: HostName::cut(&self.name()),
            ..HostRecord::default()
        };
        let page = Some(self.page.clone()).filter(|page| page.boot_id == self.boot_id());
        self.page.boot_id = self.boot_id();
        self.page.file_id = file_id;
        let joiner = Joiner {
            record,
            page,
            uptime: Duration::from_secs(self.uptime.into()),
            uptime_from: relative::now().instant,
            has_machine_uuid: true,
        };
        self.agent = Some(Agent { join: Arc::new(Join::new(layout(slots), joiner)), op: None });
    }

    /// Its next operation, or the end of its joining. `unknown`: a write of this boot may still land.
    pub(super) fn drive(&mut self, unknown: bool) -> Option<JoinOutcome> {
        let agent = self.agent.as_mut().filter(|agent| agent.op.is_none())?;
        let half = FencerHalf { scans: 1, ..FencerHalf::default() };
        let join = Arc::make_mut(&mut agent.join);
        join.set_fencer(FencerSight { half: Some(half), unknown_write: unknown });
        match join.poll(&relative::now()) {
            Step::Io(op) => {
                if let Some(record) = join.issuing() {
                    (self.page.incarnation, self.page.issued) = (record.incarnation, record.sequence);
                    self.page.wish = Wish::Joining;
                }
                if let Some(sequence) = join.rewriting() {
                    self.page.issued = self.page.issued.max(sequence);
                }
                agent.op = Some(match op {
                    IoOp::Read { offset, len } => Op::Read(offset, len),
                    IoOp::Write { offset, data } => Op::Write(offset, Content::of(&data)),
                });
                None
            }
            Step::Wait(_) => None,
            Step::Done(outcome) => {
                self.agent = None;
                Some(outcome)
            }
        }
    }

    /// The end of the operation that it waits for.
    pub(super) fn done(&mut self, done: &IoDone) {
        if let Some(agent) = &mut self.agent {
            agent.op = None;
            Arc::make_mut(&mut agent.join).handle_io(done);
        }
    }

    /// What it is doing.
    pub(super) fn progress(&self) -> String {
        self.agent.as_ref().map(|agent| agent.join.progress()).unwrap_or_default()
    }

    pub(super) fn op(&self) -> Option<&Op> {
        self.agent.as_ref().and_then(|agent| agent.op.as_ref())
    }

    pub(super) fn power_off(&mut self) {
        (self.on, self.agent, self.holds, self.uptime) = (false, None, None, 0);
        self.page = AgentHalf::default();
    }

    pub(super) fn power_on(&mut self) {
        self.on = true;
        self.boot += 1;
        self.uptime = 0;
    }
}

impl Marks for Machine {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.page.each_mark(f);
        if let Some(agent) = &mut self.agent {
            Arc::make_mut(&mut agent.join).each_mark(f);
        }
    }
}

/// The end of an operation that took no time since it was looked at: how long it was outstanding, `since` tells.
pub(super) fn io_done(result: Result<Vec<u8>, leasefence_core::storage::IoError>) -> IoDone {
    let now = relative::now();
    IoDone { id: IoId(0), issued: now, ended: now, result }
}
