//! The scenarios: each adds one or two kinds of trouble to the smallest numbers, so that each is searched to the end.

use std::time::Duration;

use super::Timing;
use super::rules::{May, Rules};
use crate::scenario::{Scenario, Size};

const NONE: May = Rules::smallest().may;
const BASE: Rules = Rules::smallest();
/// A tick in which the half second that a watchdog's reset takes can be said.
const HALF: Rules = Rules { tick: Duration::from_millis(500), ..BASE };
/// The end is told by `fencing` and the receipt, and comes early by a fence request.
const TELLING: Rules = Rules { tells_its_end: true, lazy_fencer: true, may: May { ask: 1, ..NONE }, ..HALF };
/// The same with a watchdog whose reset may come later than the budget after an early end.
const WATCHDOG: Rules = Rules { watchdog: Duration::from_millis(500), lazy_fencer: false, ..TELLING };
/// The agent was restarted with another configuration: from a longer ttl to a shorter one.
const SOONER: Rules = Rules { ttl: 5, other_ttl: 4, changing: true, ..BASE };
/// The other way round.
const LATER: Rules = Rules { ttl: 4, other_ttl: 5, ..SOONER };

const NO_TROUBLE: Scenery = ("no trouble", BASE);
const TO_THE_END: Scenery = ("no trouble, on after the end", Rules { to_the_end: true, ..BASE });
const LATE_END: Scenery =
    ("a scan ends later than it was served", Rules { late_end: true, slow_scan: 3, ..BASE });
const DAMAGE: Scenery = ("a copy becomes unreadable", with(BASE, May { damage: 1, ..NONE }));
const LOSE: Scenery = ("a medium acknowledges and loses", with(SLOW, May { lose: 2, ..NONE }));
const SLOW: Rules = Rules { slow_read_back: true, ..BASE };
const SLOW_READ_BACK: Scenery =
    ("a slow read-back, which may fail", with(SLOW, May { fail_read_back: 1, ..NONE }));
const DRIFT: Scenery = ("clocks drift", with(Rules { drift_ppm: 65_000, ..BASE }, May { drift: 1, ..NONE }));
const SLEW: Scenery = ("one clock of a host is slewed", with(BASE, May { slew: 1, ..NONE }));
const RESTART: Scenery = ("the observer restarts", with(BASE, May { restart_observer: 1, ..NONE }));
const FREEZE: Scenery = ("the observer's path becomes a picture", with(BASE, May { freeze: 1, ..NONE }));
const HANG: Scenery = ("the fencer hangs, no watchdog", with(BASE, May { hang: 1, ..NONE }));
const PAUSE: Scenery = ("the agent is paused", with(BASE, May { pause: 1, ..NONE }));
const CRASH: Scenery = ("the agent dies and starts again", with(BASE, May { crash: 1, ..NONE }));
const ASKED: Scenery = ("a fence request; fencing, receipt", TELLING);
const WATCHED: Scenery = ("a fence request, with a watchdog", WATCHDOG);
const HANG_WATCHED: Scenery =
    ("the fencer hangs, with a watchdog", with(WATCHDOG, May { hang: 1, ask: 1, ..NONE }));
const JOINS: Scenery =
    ("the host arms; a write is unknown", with(Rules { joins: true, ..BASE }, May { time_out: 1, ..NONE }));
const LATE: Scenery = ("a write lands late", with(BASE, May { time_out: 1, ..NONE }));
const TORN: Scenery = (
    "a write lands late, copies are read apart",
    with(Rules { torn_reads: true, ..BASE }, May { time_out: 1, ..NONE }),
);
const SHORTER: Scenery = ("ttl 5 to 4 at a restart", SOONER);
const LONGER: Scenery = ("ttl 4 to 5 at a restart", LATER);
const LONGER_LATE: Scenery = ("ttl 4 to 5, a write lands late", with(LATER, May { time_out: 1, ..NONE }));
const LONGER_DAMAGED: Scenery =
    ("ttl 4 to 5, one late, one copy unreadable", with(LATER, May { time_out: 1, damage: 1, ..NONE }));
const SHORTER_LATE: Scenery = ("ttl 5 to 4, a write lands late", with(SOONER, May { time_out: 1, ..NONE }));
const DAMAGE_LATE: Scenery =
    ("a write lands late, a copy is unreadable", with(BASE, May { time_out: 1, damage: 1, ..NONE }));
const CRASH_LATE: Scenery = (
    "the agent dies, two writes land late",
    with(Rules { late: 2, ..BASE }, May { time_out: 1, crash: 1, ..NONE }),
);

const MOST: usize = 60_000_000;

type Scenery = (&'static str, Rules);

const fn with(rules: Rules, may: May) -> Rules {
    Rules { may, ..rules }
}

fn all(sceneries: &[Scenery]) -> Vec<Scenario<Timing>> {
    sceneries.iter().map(|scenery| scenario(*scenery)).collect()
}

fn scenario((name, rules): Scenery) -> Scenario<Timing> {
    Scenario { name, model: Timing::new(rules), most: MOST }
}

/// The scenarios of a size.
pub(crate) fn of(size: Size) -> Vec<Scenario<Timing>> {
    match size {
        Size::Small => all(&[NO_TROUBLE, DAMAGE, DRIFT, SLEW, RESTART, WATCHED, SHORTER, LONGER]),
        Size::Medium => all(&[
            TO_THE_END,
            LATE_END,
            FREEZE,
            HANG,
            ASKED,
            SLOW_READ_BACK,
            PAUSE,
            CRASH,
            HANG_WATCHED,
            JOINS,
            LATE,
            LOSE,
        ]),
        Size::Large => all(&[TORN, LONGER_LATE, SHORTER_LATE, LONGER_DAMAGED, DAMAGE_LATE, CRASH_LATE]),
    }
}

/// The bugs that this model must find, and where.
#[cfg(feature = "planted-bugs")]
pub(crate) fn wrong() -> Vec<(leasefence_core::planted::Bug, Scenario<Timing>)> {
    use leasefence_core::planted::Bug;
    let bugs = [
        (Bug::OneTickShort, NO_TROUBLE),
        (Bug::DrainLeftOut, NO_TROUBLE),
        (Bug::HolderFromAck, NO_TROUBLE),
        (Bug::ObserverFromBeforeRead, NO_TROUBLE),
        (Bug::LateAckRevives, NO_TROUBLE),
        (Bug::VerdictReadEarly, LATE_END),
        (Bug::UnreadableIsUnchanged, DAMAGE),
        (Bug::NoReadBack, LOSE),
        (Bug::DriftLeftOut, DRIFT),
        (Bug::OneClock, SLEW),
        (Bug::StallKeptOverRestart, RESTART),
        (Bug::DeadPicture, FREEZE),
        (Bug::RenewsWithoutFencer, HANG),
        (Bug::FencingBeforeLatch, ASKED),
        (Bug::ReceiptAfterForce, ASKED),
        (Bug::StallGoesOnAfterFencing, WATCHED),
        (Bug::CapIgnoresWatchdog, WATCHED),
        (Bug::PetKeepsOldEnd, WATCHED),
        (Bug::PetWithoutClean, WATCHED),
        (Bug::ResetLatencyLeftOut, WATCHED),
        (Bug::ArmedAfterHeld, JOINS),
        (Bug::StallNeedsHigherSequence, LATE),
        (Bug::OneCopyOfTwo, LATE),
        (Bug::TtlLoweredAtAck, SHORTER),
        (Bug::TtlRaisedAtIssue, LONGER),
        (Bug::OldTermsAfterRestart, SHORTER),
    ];
    bugs.into_iter().map(|(bug, scenery)| (bug, scenario(scenery))).collect()
}
