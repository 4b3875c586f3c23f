//! When a stalled connection is made anew, and when a slow server is left alone.

use std::time::{Duration, Instant};

/// Between two looks at a stall whose server answers, or that has lasted too long for hurry.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// A connection that was just made anew is given this long, after each further time in one stall twice as long, up to the
/// second: what did not help is no remedy, and costs the mounts that share it.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(8);

/// What a look found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Look {
    /// The server accepted a new connection in time.
    pub(crate) answers: bool,
    /// A connection to it sends again what nobody acknowledges, or is still being made.
    pub(crate) backs_off: bool,
}

impl Look {
    /// Nobody answers.
    pub(crate) const DEAD: Self = Self { answers: false, backs_off: true };
}

/// The rule. A server that is only slow still acknowledges what it is sent, and accepts connections: it is left alone. Where
/// the path is dead, a new connection would not help. What is made anew is a connection over a path that works *again*: it
/// would wait for its next retransmission, or for the server's, which back off to as long as the path was dead.
#[derive(Debug)]
pub(crate) struct Rule {
    patience: Duration,
    hurry: Duration,
    dead_since_stall: bool,
    stall: Option<Instant>,
    last_kick: Option<Instant>,
    /// What a connection that was made anew is given now.
    rest: Duration,
}

impl Rule {
    /// `patience`: how long nothing may be acknowledged before it is looked at; two renewal intervals. `hurry`: how long it is
    /// then worth any haste; the ttl.
    pub(crate) fn new(patience: Duration, hurry: Duration) -> Self {
        Self { patience, hurry, dead_since_stall: false, stall: None, last_kick: None, rest: REST }
    }

    /// True when it is time for a look: something is under way, and nothing has ended since `waiting`.
    pub(crate) fn wants_look(&mut self, now: Instant, waiting: Option<Instant>) -> bool {
        if self.stall != waiting {
            (self.stall, self.dead_since_stall) = (waiting, false);
            (self.last_kick, self.rest) = (None, REST);
        }
        let waits = waiting.is_some_and(|since| now.saturating_duration_since(since) >= self.patience);
        waits && self.last_kick.is_none_or(|kick| now.saturating_duration_since(kick) >= self.rest)
    }

    /// True while there may be a lease to save.
    pub(crate) fn hurries(&self, now: Instant) -> bool {
        self.stall.is_some_and(|since| now.saturating_duration_since(since) < self.hurry)
    }

    /// What [`Rule::judge`] would say of a look that was answered.
    pub(crate) fn would_kick(&self, look: Look) -> bool {
        self.dead_since_stall || look.backs_off
    }

    /// Takes what the look found. True: make the connection anew now.
    pub(crate) fn judge(&mut self, now: Instant, look: Look) -> bool {
        if !look.answers {
            self.dead_since_stall = true;
            return false;
        }
        let kick = self.would_kick(look);
        if kick {
            if self.last_kick.is_some() {
                self.rest = self.rest.saturating_mul(2).min(LONGEST_REST);
            }
            (self.dead_since_stall, self.last_kick) = (false, Some(now));
        }
        kick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKS: Look = Look { answers: true, backs_off: false };
    const BACKS_OFF: Look = Look { answers: true, backs_off: true };

    const HURRY: Duration = Duration::from_secs(12);

    /// Looks each half second from the stall's beginning on; gives when it was made anew, in ms.
    fn kicks(looks: impl Fn(u64) -> Look, until: u64) -> Vec<u64> {
        let start = Instant::now();
        let mut rule = Rule::new(Duration::from_secs(1), HURRY);
        let at = |ms| start + Duration::from_millis(ms);
        let mut kicks = Vec::new();
        for ms in (0..=until).step_by(500) {
            if rule.wants_look(at(ms), Some(start)) && rule.judge(at(ms), looks(ms)) {
                kicks.push(ms);
            }
        }
        kicks
    }

    #[test]
    fn a_slow_server_is_left_alone() {
        assert_eq!(kicks(|_| WORKS, 60_000), []);
    }

    #[test]
    fn over_a_dead_path_nothing_is_done_and_at_once_when_it_is_back() {
        assert_eq!(kicks(|ms| if ms < 9_000 { Look::DEAD } else { WORKS }, 20_000), [9_000]);
        assert_eq!(kicks(|_| Look::DEAD, 60_000), []);
    }

    /// Catches: a shared connection that is ended each second, for as long as a server is in trouble.
    #[test]
    fn what_did_not_help_is_done_less_often_until_the_next_stall() {
        assert_eq!(
            kicks(|_| BACKS_OFF, 40_000),
            [1_000, 2_000, 4_000, 8_000, 16_000, 24_000, 32_000, 40_000]
        );

        let start = Instant::now();
        let mut rule = Rule::new(Duration::from_secs(1), HURRY);
        let at = |ms| start + Duration::from_millis(ms);
        for ms in [1_000, 2_000, 4_000] {
            assert!(rule.wants_look(at(ms), Some(start)) && rule.judge(at(ms), BACKS_OFF), "{ms}");
        }
        let next = Some(at(4_100));
        for ms in [5_100, 6_100, 8_100] {
            assert!(rule.wants_look(at(ms), next) && rule.judge(at(ms), BACKS_OFF), "{ms}");
        }
    }

    /// A cut of 0.9 of a ttl of 12 s, looked at ten times a second.
    #[test]
    fn the_end_of_a_long_cut_is_noticed_within_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut rule = Rule::new(Duration::from_secs(1), HURRY);
        for ms in (0..10_800).step_by(100) {
            let now = start + Duration::from_millis(ms);
            assert!(!rule.wants_look(now, Some(start)) || !rule.judge(now, Look::DEAD), "{ms}");
        }
        let back = start + Duration::from_millis(10_800);
        assert!(rule.wants_look(back, Some(start)) && rule.judge(back, WORKS));
    }

    #[test]
    fn a_stall_that_outlasts_the_lease_is_no_cause_for_hurry() {
        let start = Instant::now();
        let mut rule = Rule::new(Duration::from_secs(1), HURRY);
        assert!(!rule.hurries(start), "without a stall");
        assert!(rule.wants_look(start + Duration::from_secs(1), Some(start)));
        assert!(rule.hurries(start + HURRY - Duration::from_millis(1)));
        assert!(!rule.hurries(start + HURRY));
    }

    #[test]
    fn what_was_seen_in_an_earlier_stall_says_nothing_of_this_one() {
        let start = Instant::now();
        let mut rule = Rule::new(Duration::from_secs(1), HURRY);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!rule.wants_look(at(900), Some(start)), "it is not looked at before it is one");
        assert!(rule.wants_look(at(1_000), Some(start)));
        assert!(!rule.judge(at(1_000), Look::DEAD));
        assert!(!rule.wants_look(at(2_000), None));
        let next = Some(at(2_500));
        assert!(rule.wants_look(at(4_000), next));
        assert!(!rule.judge(at(4_000), WORKS));
    }
}
