//! One beat of the fencer: what its process does, step by step and in which order, and when it comes back. The process (or
//! the simulator) lends its hands: it reads and writes the page, puts the marker in its place, signals and looks.
//!
//! Each call does one step, so that a driver can count the time that passes between two of them. Nothing here allocates.

use std::time::Duration;

use crate::fencing::state::State;
use crate::fencing::{AgentHalf, DomainProcess, Fencer, FencerHalf, HalfReading, Marker, Scan};
use crate::time::{HolderDeadline, Instant, Now};

/// Between two beats while all is well, and while there is no lease: a newcomer lives no longer than this.
pub const BEAT: Duration = Duration::from_millis(50);
/// Between two beats while exits are awaited, or an agent's copy of the page: at the least, and at first.
pub const FAST_BEAT: Duration = Duration::from_millis(2);
/// Of the time for which a proof has been awaited, one part in so many passes until the next beat. What it waits for may need the
/// processor that it has: a beat takes as long as this pause on a slow host, and goes before everything else there.
const HURRY: u32 = 64;

/// What the fencer's process does with the world. None of it may wait for anything (R7).
pub trait Hands {
    /// Reads the agent's half of the page in hand.
    fn read_agent(&mut self) -> HalfReading<&AgentHalf>;

    /// Puts the marker in its place, whole or not at all. False when that failed: it is tried again in the next beat, and
    /// until then nothing is armed or let go.
    fn write_marker(&mut self, marker: &Marker) -> bool;

    /// Sends SIGKILL to every process found so far that `fencer` condemns, to all of them before anything else is done.
    fn kill(&mut self, fencer: &Fencer);

    /// Writes the fencer's half of the page. False when that failed: the agent then sees the beat grow old.
    fn publish(&mut self, half: &FencerHalf) -> bool;

    /// Looks at the host's processes; it is `now`. `thorough`: everything is read, whether it seems to have changed or not,
    /// since while there is no lease a newcomer must not be missed, and since the proof rests on it.
    fn look(&mut self, now: Instant, thorough: bool);

    /// Pulls the trigger that resets this host, as far as there is one. Where it works it does not return.
    fn reset(&mut self);

    /// Has a thread of its own pull that trigger at `deadline`, unless this says otherwise before; none: it does not. So a
    /// process that is stuck in the middle of a beat is still reset in time ([`Fencer::reset_deadline`]).
    fn reset_by(&mut self, deadline: Option<HolderDeadline>);

    /// What the last look found: whether it could see everything, and the processes whose exit has not been *seen*.
    fn found(&self) -> (bool, &[DomainProcess]);

    /// When the last search began for what libvirt's files do not show ([`Scan::searched`]).
    fn searched(&self) -> Option<Instant>;

    /// The device numbers of what others than the domains' processes have open for writing ([`Fencer::handle_writers`]).
    fn outside_writers(&self) -> &[u64] {
        &[]
    }
}

/// A step that was done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The agent's half was read and the clock looked at: here an end is latched.
    Page,
    /// The marker was written, where one was wanted.
    Marker,
    /// What was known and is condemned was signalled.
    Kill,
    /// The half was published: a latch in it can be seen from here on.
    Publish,
    /// The processes were looked at.
    Look,
    /// What that look found was signalled too: it must not live until the next beat.
    KillFound,
    /// The scan was judged: here CLEAN is proven.
    Scan,
    /// The half was published again. The last step of most beats.
    PublishScan,
    /// The host was to be reset: no proof has come of all that was done before, and the budget ends.
    Reset,
}

/// A beat under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    next: Option<Step>,
    /// Before the look: the instant from which its scan counts.
    looked: Instant,
}

impl Default for Beat {
    fn default() -> Self {
        Self { next: Some(Step::Page), looked: Instant::default() }
    }
}

impl Beat {
    /// Does the next step; `now` was read just before. Returns which it was, or none when the beat is over: then offers of
    /// agents are answered ([`Fencer::take_offer`]), and the next beat comes after [`Fencer::pause`].
    ///
    /// The order: signals go out before words, and the latch is published before the reading of the agent's half that
    /// counts for CLEAN, which is the next beat's.
    pub fn step(&mut self, now: &Now, fencer: &mut Fencer, hands: &mut impl Hands) -> Option<Step> {
        let step = self.next?;
        self.next = match step {
            Step::Page => {
                fencer.handle_page(now, hands.read_agent().into());
                Some(Step::Marker)
            }
            Step::Marker => {
                if let Some(marker) = fencer.marker_wanted()
                    && hands.write_marker(&marker)
                {
                    fencer.marker_written();
                }
                Some(Step::Kill)
            }
            Step::Kill | Step::KillFound => {
                if fencer.kills() {
                    hands.kill(fencer);
                }
                Some(if step == Step::Kill { Step::Publish } else { Step::Scan })
            }
            Step::Publish | Step::PublishScan => {
                // First: what the half promises to the agent holds from its writing on.
                hands.reset_by(fencer.reset_deadline());
                if hands.publish(fencer.half()) {
                    fencer.published();
                }
                match step {
                    Step::Publish => Some(Step::Look),
                    _ => fencer.must_reset(now.instant).then_some(Step::Reset),
                }
            }
            Step::Look => {
                self.looked = now.instant;
                hands.look(now.instant, fencer.kills());
                Some(Step::KillFound)
            }
            Step::Scan => {
                fencer.handle_writers(hands.outside_writers());
                let (complete, processes) = hands.found();
                let scan = Scan { started: self.looked, complete, searched: hands.searched(), processes };
                fencer.handle_scan(now, &scan);
                Some(Step::PublishScan)
            }
            Step::Reset => {
                fencer.resetting(now.instant);
                hands.reset();
                None
            }
        };
        Some(step)
    }
}

impl Fencer {
    /// How long to wait for the next beat: never beyond the lease's end, or the moment of a reset, which are acted on exactly.
    #[must_use]
    pub fn pause(&self, now: Instant) -> Duration {
        let pause = match &self.state {
            _ if !self.is_in_a_hurry() => BEAT,
            State::Ended(end) => (now.since_by_faster(end.at) / HURRY).clamp(FAST_BEAT, BEAT),
            _ => FAST_BEAT,
        };
        let pause = self.next_end().map_or(pause, |end| pause.min(end.left(now)));
        self.reset_in(now).map_or(pause, |left| pause.min(left))
    }

    /// True while exits are awaited, or an agent's copy of the page. Without hope of a proof there is no hurry.
    #[must_use]
    pub fn is_in_a_hurry(&self) -> bool {
        self.waits_for_copy() || (self.owes_proof() && !self.half().unproven)
    }
}
