//! Whether the life before has ended: what a rejoin in the same boot waits for, and when an agent that was restarted keeps
//! its generation.
//!
//! The generation changes only when the life before ended with zero protected domains (R10): after a boot, or after the
//! fencer's CLEAN. It judges the page and the record; it never asks the fencer for anything.

use crate::fencing::{AgentHalf, Clean, FencerHalf, Wish};
use crate::format::{Copies, HostRecord, HostState};
use crate::ids::{BootId, FileId, Generation};
use crate::planted::planted;
use crate::time::{Instant, ObserverDeadline};

/// What the joining machine knows of its fencer and of writes from before. Told again whenever it changes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FencerSight {
    /// The fencer's half of the page as last read; none before it was seen.
    pub half: Option<FencerHalf>,
    /// True while a write of an earlier process of this boot is unknown (R11). Where the page was lost, all of this host's
    /// sectors count as written until `unknown_hold` has passed.
    pub unknown_write: bool,
}

/// What an unsettled life waits for.
pub(super) const UNKNOWN_WRITES: &str = "writes of the process before, whose outcome is unknown";

/// How this machine's last life in its slot stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum PreviousLife {
    /// Another boot wrote the record.
    OtherBoot,
    /// It goes on: the page is valid and not latched.
    GoesOn,
    /// It is over and clean: the next generation may begin.
    Over,
    /// It is over and clean, and a write of its process unknown: its record is written again, which is what the hold is
    /// counted by.
    Unsettled,
    /// Not yet: what is waited for, and until when if that is known.
    Wait(&'static str, Option<Instant>),
}

/// All that the decision rests on.
pub(super) struct Evidence<'a> {
    pub(super) file_id: FileId,
    pub(super) boot_id: BootId,
    pub(super) page: Option<&'a AgentHalf>,
    pub(super) fencer: &'a FencerSight,
    pub(super) copies: &'a Copies<HostRecord>,
    pub(super) newest: &'a HostRecord,
    pub(super) now: Instant,
}

impl Evidence<'_> {
    /// How the last life stands.
    pub(super) fn judge(&self) -> PreviousLife {
        if self.newest.boot_id != self.boot_id {
            return PreviousLife::OtherBoot;
        }
        let Some(fencer) = &self.fencer.half else {
            return PreviousLife::Wait("the fencer: is leasefence-fencer running?", None);
        };
        if self.page.is_some_and(|page| self.goes_on(page, fencer)) {
            return PreviousLife::GoesOn;
        }
        match self.ended(fencer) {
            PreviousLife::Over if self.fencer.unknown_write && !planted!(RejoinBeforeDrain) => {
                self.unsettled()
            }
            life => life,
        }
    }

    /// A receipt, or the record of a life that never had a lease, may be written again: that changes no term and weakens no
    /// promise.
    fn unsettled(&self) -> PreviousLife {
        match self.newest.state {
            HostState::Fenced | HostState::Released | HostState::Joining => PreviousLife::Unsettled,
            _ => PreviousLife::Wait(UNKNOWN_WRITES, None),
        }
    }

    /// Same generation only if nothing speaks against it: page of this boot and file, of the record's incarnation, its end
    /// neither latched nor passed by the faster clock.
    fn goes_on(&self, page: &AgentHalf, fencer: &FencerHalf) -> bool {
        let of_record =
            page.incarnation == self.newest.incarnation && page.incarnation.generation > Generation(0);
        let highest =
            self.copies.valid().all(|copy| copy.incarnation.generation <= page.incarnation.generation);
        let open = matches!(self.newest.state, HostState::Joining | HostState::Held | HostState::Disarmed);
        page.file_id == self.file_id
            && page.boot_id == self.boot_id
            && of_record
            && highest
            && open
            && self.not_over(page, fencer)
    }

    /// Where the fencer still guards an older life, this one was never armed: then that older one must be clean.
    fn not_over(&self, page: &AgentHalf, fencer: &FencerHalf) -> bool {
        let armed = fencer.armed || matches!(page.wish, Wish::Armed | Wish::DenyStarts);
        let alive = !armed || !page.lease_end.reached(self.now);
        if fencer.incarnation == page.incarnation {
            return fencer.latched.is_none() && alive;
        }
        !fencer.armed_since_boot || (page.wish == Wish::Joining && proven(fencer).is_some())
    }

    /// A life that had no lease yet may have been adopting domains: their entries must not become orphans while they run.
    fn never_armed(&self, fencer: &FencerHalf) -> PreviousLife {
        if self.newest.state == HostState::Joining && (fencer.scans == 0 || !fencer.processes.is_empty()) {
            let why = "domains that run here, which the life before may have entries of: stop or exempt them";
            return PreviousLife::Wait(why, None);
        }
        PreviousLife::Over
    }

    fn ended(&self, fencer: &FencerHalf) -> PreviousLife {
        // Its own receipt was written only after CLEAN, or after a release with zero domains.
        let receipt = matches!(self.newest.state, HostState::Fenced | HostState::Released);
        if !receipt && !fencer.armed_since_boot {
            return self.never_armed(fencer);
        }
        if receipt {
            return PreviousLife::Over;
        }
        let Some(clean) = proven(fencer) else {
            return PreviousLife::Wait("the fencer's proof that no domain of the last lease is left", None);
        };
        let drained = clean.at.plus(self.newest.effective_terms().write_drain);
        if clean.forced && !ObserverDeadline(drained).reached(self.now) {
            return PreviousLife::Wait("write_drain after a quiescence by force", Some(drained));
        }
        PreviousLife::Over
    }
}

/// The proof for the life that the fencer guarded last.
fn proven(fencer: &FencerHalf) -> Option<Clean> {
    fencer.clean.filter(|clean| clean.generation >= fencer.incarnation.generation)
}
