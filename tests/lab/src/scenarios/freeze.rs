//! The whole host stands still for longer than everything, and goes on where it stood: no timer of its own can end it in time,
//! and its watchdog, which is emulated, stood still with it. Outside the promise, and said so.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario =
    Scenario::new("freeze", "stands still until its guest runs elsewhere, then goes on where it stood", play)
        .outside();

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.note(Kind::Fault, "all of it stands still");
    stage.lab().freeze(stage.victim())?;
    stage.sees_takeover()?;
    stage.note(Kind::Mended, "it goes on");
    stage.lab().thaw(stage.victim())?;
    stage.sees_return()
}
