//! What this host asks of the whole cluster: a bit that stands in its record while the request is open, and for no longer.

use std::time::Duration;

use super::ClusterAsk;
use crate::member::RequestId;
use crate::member::fence_requests::{end_of, has_ended};
use crate::planted::planted;
use crate::time::{Instant, ObserverDeadline};

/// A request of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Open {
    pub(super) id: RequestId,
    pub(super) ask: ClusterAsk,
    pub(super) opened: Instant,
}

impl Open {
    /// True once it is not waited for any longer.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        has_ended(self.opened, now)
    }
}

/// What must pass after a request before the next one is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Rest {
    /// Nothing any more.
    Over,
    /// No record that asks for nothing was read back since. A process begins so: the one before it may have died while its record
    /// asked for something.
    #[default]
    Wanted,
    /// One was, first then.
    Since(Instant),
}

/// The own request, and what is left of the one before it.
///
/// Others obey a bit that *rises*, so the next is raised only once each of them must have read a record that asks for nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::member) struct Raised {
    open: Option<Open>,
    /// What the record issued last asks for.
    carried: Option<ClusterAsk>,
    rest: Rest,
}

impl Raised {
    /// Opens a request; false while another one is open.
    pub(super) fn open(&mut self, open: Open) -> bool {
        let room = self.open.is_none();
        self.open = self.open.or(Some(open));
        room
    }

    /// The open one.
    pub(super) fn get(&self) -> Option<Open> {
        self.open
    }

    /// Closes it: no further record asks for anything.
    pub(in crate::member) fn close(&mut self) -> Option<RequestId> {
        if self.carried.is_some() {
            self.rest = Rest::Wanted;
        }
        self.open.take().map(|open| open.id)
    }

    /// When its time is over, if all others have not followed before.
    pub(in crate::member) fn next_end(&self) -> Option<Instant> {
        self.open.map(|open| end_of(open.opened))
    }

    /// A record is about to be issued: gives what it asks for. `read_within` is the time within which each other host reads a record
    /// that stands.
    pub(super) fn issue(&mut self, now: Instant, read_within: Duration) -> Option<ClusterAsk> {
        if let Rest::Since(shown) = self.rest
            && ObserverDeadline(shown.plus(read_within)).reached(now)
        {
            self.rest = Rest::Over;
        }
        let asks = self.open.map(|open| open.ask).filter(|_| self.rest == Rest::Over);
        self.carried = if planted!(ClusterAskNeverEnds) { asks.or(self.carried) } else { asks };
        self.carried
    }

    /// The record issued last was acknowledged and read back.
    pub(in crate::member) fn shown(&mut self, now: Instant) {
        if self.rest == Rest::Wanted && self.carried.is_none() {
            self.rest = Rest::Since(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);

    fn at(ms: u64) -> Instant {
        Instant::default().plus(Duration::from_millis(ms))
    }

    fn open(ms: u64, ask: ClusterAsk) -> Open {
        Open { id: RequestId(ms), ask, opened: at(ms) }
    }

    /// Of a process that has run for a while.
    fn rested() -> Raised {
        Raised { rest: Rest::Over, ..Raised::default() }
    }

    #[test]
    fn a_process_raises_its_first_bit_once_everybody_must_have_seen_it_down() {
        let mut raised = Raised::default();
        raised.open(open(0, ClusterAsk::Disarm));
        assert_eq!(raised.issue(at(10), REST), None, "the process before this one may have left it up");
        raised.shown(at(20));
        assert_eq!(raised.issue(at(2_019), REST), None);
        assert_eq!(raised.issue(at(2_020), REST), Some(ClusterAsk::Disarm));
    }

    #[test]
    fn a_bit_is_raised_again_only_once_everybody_must_have_seen_it_down() {
        let mut raised = rested();
        assert!(raised.open(open(0, ClusterAsk::Disarm)));
        assert!(!raised.open(open(1, ClusterAsk::Arm)), "one at a time");
        assert_eq!(raised.issue(at(10), REST), Some(ClusterAsk::Disarm));
        assert_eq!(raised.close(), Some(RequestId(0)));
        assert!(raised.open(open(20, ClusterAsk::Disarm)));
        raised.shown(at(25));
        assert_eq!(raised.issue(at(30), REST), None, "what was read back then asked for it");
        assert_eq!(raised.issue(at(9_000), REST), None, "no record without it was read back");
        raised.shown(at(9_010));
        assert_eq!(raised.issue(at(11_009), REST), None);
        assert_eq!(raised.issue(at(11_010), REST), Some(ClusterAsk::Disarm));
    }

    #[test]
    fn what_was_closed_before_it_was_raised_needs_no_rest() {
        let mut raised = rested();
        raised.open(open(0, ClusterAsk::Disarm));
        raised.close();
        raised.open(open(20, ClusterAsk::Arm));
        assert_eq!(raised.issue(at(30), REST), Some(ClusterAsk::Arm));
        assert_eq!(raised.next_end(), Some(at(30_020)));
    }
}
