//! What the model check needs to see of a holder. Generations keep their numbers: there are few.

use super::{Acknowledged, Holder, TermsInUse};
use crate::marks::{Mark, Marks};

impl Marks for Holder {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        // Told to people: no end is counted by them.
        (self.latency, self.damaged_copies, self.shown) = (None, 0, [None; 2]);
        self.mark.issued.each_mark(f);
        self.terms.each_mark(f);
        self.lease_end.each_mark(f);
        self.pending.each_mark(f);
        self.last_good.each_mark(f);
    }
}

impl Marks for TermsInUse {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.outstanding.iter_mut().for_each(|(sequence, _)| sequence.each_mark(f));
    }
}

impl Marks for Acknowledged {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.sequence.each_mark(f);
        self.issued.each_mark(f);
        self.ended.each_mark(f);
    }
}
