//! What was done at the end of a lease, rung by rung, and what came of it: kept while it goes on, and told in the page. For
//! people; nothing is decided by it.

use leasefence_core::fencing::{Fencer, FencerHalf, StorageKind};
use leasefence_core::time::Instant;
use leasefence_page::Rungs;

/// The rungs of the fence under way, or of the last one.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    rungs: Rungs,
    latched: Option<Instant>,
    /// What the counters of cgroups said at the latch: they count since the process started.
    cgroups_before: (u32, u32),
    /// The end is proven, and counted so: what is named later is the next life's.
    is_proven: bool,
    changed: bool,
}

impl Ladder {
    /// A beat has ended: begins anew where an end was latched that it does not know.
    pub(crate) fn looks(&mut self, half: &FencerHalf, cgroups: (u32, u32)) {
        let latched = half.latched.map(|end| end.0);
        if latched.is_some() && (latched, half.incarnation) != (self.latched, self.rungs.incarnation) {
            self.rungs = Rungs { incarnation: half.incarnation, ..Rungs::default() };
            (self.latched, self.cgroups_before) = (latched, cgroups);
            (self.is_proven, self.changed) = (false, true);
        }
    }

    /// Milliseconds after the latch.
    fn after(&self, now: Instant) -> Option<u32> {
        let after = now.since_by_faster(self.latched?);
        Some(u32::try_from(after.as_millis()).unwrap_or(u32::MAX))
    }

    fn set<T: PartialEq>(&mut self, place: impl FnOnce(&mut Rungs) -> &mut T, value: T) {
        let place = place(&mut self.rungs);
        if *place != value {
            *place = value;
            self.changed = true;
        }
    }

    /// So many were signalled for the first time, and so many cannot be.
    pub(crate) fn signalled(&mut self, now: Instant, killed: usize, failed: usize) {
        if killed > 0 {
            let after = self.after(now);
            self.rungs.signalled = self.rungs.signalled.saturating_add(number(killed));
            (self.rungs.signalled_ms, self.changed) = (after, true);
        }
        self.set(|rungs| &mut rungs.not_signalled, number(failed));
    }

    /// So many exits were seen, and so many have not been.
    pub(crate) fn exits(&mut self, now: Instant, seen: usize, left: usize) {
        if self.latched.is_none() {
            return;
        }
        if seen > 0 {
            let after = self.after(now);
            self.rungs.exits = self.rungs.exits.saturating_add(number(seen));
            (self.rungs.exits_ms, self.changed) = (after, true);
        }
        self.set(|rungs| &mut rungs.left, number(left));
    }

    /// The cgroups so far, since the process started.
    pub(crate) fn cgroups(&mut self, (killed, left): (u32, u32)) {
        if self.latched.is_some() {
            let before = self.cgroups_before;
            self.set(|rungs| &mut rungs.cgroups, killed.saturating_sub(before.0));
            self.set(|rungs| &mut rungs.cgroups_left, left.saturating_sub(before.1));
        }
    }

    /// Which of the storages that this fencer shows quiet are.
    pub(crate) fn storages(&mut self, fencer: &Fencer) {
        if self.latched.is_none() || !fencer.kills() || self.is_proven {
            return;
        }
        self.is_proven = !fencer.owes_proof();
        let shown = |kind| matches!(kind, StorageKind::Nfs | StorageKind::Iscsi);
        let all = || fencer.storages().iter().filter(|target| shown(target.kind));
        let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        self.set(|rungs| &mut rungs.storages, count(all().count()));
        let quiet = all().filter(|target| !fencer.owes_quiet(target)).count();
        self.set(|rungs| &mut rungs.quiet, count(quiet));
    }

    /// The reset was tried.
    pub(crate) fn reset(&mut self, now: Instant) {
        if self.rungs.reset_ms.is_none() {
            (self.rungs.reset_ms, self.changed) = (self.after(now), true);
        }
    }

    /// What is to be told, when it has changed.
    pub(crate) fn news(&mut self) -> Option<Rungs> {
        std::mem::take(&mut self.changed).then_some(self.rungs)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
