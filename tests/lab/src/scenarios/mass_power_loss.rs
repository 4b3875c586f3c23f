//! The whole room loses its power, the storage as well, and gets it back machine by machine.

use crate::machine::{MACHINES, hypervisors};
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "mass-power-loss",
    "and everything else loses its power, and gets it back one after the other: the guest runs once",
    play,
);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.note(Kind::Fault, "power cut of all hosts and of the storage");
    for host in hypervisors() {
        stage.lab().power_off(host)?;
    }
    stage.lab().power_off(crate::machine::STORAGE)?;
    for machine in MACHINES {
        stage.lab().power_on(machine)?;
    }
    stage.note(Kind::Mended, "all have booted");
    stage.sees_all_return()
}
