//! The wall clock jumps, and runs fast. No timer of Leasefence looks at it.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use leasefence_demo::story::Kind;

pub(super) const SCENARIO: Scenario = Scenario::new(
    "clock",
    "has its wall clock set an hour ahead, a day back, and slewed: nobody is fenced",
    play,
);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.note(Kind::Fault, "date -s '+1 hour', '-1 day'; 10 % faster");
    stage.on_victim("date -s '+1 hour' >/dev/null; sleep 3; date -s '-1 day' >/dev/null")?;
    // 10 % is the most that the kernel lets the tick differ; it bends CLOCK_MONOTONIC, not CLOCK_MONOTONIC_RAW.
    stage.on_victim("busybox adjtimex -t 11000 >/dev/null")?;
    let seen = stage.wait_ttl(1.5).and_then(|()| stage.sees_nobody_fenced());
    stage.note(Kind::Mended, "the clock is right again");
    stage.on_victim("busybox adjtimex -t 10000 >/dev/null; date -s '+23 hours' >/dev/null")?;
    seen
}
