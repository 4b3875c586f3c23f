//! What the model check needs to see of an observer. Generations keep their numbers: there are few.

use super::gone::{Gone, Shown};
use super::{Reading, SlotWatch, Watch};
use crate::format::HostRecord;
use crate::marks::{Mark, Marks};
use crate::time::{Instant, Now};

impl Marks for Watch {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.last_scan = None;
        self.slots.each_mark(f);
        self.keep_deadline();
    }
}

impl Watch {
    /// Forgets which records went forward lately: only observers without a slot, and fence requests, go by it.
    pub fn forget_advances(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.advanced = [false; 2]);
    }
}

impl Marks for SlotWatch {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        // Shown in `status`: no verdict depends on them.
        (self.last_change, self.first_read, self.changes) = (None, Instant::default(), 0);
        self.withheld = None;
        self.reading.each_mark(f);
        self.gone.each_mark(f);
        self.stall_start.each_mark(f);
        self.fencing.iter_mut().for_each(|(_, start)| start.each_mark(f));
    }
}

impl Marks for Reading {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        let copies = self.copies_mut();
        copies.a.each_mark(f);
        copies.b.each_mark(f);
        // It was judged at once: from then on only the next read's gap to its start counts.
        f(Mark::Recent(&mut self.started));
        self.ended = Now::default();
    }
}

impl Marks for HostRecord {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.sequence.each_mark(f);
    }
}

impl Marks for Gone {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        // Since when it is known is told to people.
        self.latched.values_mut().for_each(|(_, since)| *since = Now::default());
        self.superseded.iter_mut().for_each(|(_, since)| *since = Now::default());
        self.shown.each_mark(f);
    }
}

impl Marks for Shown {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.ripe.each_mark(f);
    }
}
