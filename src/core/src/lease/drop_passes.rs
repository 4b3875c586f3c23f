//! Dropping own entries that say nothing any more: two passes over the page, then one write.
//!
//! In one pass, a want that stood between could carry on an old recovery, from an older definition. Both passes see the
//! reason, no unreadable sector, and neither a want nor an incoming of the key, dead hosts' included.

use std::collections::BTreeMap;

use super::own::{Edit, OwnPage};
use super::scan::PageRead;
use super::types::LeaseContext;
use super::view::{KeyView, PageScan};
use super::write::SectorWrite;
use crate::format::{Layout, LeaseEntry, LeaseState};
use crate::ids::{DomainId, Term};
use crate::planted::planted;
use crate::storage::{IoDone, Step};

/// Entries that may go, as they stood when that was found.
type Candidates = BTreeMap<DomainId, (LeaseState, Term)>;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    First(PageRead),
    Second(PageRead, Candidates),
    Write(SectorWrite, Vec<DomainId>),
    Over(Vec<DomainId>),
}

/// One attempt to drop own entries of one page.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DropPasses {
    layout: Layout,
    stage: Stage,
}

impl DropPasses {
    /// An attempt for this page.
    #[must_use]
    pub fn new(layout: Layout, page: u8) -> Self {
        Self { layout, stage: Stage::First(PageRead::new(layout, page)) }
    }

    /// True when the own sector has an entry that might be dropped.
    #[must_use]
    pub fn worthwhile(own: &OwnPage) -> bool {
        own.content().entries().any(droppable)
    }

    /// The next operation, or which entries went. Not to be called while an operation of it is outstanding.
    pub fn poll(&mut self, ctx: &LeaseContext<'_>, own: &mut OwnPage) -> Step<Vec<DomainId>> {
        if !ctx.may_write {
            self.stage = Stage::Over(Vec::new());
        }
        loop {
            match &mut self.stage {
                Stage::Over(dropped) => return Step::Done(dropped.clone()),
                Stage::First(read) => match read.poll() {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(scan) => self.first_ended(ctx, own, scan),
                },
                Stage::Second(read, candidates) => match read.poll() {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(scan) => {
                        let candidates = std::mem::take(candidates);
                        self.second_ended(ctx, own, scan, &candidates);
                    }
                },
                Stage::Write(write, dropped) => match write.poll(ctx) {
                    Step::Io(op) => return Step::Io(op),
                    Step::Wait(until) => return Step::Wait(until),
                    Step::Done(_) => self.stage = Stage::Over(std::mem::take(dropped)),
                },
            }
        }
    }

    /// The end of the operation that was asked for.
    pub fn handle_io(&mut self, ctx: &LeaseContext<'_>, own: &mut OwnPage, done: &IoDone) {
        match &mut self.stage {
            Stage::First(read) | Stage::Second(read, _) => read.handle_io(ctx, done),
            Stage::Write(write, _) => write.handle_io(own, done),
            Stage::Over(_) => {}
        }
    }

    fn first_ended(&mut self, ctx: &LeaseContext<'_>, own: &mut OwnPage, scan: Result<PageScan, String>) {
        let mut found = scan.as_ref().map(|scan| candidates(ctx, own, scan)).unwrap_or_default();
        let (stopped, orphan) = (planted!(StoppedInOnePass), planted!(OrphanInOnePass));
        let in_one_pass = |state| if state == LeaseState::Stopped { stopped } else { orphan };
        if found.values().any(|(state, _)| in_one_pass(*state)) {
            found.retain(|_, (state, _)| in_one_pass(*state));
            return self.second_ended(ctx, own, scan, &found);
        }
        self.stage = if found.is_empty() {
            Stage::Over(Vec::new())
        } else {
            // Begun after the first has ended: a want written in between shows in one of them.
            Stage::Second(PageRead::new(self.layout, own.page()), found)
        };
    }

    fn second_ended(
        &mut self,
        ctx: &LeaseContext<'_>,
        own: &mut OwnPage,
        scan: Result<PageScan, String>,
        first: &Candidates,
    ) {
        let mut found = scan.map(|scan| candidates(ctx, own, &scan)).unwrap_or_default();
        found.retain(|domain, stood| first.get(domain) == Some(stood));
        let dropped: Vec<_> = found.keys().copied().collect();
        self.stage = if dropped.is_empty() {
            Stage::Over(Vec::new())
        } else {
            // Memory forgets them before the write leaves: one of unknown outcome is carried through, never taken back. Others
            // may have read the sector without them, and begun the terms anew below.
            for domain in &dropped {
                own.edit(&Edit::Remove(*domain));
            }
            Stage::Write(SectorWrite::new(self.layout, own, Vec::new()), dropped)
        };
    }
}

/// `saved` stays as long as its image does.
fn droppable(entry: &LeaseEntry) -> bool {
    matches!(entry.state, LeaseState::Orphan | LeaseState::Stopped)
}

fn candidates(ctx: &LeaseContext<'_>, own: &OwnPage, scan: &PageScan) -> Candidates {
    // What an entry has become in memory alone nobody has read yet: it is written first, as what it became (PROTOCOL 4).
    if own.is_dirty() || scan.unreadable(own.incarnation().slot).is_some() {
        return Candidates::new();
    }
    let stands = |entry: &&LeaseEntry| droppable(entry) && has_reason(ctx, own, scan, entry);
    own.content().entries().filter(stands).map(|entry| (entry.domain, (entry.state, entry.term))).collect()
}

/// For an orphan: a higher term among own, orphan, stopped, saved. For a stopped: that, or no other entry of the key.
fn has_reason(ctx: &LeaseContext<'_>, own: &OwnPage, scan: &PageScan, entry: &LeaseEntry) -> bool {
    let view = KeyView::of(scan, own, entry.domain);
    let (live, dead) = (planted!(DropIgnoresWants), planted!(DropIgnoresDeadWants));
    let ignores = |who| if (ctx.gone)(who) { dead } else { live };
    let wanted = |who, entry: &LeaseEntry| entry.want_term > Term(0) && !ignores(who);
    let disputed = view.entries.iter().any(|(who, e)| wanted(*who, e) || e.state == LeaseState::Incoming);
    let superseded = view.top().is_some_and(|(_, top)| top.term > entry.term);
    let ignored = view.entries.iter().filter(|(who, e)| e.state == LeaseState::Empty && ignores(*who));
    let alone = entry.state == LeaseState::Stopped && view.entries.len() - ignored.count() == 1;
    !disputed && (superseded || alone)
}

#[cfg(feature = "model-check")]
mod marks {
    use super::{DropPasses, Stage};
    use crate::lease::write::SectorWrite;
    use crate::marks::{Mark, Marks};

    impl DropPasses {
        /// The write that is under way.
        pub(in crate::lease) fn write_mut(&mut self) -> Option<&mut SectorWrite> {
            match &mut self.stage {
                Stage::Write(write, _) => Some(write),
                _ => None,
            }
        }
    }

    impl Marks for DropPasses {
        fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
            match &mut self.stage {
                Stage::First(read) => read.each_mark(f),
                Stage::Second(read, candidates) => {
                    read.each_mark(f);
                    candidates.values_mut().for_each(|(_, term)| term.each_mark(f));
                }
                Stage::Write(write, _) => write.each_mark(f),
                Stage::Over(_) => {}
            }
        }
    }
}
