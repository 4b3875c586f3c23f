//! What may happen next in the slot model, and when.

use super::machine::Op;
use super::world::World;

/// One thing that happens; the number is a machine's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    /// A second passes.
    Second,
    /// An agent is started, and has looked at all slots.
    Starts(u16),
    /// The outstanding read is served.
    Reads(u16),
    /// The outstanding write lands and is acknowledged.
    Lands(u16),
    /// The outstanding write's call fails; it may land later.
    Fails(u16),
    /// A write of unknown outcome lands: its place in the list.
    LandsLate(usize),
    /// No write of this machine's boot can land late any more: the hold has passed.
    HoldPasses(u16),
    /// The agent dies.
    AgentDies(u16),
    /// The machine loses its power.
    PowersOff(u16),
    /// It boots again.
    PowersOn(u16),
    /// An operator says that this machine is off, and has a slot freed that its claim names.
    Frees(u16, u16),
    /// The same for the host that frees a slot.
    FreerReads,
    /// As before.
    FreerLands,
    /// As before.
    FreerFails,
    /// As before.
    FreerHoldPasses,
}

impl World {
    /// All that may happen next.
    pub(super) fn steps(&self, steps: &mut Vec<Step>) {
        steps.push(Step::Second);
        steps.extend((0..self.late.len()).map(Step::LandsLate));
        for machine in &self.machines {
            let number = machine.number;
            match machine.op() {
                Some(Op::Read(..)) => steps.push(Step::Reads(number)),
                Some(Op::Write(..)) => {
                    steps.push(Step::Lands(number));
                    if self.left.failures > 0 {
                        steps.push(Step::Fails(number));
                    }
                }
                None => {}
            }
            if machine.agent.is_some() && self.has_unknown(Some(number)) {
                steps.push(Step::HoldPasses(number));
            }
            if machine.on && machine.agent.is_none() && machine.holds.is_none() && machine.starts > 0 {
                steps.push(Step::Starts(number));
            }
            if machine.agent.is_some() && self.left.crashes > 0 {
                steps.push(Step::AgentDies(number));
            }
            if machine.on && self.left.power_offs > 0 && (machine.agent.is_some() || machine.holds.is_some())
            {
                steps.push(Step::PowersOff(number));
            }
            if !machine.on && self.left.power_ons > 0 && !self.is_named(number) {
                steps.push(Step::PowersOn(number));
            }
            if !machine.on && self.left.frees > 0 && self.freer.is_none() && !self.has_unknown(None) {
                steps.extend((0..self.slots).map(|slot| Step::Frees(number, slot)));
            }
        }
        self.freer_steps(steps);
    }

    fn freer_steps(&self, steps: &mut Vec<Step>) {
        match self.freer.as_ref().and_then(|freer| freer.op.as_ref()) {
            Some(Op::Read(..)) => steps.push(Step::FreerReads),
            Some(Op::Write(..)) => {
                steps.push(Step::FreerLands);
                if self.left.failures > 0 {
                    steps.push(Step::FreerFails);
                }
            }
            None if self.has_unknown(None) => steps.push(Step::FreerHoldPasses),
            None => {}
        }
    }
}
