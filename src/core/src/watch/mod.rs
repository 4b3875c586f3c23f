//! The observer: stall clocks and evidence of all slots, over scans of the host records.
//!
//! [`Watch`] is the part that a member and an observer without a slot share; [`Observer`] drives it for the latter. It
//! reads no clock and never writes; it says *gone* only of what it can prove, and otherwise waits (R8).

mod gone;
mod header_read;
mod identity;
mod live_path;
#[cfg(feature = "model-check")]
mod marks;
mod observer;
mod reading;
mod reckoning;
mod scan;
mod slot_watch;
mod view;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use header_read::{HeaderError, HeaderFound, HeaderRead};
pub use live_path::LivePath;
pub use observer::{Observer, ObserverConfig, ObserverError};
pub use reading::Reading;
pub use reckoning::{ClusterRules, Reckoning};
pub use scan::{Scan, Scanned};
pub use slot_watch::{Latched, SlotWatch};
pub use view::HostReport;

use crate::evidence::Evidence;
use crate::format::{ConvictionKind, Header, HostRecord};
use crate::ids::{Incarnation, Slot};
use crate::time::{Instant, Now, ObserverDeadline};

/// All slots, watched.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Watch {
    rules: ClusterRules,
    /// Why nothing can be said of anybody: the file has a feature that this program does not know.
    unreadable: Option<&'static str>,
    slots: Vec<SlotWatch>,
    last_scan: Option<Now>,
    /// Of all slots, kept: it is asked for far more often than it changes.
    next_deadline: Option<ObserverDeadline>,
    /// How many slots have a host, kept likewise.
    hosts: usize,
}

impl Watch {
    /// A watch of the lease file with this header. All stall clocks start with its first scan.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        const UNKNOWN_FEATURE: &str =
            "the lease file has a feature that this program does not know: upgrade it";
        Self {
            rules: ClusterRules::of(header),
            unreadable: (!header.features.readable()).then_some(UNKNOWN_FEATURE),
            slots: header.layout.slots().map(SlotWatch::new).collect(),
            last_scan: None,
            next_deadline: None,
            hosts: 0,
        }
    }

    /// Goes on with the stall clocks of another process's watch: a planted bug, which no release build can have.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn with_stall_clocks_of(mut self, before: Option<&Self>) -> Self {
        for (slot, before) in self.slots.iter_mut().zip(before.iter().flat_map(|before| &before.slots)) {
            slot.stall_start = before.stall_start;
        }
        self
    }

    /// Takes a good scan, and judges the slots that it read by what of its own this observer wrote and read back in the
    /// same pass. Gives the evidence that it latched.
    pub fn apply(&mut self, scanned: Scanned, live: LivePath) -> Vec<Latched> {
        let latched = self.take_scan(scanned, live);
        self.hosts = self.records().count();
        self.keep_deadline();
        latched
    }

    fn take_scan(&mut self, scanned: Scanned, live: LivePath) -> Vec<Latched> {
        self.last_scan = Some(scanned.ended);
        let mut read = vec![false; self.slots.len()];
        for (slot, reading) in scanned.readings {
            if let Some(watch) = self.slots.get_mut(slot.index()) {
                watch.take(reading);
                read[slot.index()] = true;
            }
        }
        let left_out = self.slots.iter_mut().zip(&read).filter(|(_, read)| !**read);
        left_out.for_each(|(watch, _)| watch.miss());
        if self.unreadable.is_some() {
            return Vec::new();
        }
        let survival_max = self.survival_max();
        let mut latched = Vec::new();
        // What is live is the path of this pass: an older reading came by another one, and proves nothing now.
        for index in (0..self.slots.len()).filter(|index| read[*index]) {
            let another =
                self.slots.iter().enumerate().any(|(at, slot)| at != index && slot.advanced_lately());
            latched.extend(self.slots[index].judge(&self.rules, survival_max, live, another));
        }
        latched.extend(self.take_confirmed(scanned.ended));
        latched
    }

    /// Latches an operator's word for an incarnation, once the own conviction of it is acknowledged.
    pub fn confirm(&mut self, incarnation: Incarnation, since: Now) -> Option<Latched> {
        let latched = self.slots.get_mut(incarnation.slot.index())?.confirm(incarnation.generation, since);
        self.keep_deadline();
        latched
    }

    fn keep_deadline(&mut self) {
        let due = self.slots.iter().filter_map(SlotWatch::next_deadline);
        self.next_deadline = due.min_by_key(|due| due.0.boot_ns);
    }

    /// Why an incarnation is gone, and since when this observer could say so. None: it is not gone.
    #[must_use]
    pub fn evidence(&self, incarnation: Incarnation) -> Option<(Evidence, Now)> {
        self.slots.get(incarnation.slot.index())?.gone.evidence(incarnation.generation)
    }

    /// One slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Option<&SlotWatch> {
        self.slots.get(slot.index())
    }

    /// Every slot, in order.
    pub fn slots(&self) -> impl Iterator<Item = &SlotWatch> {
        self.slots.iter()
    }

    /// The newest valid record of every slot that has a host.
    pub fn records(&self) -> impl Iterator<Item = &HostRecord> {
        self.slots.iter().filter_map(SlotWatch::record)
    }

    /// How many slots have a host with a valid record.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts
    }

    /// After the last good scan.
    #[must_use]
    pub fn last_scan(&self) -> Option<Now> {
        self.last_scan
    }

    /// The instant before which no read needs to start to prove anything; a read that starts then proves the next
    /// thing, if nothing changes.
    #[must_use]
    pub fn next_deadline(&self) -> Option<ObserverDeadline> {
        self.next_deadline
    }

    /// True when a read that starts at `now` could prove something by time: an observer without a slot writes its nonce
    /// only then.
    #[must_use]
    pub fn may_prove_by_time(&self, now: Instant) -> bool {
        self.slots.iter().any(|slot| slot.may_prove_by_time(now))
    }

    /// The largest survival maximum of all valid copies: added to every ttl.
    fn survival_max(&self) -> Duration {
        let readings = self.slots.iter().filter_map(|slot| slot.reading.as_ref());
        let valid = readings.flat_map(|reading| reading.copies().valid());
        valid.map(|record| record.survival_max).max().unwrap_or_default()
    }

    /// An operator's word in anybody's record is evidence for every reader.
    fn take_confirmed(&mut self, since: Now) -> Vec<Latched> {
        let records = self.slots.iter().filter_map(SlotWatch::record);
        let convictions = records.flat_map(|record| record.convictions.iter().flatten());
        let confirmed = convictions.filter(|conviction| conviction.kind == ConvictionKind::Confirmed);
        let targets: Vec<Incarnation> = confirmed.map(|conviction| conviction.target).collect();
        let known =
            |slot: &SlotWatch, target: &Incarnation| slot.identity.highest() >= Some(target.generation);
        let targets = targets
            .into_iter()
            .filter(|target| self.slot(target.slot).is_some_and(|slot| known(slot, target)));
        let targets: Vec<Incarnation> = targets.collect();
        targets.into_iter().filter_map(|target| self.confirm(target, since)).collect()
    }
}
