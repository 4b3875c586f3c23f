//! The host's memory runs out, again and again. The fencer has all of its own locked, and asks for none.

use leasefence_demo::story::Kind;

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;

const EATER: &str = "lab-eater";

pub(super) const SCENARIO: Scenario = Scenario::new(
    "memory",
    "has all its memory eaten, over and over, and is cut off: its guest ends in time and runs once elsewhere, and it comes back",
    play,
);

/// For so many seconds it begins anew each time that the kernel has killed it.
const EATS_FOR: u32 = 60;
/// In seconds of processor time. A host that reclaims its programs' pages over and over can put off for minutes the kill for want of
/// memory; this limit is the kernel's too, and needs no memory.
const EATS_AT_ONCE: u32 = 5;

/// `tail` keeps what it has read until a line ends. While it does the host may be too busy to be told anything: it ends by itself.
fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.note(Kind::Fault, "a process eats its memory");
    stage.on_victim(&format!(
        "systemd-run --quiet --unit={EATER} --property=OOMScoreAdjust=1000 --property=OOMPolicy=continue \
         sh -c 'end=$(($(date +%s) + {EATS_FOR})); \
         while test $(date +%s) -lt $end; do (ulimit -t {EATS_AT_ONCE}; exec tail /dev/zero); done'"
    ))?;
    stage.wait_ttl(0.5)?;
    stage.cut_storage()?;
    stage.sees_takeover()?;
    stage.heal()?;
    stage.note(Kind::Mended, "it ends");
    stage.sees_return()?;
    stage.sees_guest_on_one_host()
}
