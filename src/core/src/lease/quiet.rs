//! Killed is not quiesced (R6): the proof that no write of a domain whose process is gone can still leave this host, by a
//! barrier on its storages that was issued after the process was gone. It asks and counts; it never writes.

use std::time::Duration;

use crate::time::{Instant, ObserverDeadline};

/// Between a barrier that failed and the next one.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// A barrier that waits for its storage longer than this is told to people, once.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    /// A barrier is asked for at this instant.
    Ask(Instant),
    /// It was asked for, and will be answered.
    Asked,
    /// It was acknowledged; a `write_drain` after that ends here.
    Draining(Instant),
}

/// What follows now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum QuietNews {
    /// Ask for a barrier, named by this instant.
    Ask(Instant),
    /// Tell people, once, that it is not quiet yet, and why.
    Late(String),
    /// No write can leave this host any more, and what it had sent is applied.
    Quiet,
}

/// Waits until the storages of a domain without a process are quiet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct QuietProof {
    /// When the process was proven gone. It names the barriers that count: each is issued after it.
    gone: Instant,
    step: Step,
    /// Why the last barrier failed.
    failed: Option<String>,
    told: bool,
}

impl QuietProof {
    /// For a domain whose process is proven gone now, its start token closed.
    pub(super) fn new(gone: Instant) -> Self {
        Self { gone, step: Step::Ask(gone), failed: None, told: false }
    }

    /// The answer to a barrier that was asked for at `asked`; `drain` is the longest that a storage holds a write which it
    /// has received. One that was asked for before the process was gone shows nothing.
    pub(super) fn answered(
        &mut self,
        asked: Instant,
        result: &Result<Duration, String>,
        drain: Duration,
        now: Instant,
    ) {
        if asked != self.gone || self.step != Step::Asked {
            return;
        }
        self.step = match result {
            Ok(_) => Step::Draining(now.plus(drain)),
            Err(why) => {
                self.failed = Some(why.clone());
                Step::Ask(now.plus(ASK_AGAIN))
            }
        };
    }

    /// What follows at this instant, one after the other.
    pub(super) fn poll(&mut self, now: Instant) -> Option<QuietNews> {
        let due = |at: Instant| ObserverDeadline(at).reached(now);
        match self.step {
            Step::Draining(until) => return due(until).then_some(QuietNews::Quiet),
            Step::Ask(at) if due(at) => {
                self.step = Step::Asked;
                return Some(QuietNews::Ask(self.gone));
            }
            Step::Ask(_) | Step::Asked => {}
        }
        let late = self.failed.is_some() || due(self.gone.plus(TELL_AFTER));
        let tell = late && !std::mem::replace(&mut self.told, late);
        tell.then(|| QuietNews::Late(self.why().to_owned()))
    }

    /// When to poll again, if no answer comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.step {
            Step::Ask(at) | Step::Draining(at) => Some(at),
            Step::Asked => (!self.told).then(|| self.gone.plus(TELL_AFTER)),
        }
    }

    /// True when barriers were refused, and not just late, for so long: no more can be shown of a disk that only QEMU reaches, or
    /// whose definition nobody has.
    pub(super) fn cannot_be_shown(&self, hold: Duration, now: Instant) -> bool {
        self.failed.is_some()
            && matches!(self.step, Step::Ask(_))
            && ObserverDeadline(self.gone.plus(hold)).reached(now)
    }

    /// Why it is not quiet yet, in words.
    pub(super) fn why(&self) -> &str {
        match (&self.step, &self.failed) {
            (Step::Draining(_), _) => "its storages still apply what they have received",
            (_, Some(why)) => why,
            (_, None) => "the barrier on its storages is not acknowledged",
        }
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for QuietProof {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.gone.each_mark(f);
        match &mut self.step {
            Step::Ask(at) | Step::Draining(at) => at.each_mark(f),
            Step::Asked => {}
        }
    }
}
