//! A start under way, after the member has permitted it: its steps, each of which may wait for shared storage or libvirt
//! for minutes. The driver does what a step says, on a thread of its own, and comes back with the answer.

use std::time::Duration;

use super::StartFailure;
use crate::fencing::{AgentHalf, Wish};
use crate::time::{HolderDeadline, Instant};

/// Until when anything may be started here, as the agent's half of the page said last. Shared with the threads that
/// start; changed *before* a half is written to the page, so that no start slips in between. At first it is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StartGate(Option<HolderDeadline>);

impl StartGate {
    /// What this half says.
    #[must_use]
    pub fn of(half: &AgentHalf) -> Self {
        Self((half.wish == Wish::Armed).then_some(half.lease_end))
    }

    /// True when nothing may be started any more.
    #[must_use]
    pub fn is_closed(&self, now: Instant) -> bool {
        self.0.is_none_or(|end| end.reached(now))
    }
}

/// What a start does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartStep {
    /// Read the stored definition; then [`Starting::loaded`].
    LoadDefinition,
    /// Define and start the domain at once; then [`Starting::asked`].
    AskLibvirt,
    /// Ask after this time whether it came up; then [`Starting::activity`].
    AskActivity {
        /// From now.
        after: Duration,
    },
    /// It is over: send `Input::StartEnded`.
    Ended(Result<(), StartFailure>),
}

/// What asking libvirt for a start came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartOutcome {
    /// Seen running.
    Running,
    /// It failed, and libvirt has answered "shut off, no job" since.
    Failed(StartFailure),
    /// It may have happened, or may still happen; why nobody knows.
    Unknown(String),
}

/// What libvirt says of a domain whose start is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StartActivity {
    /// It runs.
    Running,
    /// Shut off with no job, or there is no such domain: nothing comes up of that start any more.
    OffNoJob,
    /// Anything else, or no answer.
    Unsettled,
}

/// A start under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Starting {
    definition_hash: u64,
    /// Why its outcome is unknown, once it is.
    why: String,
}

impl Starting {
    /// Between two questions whether a start of unknown outcome came to something.
    pub const ASK_AGAIN: Duration = Duration::from_secs(1);

    /// A start that `Command::Start` asked for and [`super::Sight::permits_start`] permitted. The first step.
    #[must_use]
    pub fn begin(definition_hash: u64) -> (Self, StartStep) {
        (Self { definition_hash, why: String::new() }, StartStep::LoadDefinition)
    }

    /// How a start ends that is not permitted.
    #[must_use]
    pub fn refused() -> StartFailure {
        StartFailure::Failed("the lease ended before the start".to_owned())
    }

    /// The definition was read: the hash of its disk chain; or why there is none, in words. The storage may have hung for
    /// longer than the lease lasted, so that the gate is looked at here, right before libvirt is asked.
    #[must_use]
    pub fn loaded(&self, now: Instant, gate: StartGate, definition: Result<u64, String>) -> StartStep {
        match definition {
            Err(why) => StartStep::Ended(Err(StartFailure::Definition(why))),
            Ok(hash) if hash != self.definition_hash => {
                let wanted = self.definition_hash;
                let why = format!("the definition is of disk chain {hash:016x}, and {wanted:016x} ran last");
                StartStep::Ended(Err(StartFailure::Definition(why)))
            }
            Ok(_) if gate.is_closed(now) => StartStep::Ended(Err(Self::refused())),
            Ok(_) => StartStep::AskLibvirt,
        }
    }

    /// Libvirt was asked for the start. One of unknown outcome is no failure: it may still come up.
    #[must_use]
    pub fn asked(&mut self, outcome: StartOutcome) -> StartStep {
        match outcome {
            StartOutcome::Running => StartStep::Ended(Ok(())),
            StartOutcome::Failed(failure) => StartStep::Ended(Err(failure)),
            StartOutcome::Unknown(why) => {
                self.why = why;
                StartStep::AskActivity { after: Duration::ZERO }
            }
        }
    }

    /// Libvirt was asked whether it came up; it is asked until it says.
    #[must_use]
    pub fn activity(&self, activity: StartActivity) -> StartStep {
        match activity {
            StartActivity::Running => StartStep::Ended(Ok(())),
            StartActivity::OffNoJob => StartStep::Ended(Err(StartFailure::Failed(self.why.clone()))),
            StartActivity::Unsettled => StartStep::AskActivity { after: Self::ASK_AGAIN },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default().plus(Duration::from_secs(seconds))
    }

    fn gate(wish: Wish) -> StartGate {
        StartGate::of(&AgentHalf { wish, lease_end: HolderDeadline(at(10)), ..AgentHalf::default() })
    }

    #[test]
    fn the_gate_is_open_before_the_end_of_an_armed_lease_only() {
        assert!(!gate(Wish::Armed).is_closed(at(9)));
        assert!(gate(Wish::Armed).is_closed(at(10)));
        for wish in [Wish::Joining, Wish::DenyStarts, Wish::Disarm] {
            assert!(gate(wish).is_closed(at(9)), "{wish:?}");
        }
        assert!(StartGate::default().is_closed(at(0)), "nothing was published yet");
    }

    #[test]
    fn a_start_whose_definition_comes_after_the_leases_end_does_not_happen() {
        let (start, first) = Starting::begin(7);
        assert_eq!(first, StartStep::LoadDefinition);
        assert_eq!(start.loaded(at(9), gate(Wish::Armed), Ok(7)), StartStep::AskLibvirt);
        let refused = StartStep::Ended(Err(Starting::refused()));
        assert_eq!(start.loaded(at(10), gate(Wish::Armed), Ok(7)), refused);
        assert_eq!(start.loaded(at(9), gate(Wish::DenyStarts), Ok(7)), refused);
    }

    #[test]
    fn a_definition_of_another_disk_chain_is_not_started() {
        let (start, _) = Starting::begin(7);
        let step = start.loaded(at(1), gate(Wish::Armed), Ok(8));
        assert!(matches!(step, StartStep::Ended(Err(StartFailure::Definition(_)))), "{step:?}");
        let step = start.loaded(at(1), gate(Wish::Armed), Err("none is stored".to_owned()));
        assert!(matches!(step, StartStep::Ended(Err(StartFailure::Definition(_)))), "{step:?}");
    }

    #[test]
    fn a_start_of_unknown_outcome_is_asked_for_until_libvirt_says() {
        let (mut start, _) = Starting::begin(7);
        let step = start.asked(StartOutcome::Unknown("libvirt went away".to_owned()));
        assert_eq!(step, StartStep::AskActivity { after: Duration::ZERO });
        let again = StartStep::AskActivity { after: Starting::ASK_AGAIN };
        assert_eq!(start.activity(StartActivity::Unsettled), again);
        assert_eq!(start.activity(StartActivity::Running), StartStep::Ended(Ok(())));
        let failed = StartFailure::Failed("libvirt went away".to_owned());
        assert_eq!(start.activity(StartActivity::OffNoJob), StartStep::Ended(Err(failed)));
        assert_eq!(start.asked(StartOutcome::Running), StartStep::Ended(Ok(())));
        let locked = StartOutcome::Failed(StartFailure::ImageLocked);
        assert_eq!(start.asked(locked), StartStep::Ended(Err(StartFailure::ImageLocked)));
    }
}
