//! The search: breadth first over all states that a model can reach, so that the first violation has a shortest trace.
//! It remembers fingerprints, keeps whole states of two layers only, and builds a trace by taking its steps again. It
//! knows nothing of the protocol.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash};
use std::time::Duration;

use crate::fingerprint::{AsIs, fingerprint};

/// What is searched. All of it must be deterministic: a state and a step give one next state.
pub(crate) trait Model {
    /// A state in canonical form: two states that behave alike should be equal.
    type State: Clone + Hash;
    /// One thing that may happen next.
    type Step: Clone;

    /// Where it begins.
    fn initial(&self) -> Self::State;

    /// All that may happen in `state`, always in the same order.
    fn steps(&self, state: &Self::State, steps: &mut Vec<Self::Step>);

    /// The state after `step`, in canonical form; none when it cannot happen after all.
    fn take(&self, state: &Self::State, step: &Self::Step) -> Option<Self::State>;

    /// The same for a trace that people read: numbers may stay what they were.
    fn take_as_told(&self, state: &Self::State, step: &Self::Step) -> Option<Self::State> {
        self.take(state, step)
    }

    /// What is wrong in `state`; none when every invariant holds.
    fn violation(&self, state: &Self::State) -> Option<String>;

    /// True in the states in which what the invariants speak of happens at all: counted, so that a search which never
    /// gets there shows.
    fn is_reached(&self, state: &Self::State) -> bool;

    /// One line of a trace: what the last of `path` made of `before`.
    fn describe(&self, path: &[Self::Step], before: &Self::State, after: &Self::State) -> String;
}

/// How a search ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Every reachable state was visited, and none violates anything.
    Exhausted,
    /// The most states that were allowed were visited, without a violation.
    Capped,
    /// A shortest way to a violation.
    Violated {
        /// What is violated.
        what: String,
        /// The steps that lead there, each described.
        trace: Vec<String>,
    },
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// Different states that were visited.
    pub(crate) states: usize,
    /// Those of them in which what the invariants speak of has happened.
    pub(crate) reached: usize,
    /// Steps that were taken.
    pub(crate) steps: usize,
    /// The longest of all shortest ways to a state.
    pub(crate) depth: usize,
    /// How much of a processor's time it took.
    pub(crate) took: Duration,
    /// How it ended.
    pub(crate) end: End,
}

/// The processor time of this thread so far: on a machine that does other work it says more than a clock.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

/// How a state was reached first: from which, and by which of its steps.
#[derive(Clone, Copy)]
struct Origin {
    from: u32,
    step: u16,
}

/// The states of one layer, each with its number.
type Layer<S> = Vec<(S, u32)>;

struct Search<'a, M: Model> {
    model: &'a M,
    seen: HashSet<u128, BuildHasherDefault<AsIs>>,
    origins: Vec<Origin>,
    reached: usize,
    taken: usize,
    steps: Vec<M::Step>,
}

/// Searches `model`, visiting at most `most` states.
pub(crate) fn search<M: Model>(model: &M, most: usize) -> Outcome {
    let begun = cpu_time();
    let mut search = Search {
        model,
        seen: HashSet::default(),
        origins: Vec::new(),
        reached: 0,
        taken: 0,
        steps: Vec::new(),
    };
    let (depth, end) = search.run(most);
    Outcome {
        states: search.origins.len(),
        reached: search.reached,
        steps: search.taken,
        depth,
        took: cpu_time().saturating_sub(begun),
        end,
    }
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self, most: usize) -> (usize, End) {
        let first = self.model.initial();
        self.seen.insert(fingerprint(&first));
        self.origins.push(Origin { from: 0, step: 0 });
        if let Some(what) = self.model.violation(&first) {
            return (0, End::Violated { what, trace: Vec::new() });
        }
        let mut layer = vec![(first, 0)];
        let mut depth = 0;
        while !layer.is_empty() {
            let mut next = Vec::new();
            for (state, number) in layer.drain(..) {
                if let Some((what, number)) = self.expand(&state, number, &mut next) {
                    return (depth + 1, End::Violated { what, trace: self.trace(number) });
                }
                if self.origins.len() >= most {
                    return (depth + 1, End::Capped);
                }
            }
            depth += usize::from(!next.is_empty());
            layer = next;
        }
        (depth, End::Exhausted)
    }

    /// Takes every step from a state. Gives the first violation, and the number of the state that has it.
    fn expand(&mut self, state: &M::State, from: u32, next: &mut Layer<M::State>) -> Option<(String, u32)> {
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        self.model.steps(state, &mut steps);
        let mut found = None;
        for (index, step) in steps.iter().enumerate() {
            let Some(after) = self.model.take(state, step) else { continue };
            self.taken += 1;
            if !self.seen.insert(fingerprint(&after)) {
                continue;
            }
            let number = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
            self.origins.push(Origin { from, step: u16::try_from(index).unwrap_or(u16::MAX) });
            if let Some(what) = self.model.violation(&after) {
                found = Some((what, number));
                break;
            }
            self.reached += usize::from(self.model.is_reached(&after));
            next.push((after, number));
        }
        self.steps = steps;
        found
    }

    /// The way to the state with this number, by taking its steps again.
    fn trace(&self, number: u32) -> Vec<String> {
        let mut way = Vec::new();
        let mut at = number;
        while at != 0 {
            let Some(origin) = usize::try_from(at).ok().and_then(|at| self.origins.get(at)) else { break };
            way.push(origin.step);
            at = origin.from;
        }
        let mut state = self.model.initial();
        let (mut lines, mut path) = (Vec::new(), Vec::new());
        for index in way.into_iter().rev() {
            let mut steps = Vec::new();
            self.model.steps(&state, &mut steps);
            let Some(step) = steps.get(usize::from(index)) else { break };
            let Some(after) = self.model.take_as_told(&state, step) else { break };
            path.push(step.clone());
            lines.push(self.model.describe(&path, &state, &after));
            state = after;
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Model, search};

    /// A jug of 3 and one of 5 litres: who wants 4, finds the shortest way to it.
    struct Jugs {
        unwanted: u8,
    }

    impl Model for Jugs {
        type State = (u8, u8);
        type Step = &'static str;

        fn initial(&self) -> (u8, u8) {
            (0, 0)
        }

        fn steps(&self, _: &(u8, u8), steps: &mut Vec<&'static str>) {
            steps.extend(["fill 3", "fill 5", "empty 3", "empty 5", "3 into 5", "5 into 3"]);
        }

        fn take(&self, &(three, five): &(u8, u8), step: &&'static str) -> Option<(u8, u8)> {
            Some(match *step {
                "fill 3" => (3, five),
                "fill 5" => (three, 5),
                "empty 3" => (0, five),
                "empty 5" => (three, 0),
                "3 into 5" => (three - three.min(5 - five), five + three.min(5 - five)),
                _ => (three + five.min(3 - three), five - five.min(3 - three)),
            })
        }

        fn violation(&self, state: &(u8, u8)) -> Option<String> {
            (state.1 == self.unwanted).then(|| format!("{} litres", state.1))
        }

        fn is_reached(&self, state: &(u8, u8)) -> bool {
            state.0 == 3
        }

        fn describe(&self, path: &[&'static str], _: &(u8, u8), after: &(u8, u8)) -> String {
            format!("{}: {} and {}", path[path.len() - 1], after.0, after.1)
        }
    }

    #[test]
    fn a_planted_counter_example_is_found_by_a_shortest_way() {
        let End::Violated { what, trace } = search(&Jugs { unwanted: 4 }, 1_000).end else {
            panic!("not found")
        };
        assert_eq!(what, "4 litres");
        let expected = [
            "fill 5: 0 and 5",
            "5 into 3: 3 and 2",
            "empty 3: 0 and 2",
            "5 into 3: 2 and 0",
            "fill 5: 2 and 5",
            "5 into 3: 3 and 4",
        ];
        assert_eq!(trace, expected);
    }

    #[test]
    fn without_one_every_state_is_visited_once() {
        let outcome = search(&Jugs { unwanted: 6 }, 1_000);
        assert_eq!((outcome.states, outcome.reached, outcome.end), (16, 6, End::Exhausted));
        assert_eq!(search(&Jugs { unwanted: 6 }, 10).end, End::Capped, "or it says that it stopped before");
    }
}
