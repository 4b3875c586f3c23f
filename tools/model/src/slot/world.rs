//! The whole of the slot model: machines, the medium, writes that may land late, and an operator. It takes steps and judges
//! states; what a machine does is the core's business.

use std::sync::Arc;
use std::time::Duration;

use leasefence_core::evidence::Evidence;
use leasefence_core::format::{HostRecord, HostState, LeasePage, RecordCopy};
use leasefence_core::ids::{BootId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot};
use leasefence_core::marks::Marks;
use leasefence_core::slot::{Freer, JoinOutcome, SlotFree};
use leasefence_core::storage::{IoError, IoOp};

use super::machine::{Machine, Op, io_done};
use super::medium::{Content, Medium, What};
use super::step::Step;
use super::{Bounds, DRAIN, layout, terms};
use crate::relative::{self, Horizon};

/// Older than this nothing is told apart: longer than D, than W, and than a pause.
const HORIZON: Horizon = Horizon { oldest: Duration::from_secs(5), recent: Duration::from_secs(5) };

/// A write that may land.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Late {
    /// Whose; none for the host that frees slots.
    pub(super) by: Option<u16>,
    pub(super) offset: u64,
    pub(super) content: Content,
    /// Seconds since the boot that issued it has ended, if it has.
    pub(super) ended: Option<u8>,
}

/// A run of `slot free`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Freeing {
    pub(super) named: u16,
    pub(super) slot: Slot,
    pub(super) free: Arc<SlotFree>,
    pub(super) op: Option<Op>,
}

/// A generation that a record on the medium has had.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Used {
    incarnation: Incarnation,
    by: u16,
    boot_id: BootId,
}

/// The cluster.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    pub(super) machines: Vec<Machine>,
    pub(super) slots: u16,
    pub(super) medium: Medium,
    pub(super) late: Vec<Late>,
    pub(super) freer: Option<Freeing>,
    pub(super) left: Bounds,
    used: Vec<Used>,
    wrong: Option<&'static str>,
}

impl World {
    pub(super) fn new(machines: u16, slots: u16, bounds: Bounds) -> Self {
        let layout = layout(slots);
        let mut medium = Medium::new(&layout);
        if bounds.freed_before {
            layout.slots().for_each(|slot| freed_before(&mut medium, slots, slot));
        }
        Self {
            machines: (0..machines).map(|number| Machine::new(number, bounds.starts)).collect(),
            slots,
            medium,
            late: Vec::new(),
            freer: None,
            left: bounds,
            used: Vec::new(),
            wrong: None,
        }
    }

    pub(super) fn machine(&self, number: u16) -> &Machine {
        &self.machines[usize::from(number)]
    }

    fn machine_mut(&mut self, number: u16) -> &mut Machine {
        &mut self.machines[usize::from(number)]
    }

    /// True while a write of this machine's boot, or of the host that frees slots, may land late.
    pub(super) fn has_unknown(&self, by: Option<u16>) -> bool {
        self.late.iter().any(|late| late.by == by && late.ended.is_none())
    }

    /// True while an operator vouches that this machine is off.
    pub(super) fn is_named(&self, number: u16) -> bool {
        self.freer.as_ref().is_some_and(|freer| freer.named == number)
    }

    /// Takes one step.
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Second => self.second(),
            Step::Starts(number) => {
                let slots = self.slots;
                self.machine_mut(number).start(slots);
                self.drive(number);
                self.reads(number);
            }
            Step::Reads(number) => self.reads(number),
            Step::Lands(number) => {
                let Some(Op::Write(offset, content)) = self.machine(number).op().cloned() else { return };
                self.put(Some(number), offset, content);
                self.machine_mut(number).done(&io_done(Ok(Vec::new())));
                self.drive(number);
            }
            Step::Fails(number) => {
                self.left.failures -= 1;
                self.may_land_late(number);
                self.machine_mut(number).done(&io_done(Err(failed())));
                self.drive(number);
            }
            Step::LandsLate(at) => {
                let late = self.late.remove(at);
                self.put(late.by, late.offset, late.content);
            }
            Step::HoldPasses(number) => {
                self.late.retain(|late| late.by != Some(number));
                self.drive(number);
            }
            Step::AgentDies(number) => {
                self.left.crashes -= 1;
                self.may_land_late(number);
                self.machine_mut(number).agent = None;
            }
            Step::PowersOff(number) => {
                self.left.power_offs -= 1;
                self.may_land_late(number);
                self.machine_mut(number).power_off();
                let own = self.late.iter_mut().filter(|late| late.by == Some(number));
                own.for_each(|late| late.ended = late.ended.or(Some(0)));
            }
            Step::PowersOn(number) => {
                self.left.power_ons -= 1;
                self.machine_mut(number).power_on();
            }
            Step::Frees(number, slot) => self.frees(number, Slot(slot)),
            Step::FreerReads => {
                let Some(Op::Read(offset, len)) = self.freer.as_ref().and_then(|freer| freer.op.clone())
                else {
                    return;
                };
                let bytes = self.medium.read(offset, len);
                self.freer_done(Ok(bytes));
            }
            Step::FreerLands => {
                let Some(Op::Write(offset, content)) = self.freer.as_ref().and_then(|freer| freer.op.clone())
                else {
                    return;
                };
                self.put(None, offset, content);
                self.freer_done(Ok(Vec::new()));
            }
            Step::FreerFails => {
                let Some(Op::Write(offset, content)) = self.freer.as_ref().and_then(|freer| freer.op.clone())
                else {
                    return;
                };
                self.left.failures -= 1;
                self.late.push(Late { by: None, offset, content, ended: None });
                self.freer_done(Err(failed()));
            }
            Step::FreerHoldPasses => self.late.retain(|late| late.by.is_some()),
        }
        self.late.sort_unstable();
    }

    /// A second passes on every clock.
    fn second(&mut self) {
        let second = Duration::from_secs(1);
        for late in &mut self.late {
            late.ended = late.ended.map(|age| age + 1);
        }
        self.late.retain(|late| late.ended.is_none_or(|age| age < DRAIN));
        for machine in &mut self.machines {
            relative::age(machine, second, second, HORIZON);
            if machine.on {
                machine.uptime = (machine.uptime + 1).min(5);
            }
        }
        if let Some(freer) = &mut self.freer {
            relative::age(&mut Shared(&mut freer.free), second, second, HORIZON);
        }
        for number in 0..u16::try_from(self.machines.len()).unwrap_or(u16::MAX) {
            self.drive(number);
        }
        self.drive_freer();
    }

    /// Reads whose order among others cannot matter are made as one: the trial reads of a claim, the large ones of a look at
    /// all slots.
    fn reads(&mut self, number: u16) {
        for _ in 0..8 {
            let before = self.machine(number).progress();
            let Some(Op::Read(offset, len)) = self.machine(number).op().cloned() else { return };
            let bytes = self.medium.read(offset, len);
            self.machine_mut(number).done(&io_done(Ok(bytes)));
            self.drive(number);
            let looking = before.starts_with("looking for") || before.starts_with("reading all claims");
            if !looking || self.machine(number).progress() != before {
                return;
            }
        }
    }

    fn may_land_late(&mut self, number: u16) {
        if let Some(Op::Write(offset, content)) = self.machine(number).op().cloned() {
            self.late.push(Late { by: Some(number), offset, content, ended: None });
        }
    }

    fn drive(&mut self, number: u16) {
        let unknown = self.has_unknown(Some(number));
        let machine = self.machine_mut(number);
        match machine.drive(unknown) {
            Some(JoinOutcome::Joined(joined)) => machine.holds = Some(joined.record.incarnation),
            Some(JoinOutcome::Resumed { record, .. }) => machine.holds = Some(record.incarnation),
            Some(JoinOutcome::Refused(_)) | None => {}
        }
    }

    /// A record that has landed uses its generation, for its machine in its boot.
    fn uses(&mut self, number: u16, what: What, content: Content) {
        let place = what.place(&layout(self.slots));
        let Ok(record) = HostRecord::decode(&place, &content.bytes()) else { return };
        let used = Used { incarnation: record.incarnation, by: number, boot_id: record.boot_id };
        let twice = |other: &&Used| other.incarnation == used.incarnation && **other != used;
        if let Some(other) = self.used.iter().find(twice) {
            self.wrong = Some(if other.by == number {
                "a generation was used in two boots"
            } else {
                "a generation was used by two machines"
            });
        }
        if !self.used.contains(&used) {
            self.used.push(used);
            self.used.sort_unstable();
        }
    }

    fn put(&mut self, by: Option<u16>, offset: u64, content: Content) {
        if let Some(What::Record(slot, _) | What::Page(slot, _)) = self.medium.what(offset) {
            let holds = |machine: &Machine| machine.holds.is_some_and(|holds| holds.slot == slot);
            if self.machines.iter().any(|machine| Some(machine.number) != by && holds(machine)) {
                self.wrong = Some("somebody else wrote over what a holder has written");
            }
        }
        if let (Some(number), Some(what @ What::Record(..))) = (by, self.medium.what(offset)) {
            self.uses(number, what, content);
        }
        self.medium.put(offset, content);
    }

    /// What this operator says is true: the machine is off, and stays off until the run has ended. Of every incarnation whose
    /// machine is off an operator has confirmed it.
    fn frees(&mut self, number: u16, slot: Slot) {
        self.left.frees -= 1;
        let off = |used: &&Used| !self.machine(used.by).on;
        let evidence =
            self.used.iter().filter(off).map(|used| (used.incarnation, Evidence::Confirmed)).collect();
        let freer = Freer {
            boot_id: BootId([0xf0; 16]),
            process_nonce: Nonce(9),
            write_drain: terms().write_drain,
            evidence,
        };
        let free = SlotFree::new(layout(self.slots), slot, self.machine(number).name(), freer);
        self.freer = Some(Freeing { named: number, slot, free: Arc::new(free), op: None });
        self.drive_freer();
    }

    fn drive_freer(&mut self) {
        let Some(freer) = self.freer.as_mut().filter(|freer| freer.op.is_none()) else { return };
        match Arc::make_mut(&mut freer.free).poll(&relative::now()) {
            leasefence_core::storage::Step::Io(IoOp::Read { offset, len }) => {
                freer.op = Some(Op::Read(offset, len));
            }
            leasefence_core::storage::Step::Io(IoOp::Write { offset, data }) => {
                freer.op = Some(Op::Write(offset, Content::of(&data)));
            }
            leasefence_core::storage::Step::Wait(_) => {}
            leasefence_core::storage::Step::Done(_) => self.freer = None,
        }
    }

    fn freer_done(&mut self, result: Result<Vec<u8>, IoError>) {
        if let Some(freer) = &mut self.freer {
            freer.op = None;
            Arc::make_mut(&mut freer.free).handle_io(&io_done(result));
        }
        self.drive_freer();
    }

    /// What is wrong in this state.
    pub(super) fn violation(&self) -> Option<String> {
        let holders = self.machines.iter().filter_map(|machine| Some((machine.number, machine.holds?)));
        for (number, holds) in holders.clone() {
            if let Some((other, _)) =
                holders.clone().find(|(other, its)| *other > number && its.slot == holds.slot)
            {
                return Some(format!("machines m{number} and m{other} both hold slot {}", holds.slot));
            }
        }
        self.wrong.map(str::to_owned)
    }
}

fn failed() -> IoError {
    IoError::Failed("timed out".to_owned())
}

/// A machine that is none of the model's had the slot up to generation 3, and `slot free` has ended that.
fn freed_before(medium: &mut Medium, slots: u16, slot: Slot) {
    let layout = layout(slots);
    let incarnation = Incarnation { slot, generation: Generation(3) };
    let boot_id = BootId([0xf0; 16]);
    for (copy, sequence) in RecordCopy::BOTH.into_iter().zip([10, 11]) {
        let record = HostRecord {
            incarnation,
            boot_id,
            sequence: Sequence(sequence),
            host_key: HostKey::ZERO,
            freed_generation: Generation(3),
            state: HostState::Free,
            terms: terms(),
            echo: terms(),
            ..HostRecord::default()
        };
        let place = layout.host_record(slot, copy);
        medium.put(place.offset, Content::of(&record.encode(&place)));
        let place = layout.lease_page(0, slot, copy);
        let page = LeasePage::new(incarnation, boot_id, Sequence(1));
        medium.put(place.offset, Content::of(&page.encode(&place)));
    }
}

/// A procedure that several states share.
struct Shared<'a>(&'a mut Arc<SlotFree>);

impl Marks for Shared<'_> {
    fn each_mark(&mut self, f: &mut dyn FnMut(leasefence_core::marks::Mark<'_>)) {
        Arc::make_mut(self.0).each_mark(f);
    }
}
