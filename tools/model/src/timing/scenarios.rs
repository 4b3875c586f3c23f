//! The scenarios: each adds one or two kinds of trouble to the smallest numbers, so that each is searched to the end.

use std::time::Duration;

use super::Timing;
use super::rules::{May, Rules};
use crate::scenario::{Scenario, Size};

const NONE: May = Rules::smallest().may;
const BASE: Rules = Rules::smallest();
/// A tick with which a watchdog, whose reset takes half a second, can be said in ticks.
const HALF: Rules = Rules { tick: Duration::from_millis(500), ..BASE };
const MOST: usize = 40_000_000;

fn named(name: &'static str, rules: Rules) -> Scenario<Timing> {
    Scenario { name, model: Timing { rules }, most: MOST }
}

/// The scenarios of a size.
pub(crate) fn of(size: Size) -> Vec<Scenario<Timing>> {
    match size {
        Size::Small => small(),
        Size::Medium => medium(),
        Size::Large => large(),
    }
}

fn small() -> Vec<Scenario<Timing>> {
    vec![
        named("to the end, no trouble", Rules { to_the_end: true, ..BASE }),
        named("one write lands late", Rules { may: May { time_out: 1, ..NONE }, ..BASE }),
    ]
}

fn medium() -> Vec<Scenario<Timing>> {
    vec![named("fence request", Rules { may: May { ask: 1, ..NONE }, ..HALF })]
}

fn large() -> Vec<Scenario<Timing>> {
    Vec::new()
}

/// The bugs that this model must find, and where.
#[cfg(feature = "planted-bugs")]
pub(crate) fn wrong() -> Vec<(leasefence_core::planted::Bug, Scenario<Timing>)> {
    Vec::new()
}
