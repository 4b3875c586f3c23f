//! Traces in words: the time in ticks, who does what, and what that shows.

use super::observer::Look;
use super::rules::Rules;
use super::steps::{State, Step};
use super::victim::Act;

/// One line of a trace.
pub(crate) fn line(rules: &Rules, path: &[Step], before: &State, after: &State) -> String {
    let ticks = path.iter().filter(|step| matches!(step, Step::Tick | Step::TickSlewed)).count();
    let Some(step) = path.last() else { return String::new() };
    format!("t={ticks:<2} {}", sentence(rules, *step, before, after))
}

fn sentence(rules: &Rules, step: Step, before: &State, after: &State) -> String {
    match step {
        Step::Tick => format!("a tick passes: {}", after.victim.told()),
        Step::TickSlewed => format!("a tick passes, not on the victim's BOOTTIME: {}", after.victim.told()),
        Step::Drift => "the observer's clocks gain a tick".to_owned(),
        Step::SlewObserver => "the observer's BOOTTIME is slewed ahead by a tick".to_owned(),
        Step::Damage(copy) => format!("copy {copy:?} of the record becomes unreadable"),
        Step::Victim(act) => of_victim(rules, act, before, after),
        Step::Observer(look) => of_observer(look, before, after),
    }
}

fn of_victim(rules: &Rules, act: Act, before: &State, after: &State) -> String {
    let record = |state: &State| state.victim.record(rules).map_or_else(String::new, |rec| rec.to_string());
    match act {
        Act::Issue => format!("victim issues {}", record(before)),
        Act::Land => format!("  the storage applies {}", record(before)),
        Act::Acknowledge => format!("victim has the acknowledgement of {}", record(before)),
        Act::Lose => format!("  the medium acknowledges {} and loses it", record(before)),
        Act::TimeOut => format!("victim gives up {}: its outcome is unknown", record(before)),
        Act::ReadBack => "victim's read-back ends".to_owned(),
        Act::ReadFails => "victim's read-back fails".to_owned(),
        Act::LandLate(at) => {
            let late = before.victim.late(at).map_or_else(String::new, |rec| rec.to_string());
            format!("  the storage applies {late} LATE")
        }
        Act::Crash => "the victim's agent dies".to_owned(),
        Act::Start { other_ttl: false } => "the victim's agent starts again".to_owned(),
        Act::Start { other_ttl: true } => {
            format!("the victim's agent starts again, configured with ttl {}", rules.other_ttl)
        }
        Act::Pause => "the victim's agent is paused".to_owned(),
        Act::GoOn => "the victim's agent goes on".to_owned(),
        Act::Ask => "victim obeys a fence request: its lease ends now".to_owned(),
        Act::Beat => format!("fencer looks at the page: {}", after.victim.told()),
        Act::Kill { by_force: true } => {
            "fencer has killed the guests, and quiesced the storage by force".to_owned()
        }
        Act::Kill { by_force: false } => "fencer has killed the guests, and all is acknowledged".to_owned(),
        Act::AgentKills => "the victim's agent kills the guests itself".to_owned(),
        Act::Reset => "the watchdog resets the victim".to_owned(),
        Act::Hang => "the fencer hangs".to_owned(),
    }
}

fn of_observer(look: Look, before: &State, after: &State) -> String {
    match look {
        Look::Begin => "observer's scan begins".to_owned(),
        Look::Serve(copy) if !after.observer.is_idle() => format!("  the storage serves copy {copy:?}"),
        Look::Serve(_) | Look::End => {
            let said = match (before.observer.evidence(), after.observer.evidence()) {
                (None, Some(evidence)) => format!(": the victim is {}", evidence.as_str().to_uppercase()),
                _ => String::new(),
            };
            format!("observer's scan ends, it shows {}{said}", after.observer.shown())
        }
        Look::Freeze => "observer's path becomes a picture".to_owned(),
        Look::Restart => "observer's process starts again".to_owned(),
    }
}
