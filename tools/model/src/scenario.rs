//! What is run: named scenarios of the models, and one printed line for each. A scenario is a model with small numbers,
//! searched to the end.

use leasefence_say::{nobody_reads, say};

use crate::search::{End, Model, Outcome, search};

/// How much is searched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Size {
    /// Seconds: part of `make verify`.
    Small,
    /// Minutes.
    Medium,
    /// As long as it takes.
    Large,
}

/// A model with its numbers.
pub(crate) struct Scenario<M> {
    /// What it shows, in a few words.
    pub(crate) name: &'static str,
    /// What is searched.
    pub(crate) model: M,
    /// Where it stops, and says so.
    pub(crate) most: usize,
}

/// A model that the command line knows.
pub(crate) trait Checked: Model + Sized {
    /// Its word on the command line.
    const NAME: &'static str;

    /// The scenarios of a size; the larger sizes leave out what the smaller ones search.
    fn scenarios(size: Size) -> Vec<Scenario<Self>>;

    /// The planted bugs that must be refuted, each with a scenario in which it shows.
    #[cfg(feature = "planted-bugs")]
    fn wrong_rules() -> Vec<(leasefence_core::planted::Bug, Scenario<Self>)>;
}

/// Searches the scenarios of a model up to a size whose names contain `only`, each up to `most` states. True when every
/// one was exhausted without a violation. It ends once nobody reads what it finds.
pub(crate) fn check<M: Checked>(size: Size, only: &str, most: usize) -> bool {
    let sizes = [Size::Small, Size::Medium, Size::Large].into_iter().filter(|each| *each <= size);
    let scenarios = sizes.flat_map(M::scenarios);
    let scenarios = scenarios.filter(|scenario| scenario.name.contains(only));
    let scenarios = scenarios.map(|scenario| Scenario { most: scenario.most.min(most), ..scenario });
    let mut sound = true;
    for scenario in scenarios {
        if nobody_reads() {
            // What is not searched is not shown to be sound.
            return false;
        }
        sound &= run(M::NAME, &scenario) == Found::Nothing;
    }
    sound
}

/// What a scenario showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Everything was visited, and nothing is wrong.
    Nothing,
    /// It was stopped before the end.
    Unknown,
    /// A violation.
    Violation,
}

/// Searches one scenario and prints what it found.
pub(crate) fn run<M: Model>(name: &str, scenario: &Scenario<M>) -> Found {
    let Outcome { states, reached, steps, depth, took, end } = search(&scenario.model, scenario.most);
    let (found, word) = match &end {
        End::Exhausted => (Found::Nothing, "no violation"),
        End::Capped => (Found::Unknown, "STOPPED before the end"),
        End::Violated { .. } => (Found::Violation, "VIOLATION"),
    };
    say!(
        "{name:<7} {:<62} {states:>9} states {reached:>8} reached {steps:>10} steps  depth {depth:>3} {:>7.1} s  {word}",
        scenario.name,
        took.as_secs_f64()
    );
    if let End::Violated { what, trace } = end {
        say!("        {what}, after {} steps:", trace.len());
        for (number, line) in trace.iter().enumerate() {
            say!("        {:>3} {line}", number + 1);
        }
    }
    found
}

/// Plants each bug (or the one that is named) and searches for it. True when every one was refuted; a name that this
/// model does not know is no failure of it.
#[cfg(feature = "planted-bugs")]
pub(crate) fn refute<M: Checked>(word: Option<&str>) -> Refuted {
    let mut refuted = Refuted { known: 0, survivors: Vec::new() };
    for (bug, scenario) in M::wrong_rules() {
        if word.is_some_and(|word| word != bug.word()) {
            continue;
        }
        refuted.known += 1;
        say!("{:<7} planted: {} ({})", M::NAME, bug.word(), bug.sentence());
        leasefence_core::planted::plant(Some(bug));
        if run(M::NAME, &scenario) != Found::Violation {
            refuted.survivors.push(bug.word());
        }
        leasefence_core::planted::plant(None);
    }
    refuted
}

/// What became of planted bugs.
#[cfg(feature = "planted-bugs")]
#[derive(Debug)]
pub(crate) struct Refuted {
    /// How many the model knows.
    pub(crate) known: usize,
    /// Those that it did not find.
    pub(crate) survivors: Vec<&'static str>,
}
