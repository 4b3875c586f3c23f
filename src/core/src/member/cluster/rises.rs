//! What other hosts ask of the whole cluster, as this process has read it. It obeys nothing itself.

use std::collections::BTreeMap;

use super::ClusterAsk;
use crate::format::{HostRecord, HostState};
use crate::ids::{Incarnation, Sequence, Slot};
use crate::member::fence_requests::has_ended;
use crate::planted::planted;
use crate::time::Instant;

/// A bit that this process has seen to rise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rise {
    ask: ClusterAsk,
    since: Instant,
    stage: Stage,
}

/// How far a rise is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// One record asks for it: that may be a last word.
    Seen,
    /// It goes on: this host must do it.
    Due,
    /// This host must refuse it for now, and tries again.
    Refused,
    /// It was done, or the opposite was asked for since.
    Settled,
}

/// A slot's newest record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    incarnation: Incarnation,
    sequence: Sequence,
    asks: Option<ClusterAsk>,
    /// The rise of what it asks for; none where it asked so when it was first read: that may be a dead host's last word, or have
    /// been obeyed by the process before this one.
    rise: Option<Rise>,
}

/// All slots.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Rises {
    seen: BTreeMap<Slot, Seen>,
}

impl Rises {
    /// Takes another host's newest record, read by a scan that ended at `ended`; `gone`: its incarnation is known to be over.
    /// Gives what must be obeyed: asked for since a record of this life before, still asked for by one that is newer than the first
    /// that did, within [`OPEN_FOR`](crate::member::fence_requests::OPEN_FOR) of that one, and until it is [`Self::obeyed`]. Of two hosts
    /// that ask for the opposite the one that rose last counts. A write that lands late (R5) shows no newer record.
    pub(super) fn look(&mut self, record: &HostRecord, gone: bool, ended: Instant) -> Option<ClusterAsk> {
        let now = Seen {
            incarnation: record.incarnation,
            sequence: record.sequence,
            asks: ClusterAsk::of(record.flags),
            rise: None,
        };
        let slot = record.incarnation.slot;
        let Some(before) = self.seen.get(&slot).copied() else {
            let risen = now.asks.filter(|_| planted!(LastWordObeyed));
            let rise = risen.map(|ask| Rise { ask, since: ended, stage: Stage::Seen });
            self.seen.insert(slot, Seen { rise, ..now });
            return None;
        };
        let age = |seen: &Seen| (seen.incarnation.generation, seen.sequence);
        if age(&now) <= age(&before) {
            return None;
        }
        let still = now.asks == before.asks || now.asks.is_none() && planted!(LoweredAskObeyed);
        let goes_on = still && now.incarnation == before.incarnation;
        let mut rise = match now.asks {
            _ if goes_on => before.rise,
            Some(ask) => Some(Rise { ask, since: ended, stage: Stage::Seen }),
            None => None,
        };
        let alive = !gone && matches!(record.state, HostState::Held | HostState::Disarmed);
        let due = rise
            .as_mut()
            .filter(|rise| goes_on && alive && rise.stage != Stage::Settled && is_open(rise, ended));
        let mut asked = None;
        if let Some(rise) = due {
            if rise.stage == Stage::Seen {
                self.overtake(rise.ask, rise.since);
                rise.stage = Stage::Due;
            }
            asked = Some(rise.ask);
        }
        self.seen.insert(slot, Seen { rise, ..now });
        asked
    }

    /// False once the opposite of what `slot` asks for was asked for since.
    pub(super) fn counts(&self, slot: Slot) -> bool {
        let rise = self.seen.get(&slot).and_then(|seen| seen.rise);
        rise.is_some_and(|rise| rise.stage != Stage::Settled)
    }

    /// What `slot` asks for is done here.
    pub(super) fn obeyed(&mut self, slot: Slot) {
        let rise = self.seen.get_mut(&slot).and_then(|seen| seen.rise.as_mut());
        if let Some(rise) = rise.filter(|_| !planted!(ClusterAskObeyedAgain)) {
            rise.stage = Stage::Settled;
        }
    }

    /// This host refuses what `slot` asks for, and is asked again with that host's next record; true the first time.
    pub(super) fn refused(&mut self, slot: Slot) -> bool {
        let Some(rise) = self.seen.get_mut(&slot).and_then(|seen| seen.rise.as_mut()) else { return true };
        std::mem::replace(&mut rise.stage, Stage::Refused) != Stage::Refused
    }

    /// `ask` was asked for at `now`: nobody's request for the opposite from before then counts any more.
    pub(super) fn overtake(&mut self, ask: ClusterAsk, now: Instant) {
        let rises = self.seen.values_mut().filter_map(|seen| seen.rise.as_mut());
        for rise in rises.filter(|rise| rise.ask != ask && rise.since.boot_ns <= now.boot_ns) {
            rise.stage = Stage::Settled;
        }
    }

    /// True while another host's request is open and not done here: passes are hurried.
    pub(super) fn any_open(&self, now: Instant) -> bool {
        let mut rises = self.seen.values().filter_map(|seen| seen.rise.as_ref());
        rises.any(|rise| rise.stage != Stage::Settled && is_open(rise, now))
    }
}

fn is_open(rise: &Rise, now: Instant) -> bool {
    !has_ended(rise.since, now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::format::RecordFlags;
    use crate::ids::Generation;

    fn at(seconds: u64) -> Instant {
        Instant::default().plus(Duration::from_secs(seconds))
    }

    fn record(generation: u32, sequence: u64, flags: RecordFlags) -> HostRecord {
        HostRecord {
            incarnation: Incarnation { slot: Slot(1), generation: Generation(generation) },
            sequence: Sequence(sequence),
            state: HostState::Held,
            flags,
            ..HostRecord::default()
        }
    }

    const DOWN: RecordFlags = RecordFlags(0);
    const DISARM: RecordFlags = RecordFlags::ASKS_DISARM;

    /// Looks at records of one life, one a second; gives the places at which something is to be obeyed.
    fn obeyed(records: &[(u64, RecordFlags)]) -> Vec<usize> {
        let mut rises = Rises::default();
        let looks = records.iter().zip(0..);
        let looks = looks.map(|((sequence, flags), second)| {
            let asked = rises.look(&record(1, *sequence, *flags), false, at(second));
            if asked.is_some() {
                rises.obeyed(Slot(1));
            }
            asked.is_some()
        });
        looks.enumerate().filter(|(_, obeyed)| *obeyed).map(|(place, _)| place).collect()
    }

    #[test]
    fn a_rise_is_obeyed_once_and_only_when_its_record_goes_on() {
        assert_eq!(obeyed(&[(1, DOWN), (2, DISARM), (2, DISARM), (3, DISARM), (4, DISARM)]), [3]);
        assert_eq!(
            obeyed(&[(1, DOWN), (2, DISARM), (3, DOWN), (4, DISARM), (5, DISARM)]),
            [4],
            "it went down"
        );
        assert_eq!(
            obeyed(&[(1, DISARM), (2, DISARM), (3, DISARM)]),
            [0; 0],
            "it was up when it was first read"
        );
        let both = RecordFlags(DISARM.0 | RecordFlags::ASKS_ARM.0);
        assert_eq!(obeyed(&[(1, DOWN), (2, both), (3, both), (4, both)]), [0; 0]);
    }

    #[test]
    fn what_is_refused_is_asked_again_while_it_is_asked_for_and_told_once() {
        let mut rises = Rises::default();
        rises.look(&record(1, 1, DOWN), false, at(0));
        rises.look(&record(1, 2, DISARM), false, at(1));
        assert_eq!(rises.look(&record(1, 3, DISARM), false, at(2)), Some(ClusterAsk::Disarm));
        assert!(rises.refused(Slot(1)));
        assert_eq!(rises.look(&record(1, 4, DISARM), false, at(3)), Some(ClusterAsk::Disarm));
        assert!(!rises.refused(Slot(1)), "it was told");
        rises.overtake(ClusterAsk::Disarm, at(4));
        assert!(rises.counts(Slot(1)), "the same was asked for here");
        rises.overtake(ClusterAsk::Arm, at(4));
        assert!(!rises.counts(Slot(1)));
        assert_eq!(rises.look(&record(1, 5, DISARM), false, at(5)), None);
    }

    #[test]
    fn what_was_done_hurries_nobody_any_more() {
        let mut rises = Rises::default();
        rises.look(&record(1, 1, DOWN), false, at(0));
        rises.look(&record(1, 2, DISARM), false, at(1));
        assert_eq!(rises.look(&record(1, 3, DISARM), false, at(2)), Some(ClusterAsk::Disarm));
        assert!(rises.any_open(at(2)));
        rises.obeyed(Slot(1));
        assert!(!rises.any_open(at(2)));
    }

    #[test]
    fn of_two_that_ask_for_the_opposite_the_later_one_counts() {
        let of = |slot, sequence, flags| HostRecord {
            incarnation: Incarnation { slot: Slot(slot), generation: Generation(1) },
            ..record(1, sequence, flags)
        };
        let arm = RecordFlags::ASKS_ARM;
        let mut rises = Rises::default();
        rises.look(&of(1, 1, DOWN), false, at(0));
        rises.look(&of(2, 1, DOWN), false, at(0));
        rises.look(&of(2, 2, DISARM), false, at(1));
        assert_eq!(rises.look(&of(2, 3, DISARM), false, at(2)), Some(ClusterAsk::Disarm));
        rises.refused(Slot(2));
        rises.look(&of(1, 2, arm), false, at(3));
        assert!(rises.counts(Slot(2)), "one record may be a last word");
        assert_eq!(rises.look(&of(1, 3, arm), false, at(4)), Some(ClusterAsk::Arm));
        assert!(!rises.counts(Slot(2)) && rises.counts(Slot(1)));
        assert_eq!(rises.look(&of(2, 4, DISARM), false, at(4)), None);
    }

    #[test]
    fn a_write_that_lands_late_is_no_rise() {
        assert_eq!(obeyed(&[(5, DOWN), (2, DISARM), (4, DISARM), (6, DOWN)]), [0; 0]);
    }

    #[test]
    fn each_kind_and_each_life_rises_by_itself() {
        let arm = RecordFlags::ASKS_ARM;
        assert_eq!(obeyed(&[(1, DOWN), (2, DISARM), (3, DISARM), (4, arm), (5, arm)]), [2, 4]);
        let mut rises = Rises::default();
        let mut look =
            |generation, sequence, flags| rises.look(&record(generation, sequence, flags), false, at(1));
        assert_eq!([look(1, 9, DISARM), look(2, 1, DISARM)], [None; 2]);
        assert_eq!(look(2, 2, DISARM), Some(ClusterAsk::Disarm));
    }

    #[test]
    fn what_is_gone_fences_or_took_too_long_is_not_obeyed() {
        let first = |rises: &mut Rises| {
            rises.look(&record(1, 1, DOWN), false, at(0));
            rises.look(&record(1, 2, DISARM), false, at(1));
        };
        let mut rises = Rises::default();
        first(&mut rises);
        assert!(rises.any_open(at(30)) && !rises.any_open(at(31)));
        assert_eq!(rises.look(&record(1, 3, DISARM), true, at(2)), None);
        let fencing = HostRecord { state: HostState::Fencing, ..record(1, 4, DISARM) };
        assert_eq!(rises.look(&fencing, false, at(3)), None);
        assert_eq!(rises.look(&record(1, 5, DISARM), false, at(31)), None, "30 s after it was first seen");
    }
}
