//! What the model check needs to see of a fencer, and of the two halves of the page.

use super::state::{End, Guard, State};
use super::{AgentHalf, Clean, DomainProcess, Fencer, FencerHalf, StartToken, UnknownWrite};
use crate::marks::{Mark, Marks};

impl Marks for Fencer {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        // For the log.
        self.events.clear();
        self.last_refusal = None;
        self.state.each_mark(f);
        self.half.each_mark(f);
        self.arming.each_mark(f);
        self.tokens.each_mark(f);
        self.seen_starts.iter_mut().for_each(|(_, _, opened)| opened.each_mark(f));
        self.clear_scan.each_mark(f);
        self.reset_tried.each_mark(f);
        if matches!(&self.state, State::Ended(End { clean: Some(_), .. })) {
            self.quiet.clear();
        }
        self.quiet.iter_mut().for_each(|(_, begun)| begun.each_mark(f));
    }
}

impl Marks for State {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        match self {
            Self::NeverArmed | Self::Disarmed { .. } => {}
            Self::Armed(guard) => guard.each_mark(f),
            Self::Ended(end) => end.each_mark(f),
        }
    }
}

impl Marks for Guard {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.end.each_mark(f);
        self.bad_since.each_mark(f);
    }
}

impl Marks for End {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.latched.each_mark(f);
        self.at.each_mark(f);
        self.tokens_read.each_mark(f);
        if self.clean.is_some() {
            // They decide nothing any more.
            (self.unquiet, self.stirred) = (self.at, false);
            self.seen.clear();
        }
        self.unquiet.each_mark(f);
        self.clean.each_mark(f);
    }
}

impl Marks for Clean {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.at.each_mark(f);
    }
}

impl Marks for AgentHalf {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.lease_end.each_mark(f);
        self.issued.each_mark(f);
        self.unknown.each_mark(f);
        self.tokens.each_mark(f);
    }
}

impl Marks for UnknownWrite {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.issued.each_mark(f);
    }
}

impl Marks for StartToken {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.opened.each_mark(f);
    }
}

impl Marks for FencerHalf {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.scans = 0;
        self.beat.each_mark(f);
        self.lease_end.each_mark(f);
        self.latched.each_mark(f);
        self.clean.each_mark(f);
        self.processes.each_mark(f);
    }
}

impl Marks for DomainProcess {
    fn each_mark(&mut self, _: &mut dyn FnMut(Mark<'_>)) {
        self.scan = 0;
    }
}
