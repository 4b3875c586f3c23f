//! Slots (PROTOCOL 2): machines that claim, rejoin, crash and come back, and an operator who frees slots, each with the
//! core's own procedures. Time passes in steps of a second; a write may land at any moment, also long after its writer
//! has given it up, until the boot that issued it has ended and `write_drain` has passed.

mod describe;
mod machine;
mod medium;
mod step;
mod world;
#[cfg(feature = "planted-bugs")]
mod wrong;

use std::time::Duration;

use leasefence_core::format::{Layout, Unit};
use leasefence_core::ids::FileId;
use leasefence_core::terms::{Preset, Terms};

use crate::scenario::{Checked, Scenario, Size};
use crate::search::Model;
use step::Step;
use world::World;

/// How long a write may land after the boot that issued it has ended.
const DRAIN: u8 = 2;

/// The file: one lease page.
fn layout(slots: u16) -> Layout {
    // Counts that a layout always takes.
    Layout::new(FileId([7; 16]), Unit::Bytes512, slots, 1).expect("1 to 256 hosts and one page")
}

fn terms() -> Terms {
    Terms { write_drain: Duration::from_secs(DRAIN.into()), ..Preset::Fast.timing().terms }
}

/// What may happen, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Bounds {
    /// Agents that may be started on each machine.
    pub(crate) starts: u8,
    /// Agents that die.
    pub(crate) crashes: u8,
    /// Machines that lose their power.
    pub(crate) power_offs: u8,
    /// Those that come back.
    pub(crate) power_ons: u8,
    /// Writes whose call fails.
    pub(crate) failures: u8,
    /// Runs of `slot free`.
    pub(crate) frees: u8,
    /// The slots were another machine's before, and were freed.
    pub(crate) freed_before: bool,
}

/// The model.
pub(crate) struct Slots {
    machines: u16,
    slots: u16,
    bounds: Bounds,
}

impl Model for Slots {
    type State = World;
    type Step = Step;

    fn initial(&self) -> World {
        World::new(self.machines, self.slots, self.bounds)
    }

    fn steps(&self, state: &World, steps: &mut Vec<Step>) {
        state.steps(steps);
    }

    fn take(&self, state: &World, step: &Step) -> Option<World> {
        let mut next = state.clone();
        next.take(*step);
        Some(next)
    }

    fn violation(&self, state: &World) -> Option<String> {
        state.violation()
    }

    /// A machine holds its slot.
    fn is_reached(&self, state: &World) -> bool {
        state.machines.iter().any(|machine| machine.holds.is_some())
    }

    fn describe(&self, path: &[Step], before: &World, after: &World) -> String {
        path.last().map(|step| describe::line(before, *step, after)).unwrap_or_default()
    }
}

impl Checked for Slots {
    const NAME: &'static str = "slot";

    fn scenarios(size: Size) -> Vec<Scenario<Self>> {
        let once = Bounds { starts: 1, ..Bounds::default() };
        let off = Bounds { power_offs: 1, ..once };
        match size {
            Size::Small => vec![
                scenario("2 machines", 2, 1, once),
                scenario("2 machines, 1 failed write", 2, 1, Bounds { failures: 1, ..once }),
                scenario(
                    "2 machines, 1 loses its power and comes back",
                    2,
                    1,
                    Bounds { power_ons: 1, ..off },
                ),
            ],
            Size::Medium => vec![
                scenario(
                    "2 machines, 2 starts each, 1 agent dies",
                    2,
                    1,
                    Bounds { starts: 2, crashes: 1, ..once },
                ),
                scenario("2 machines, 1 loses its power, 1 slot free", 2, 1, Bounds { frees: 1, ..off }),
                scenario("2 machines, 2 slots", 2, 2, once),
                scenario("3 machines", 3, 1, once),
            ],
            Size::Large => vec![
                scenario("3 machines, 1 failed write", 3, 1, Bounds { failures: 1, ..once }),
                scenario(
                    "2 machines, 2 starts each, power off and on, 1 failed write",
                    2,
                    1,
                    Bounds { starts: 2, power_ons: 1, failures: 1, ..off },
                ),
                scenario(
                    "3 machines, a slot freed before, power off, 1 slot free",
                    3,
                    1,
                    Bounds { frees: 1, freed_before: true, ..off },
                ),
            ],
        }
    }

    #[cfg(feature = "planted-bugs")]
    fn wrong_rules() -> Vec<(leasefence_core::planted::Bug, Scenario<Self>)> {
        wrong::rules()
    }
}

/// Where a search stops for good: the memory of a large machine.
const MOST: usize = 100_000_000;

fn scenario(name: &'static str, machines: u16, slots: u16, bounds: Bounds) -> Scenario<Slots> {
    Scenario { name, model: Slots { machines, slots, bounds }, most: MOST }
}
