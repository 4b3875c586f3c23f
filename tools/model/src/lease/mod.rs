//! Domain leases (PROTOCOL 4): one domain on one page, two or three hosts, each with the core's own lease machine.
//!
//! A page is read sector by sector, in any order and as slowly as the adversary likes; a write's call may fail and the write
//! land later, or never; hosts die, rejoin, restart their agents; users start and stop. Evidence is an oracle: a host is
//! gone only when it is. No time passes but the interval between drops: nothing else here rests on it.

mod canonical;
mod describe;
mod host;
mod sectors;
mod step;
mod storage;
mod verdict;
mod world;
#[cfg(feature = "planted-bugs")]
mod wrong;

use leasefence_core::format::{Layout, Unit};
use leasefence_core::ids::{BootId, DomainId, FileId, Incarnation};

use crate::scenario::{Checked, Scenario, Size};
use crate::search::Model;
use step::Step;
use world::World;

/// The one domain.
const DOMAIN: DomainId = DomainId([1; 16]);

/// The file.
fn layout(hosts: u16) -> Layout {
    // Counts that a layout always takes.
    Layout::new(FileId([7; 16]), Unit::Bytes4096, hosts, 1).expect("1 to 256 hosts and one page")
}

/// Each generation is another boot.
fn boot_of(incarnation: Incarnation) -> BootId {
    let mut bytes = [0xb0; 16];
    bytes[..2].copy_from_slice(&incarnation.slot.0.to_le_bytes());
    bytes[2..6].copy_from_slice(&incarnation.generation.0.to_le_bytes());
    BootId(bytes)
}

/// What may happen, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Bounds {
    /// Machines that die.
    pub(crate) deaths: u8,
    /// Dead ones that come back.
    pub(crate) rejoins: u8,
    /// Agents that are restarted.
    pub(crate) restarts: u8,
    /// Writes whose call fails.
    pub(crate) failures: u8,
    /// Users' stops.
    pub(crate) stops: u8,
    /// Users' starts.
    pub(crate) starts: u8,
    /// Intervals between drops that pass.
    pub(crate) drops: u8,
    /// Starts that fail.
    pub(crate) failed_starts: u8,
    /// Guests that crash.
    pub(crate) crashes: u8,
    /// Copies of lease sectors that are damaged.
    pub(crate) damages: u8,
}

/// The model.
pub(crate) struct Leases {
    hosts: u16,
    /// Where the domain runs at first.
    owner: u16,
    bounds: Bounds,
    /// A read of the page passes the sectors in their order; else in any.
    in_order: bool,
}

impl Model for Leases {
    type State = World;
    type Step = Step;

    fn initial(&self) -> World {
        World::new(self.hosts, self.owner, self.bounds, self.in_order)
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

    /// A recovery has started the domain.
    fn is_reached(&self, state: &World) -> bool {
        !state.recovered.is_empty()
    }

    fn describe(&self, path: &[Step], before: &World, after: &World) -> String {
        path.last().map(|step| describe::line(before, *step, after)).unwrap_or_default()
    }
}

impl Checked for Leases {
    const NAME: &'static str = "lease";

    fn scenarios(size: Size) -> Vec<Scenario<Self>> {
        let death = Bounds { deaths: 1, ..Bounds::default() };
        let rejoin = Bounds { rejoins: 1, ..death };
        match size {
            Size::Small => vec![
                any("2 hosts: 1 death, 1 rejoin", 2, rejoin),
                any("3 hosts: 1 death", 3, death),
                in_order("3 hosts: 1 death, 1 rejoin", 3, rejoin),
            ],
            Size::Medium => vec![
                any(
                    "2 hosts: 1 death, 1 rejoin, 1 agent restart, 1 stop, 1 start",
                    2,
                    Bounds { restarts: 1, stops: 1, starts: 1, ..rejoin },
                ),
                any(
                    "2 hosts: 1 death, 1 rejoin, 1 failed write, 1 stop, 1 start, 1 drop",
                    2,
                    Bounds { failures: 1, drops: 1, stops: 1, starts: 1, ..rejoin },
                ),
                any(
                    "2 hosts: 2 deaths, 2 rejoins, 1 agent restart, 1 failed write",
                    2,
                    Bounds { deaths: 2, rejoins: 2, restarts: 1, failures: 1, ..Bounds::default() },
                ),
                any(
                    "2 hosts: the same with 1 stop, 1 start, 1 death, 1 rejoin",
                    2,
                    Bounds { restarts: 1, failures: 1, stops: 1, starts: 1, ..rejoin },
                ),
            ],
            Size::Large => vec![
                any(
                    "2 hosts: all of these, and 1 drop",
                    2,
                    Bounds { restarts: 1, failures: 1, drops: 1, stops: 1, starts: 1, ..rejoin },
                ),
                in_order("3 hosts: 2 deaths, 1 rejoin", 3, Bounds { deaths: 2, ..rejoin }),
                in_order(
                    "3 hosts: 1 death, 1 rejoin, 1 stop, 2 drops",
                    3,
                    Bounds { stops: 1, drops: 2, ..rejoin },
                ),
                any("3 hosts: 1 death, 1 rejoin, any order of reads", 3, rejoin),
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

/// A scan passes the sectors in any order.
fn any(name: &'static str, hosts: u16, bounds: Bounds) -> Scenario<Leases> {
    Scenario { name, model: Leases { hosts, owner: 0, bounds, in_order: false }, most: MOST }
}

/// A scan passes the sectors in their order.
fn in_order(name: &'static str, hosts: u16, bounds: Bounds) -> Scenario<Leases> {
    Scenario { name, model: Leases { hosts, owner: 0, bounds, in_order: true }, most: MOST }
}
