//! Holder, observer and verdict: one victim with its agent, fencer and guests, the two copies of its record, and one
//! observer. (A second one would change nothing: observers do not write, and each verdict is judged by itself.)
//!
//! Invariants: nothing says that the victim is gone while its guests write or a write of theirs may still be applied;
//! a lease that has ended is never valid again.

mod agent;
mod disk;
mod observer;
mod rules;
mod scenarios;
mod steps;
mod told;
mod victim;

use crate::part::Part;
use crate::scenario::{Checked, Scenario, Size};
use crate::search::Model;

use disk::{Disk, Rec, Says, Sector};
use leasefence_core::ids::Sequence;
use observer::Observer;
use rules::{May, Rules};
use steps::{Memory, State, Step};
use victim::{Act, Guests, Victim};

/// True while a bug is planted that stands in the member, around the core's types: this model does the same around them.
#[cfg(feature = "planted-bugs")]
macro_rules! wrong {
    ($bug:ident) => {
        leasefence_core::planted::is_planted(leasefence_core::planted::Bug::$bug)
    };
}

/// Always false: this build has no planted bugs.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! wrong {
    ($bug:ident) => {
        $crate::timing::never(stringify!($bug))
    };
}

use wrong;

#[cfg(not(feature = "planted-bugs"))]
const fn never(_bug: &str) -> bool {
    false
}

/// From the arming to the first `held` that counts.
const HELD: [Act; 5] = [Act::Beat, Act::Issue, Act::Land, Act::Acknowledge, Act::ReadBack];
/// The same, and a restart of the agent with the other configuration.
const RESTARTED: [Act; 7] = [
    Act::Beat,
    Act::Issue,
    Act::Land,
    Act::Acknowledge,
    Act::ReadBack,
    Act::Crash,
    Act::Start { other_ttl: true },
];

/// The model.
pub(crate) struct Timing {
    rules: Rules,
    memory: Memory,
}

impl Timing {
    fn new(rules: Rules) -> Self {
        Self { rules, memory: Memory::default() }
    }
}

impl Model for Timing {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        let rules = &self.rules;
        let joined = |sequence| Rec {
            sequence: Sequence(sequence),
            state: Says::Joining,
            ttl: rules.ttl,
            echo: rules.ttl,
        };
        let victim = Victim::joining(rules, joined(1));
        let state = State {
            victim: Part::new(victim),
            observer: Part::new(Observer::new(rules)),
            disk: Part::new(Disk([0, 1].map(|sequence| Sector::Valid(joined(sequence))))),
            may: May { crash: 1, change: 1, ..rules.may },
        };
        let way: &[Act] = match (rules.joins, rules.changing) {
            (true, _) => &[],
            (false, false) => &HELD,
            (false, true) => &RESTARTED,
        };
        let act = |state: State, act: &Act| state.after(Step::Victim(*act), rules, &self.memory);
        State { may: rules.may, ..way.iter().fold(state, act) }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        state.steps(&self.rules, steps);
    }

    fn take(&self, state: &State, step: &Step) -> Option<State> {
        Some(state.after(*step, &self.rules, &self.memory))
    }

    fn take_as_told(&self, state: &State, step: &Step) -> Option<State> {
        Some(state.after_as_told(*step, &self.rules, &self.memory))
    }

    fn violation(&self, state: &State) -> Option<String> {
        if state.victim.revived {
            return Some("the victim's lease had ended, and is valid again".to_owned());
        }
        let evidence = state.observer.evidence()?.as_str();
        match state.victim.guests {
            Guests::Running => Some(format!("`{evidence}` is said while the victim's guests run")),
            Guests::Draining(_) => Some(format!(
                "`{evidence}` is said while a write of the victim's guests may still be applied"
            )),
            Guests::Gone => None,
        }
    }

    fn is_reached(&self, state: &State) -> bool {
        state.victim.guests != Guests::Running
    }

    fn describe(&self, path: &[Step], before: &State, after: &State) -> String {
        told::line(&self.rules, path, before, after)
    }
}

impl Checked for Timing {
    const NAME: &'static str = "timing";

    fn scenarios(size: Size) -> Vec<Scenario<Self>> {
        scenarios::of(size)
    }

    #[cfg(feature = "planted-bugs")]
    fn wrong_rules() -> Vec<(leasefence_core::planted::Bug, Scenario<Self>)> {
        scenarios::wrong()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::fingerprint;
    use leasefence_core::format::RecordCopy;
    use observer::Look;

    /// The state after a way of steps.
    fn after(model: &Timing, way: &[Step]) -> State {
        way.iter().fold(model.initial(), |state, step| model.take(&state, step).unwrap())
    }

    /// A tick, a renewal, and a scan of it.
    const ROUND: [Step; 6] = [
        Step::Tick,
        Step::Victim(Act::Issue),
        Step::Victim(Act::Land),
        Step::Victim(Act::Acknowledge),
        Step::Observer(Look::Begin),
        Step::Observer(Look::Serve(RecordCopy::A)),
    ];

    #[test]
    fn two_runs_that_differ_only_by_absolute_time_and_by_earlier_writes_give_the_same_state() {
        let model = Timing::new(Rules::smallest());
        let [long, short] = [20, 10].map(|rounds| fingerprint(&after(&model, &ROUND.repeat(rounds))));
        assert_eq!(long, short);
        let odd = fingerprint(&after(&model, &ROUND.repeat(11)));
        assert_ne!(odd, short, "the other copy is the newer one");
    }

    #[test]
    fn a_victim_that_renews_no_more_is_expired_after_its_guests_are_gone_and_not_before() {
        let model = Timing::new(Rules { to_the_end: true, ..Rules::smallest() });
        let scan = [Step::Observer(Look::Begin), Step::Observer(Look::Serve(RecordCopy::A))];
        let mut state = after(&model, &scan);
        let mut said = Vec::new();
        for _ in 0..6 {
            assert_eq!(state.observer.evidence(), None);
            let kill = Step::Victim(Act::Kill { by_force: true });
            let kill = state.victim.is_due(&model.rules).then_some(kill);
            for step in kill.iter().chain([&Step::Tick]).chain(&scan) {
                state = model.take(&state, step).unwrap();
            }
            said.push((state.victim.guests == Guests::Gone, state.observer.evidence().is_some()));
        }
        assert_eq!(said[4..], [(false, false), (true, true)]);
        assert_eq!(model.violation(&state), None);
    }
}
