//! How one storage is shown quiet after the kill, and what that proves (R6): killed, calls in flight, taken away or cut off, none
//! left. Whoever unmounts, deletes and ends connections asks here whether that is a proof yet; nothing here touches anything.

use crate::fencing::Quiet;
use crate::planted::planted;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Stage {
    /// The kernel has it: calls of processes that are gone may be left, and leave when its path is back.
    #[default]
    There,
    /// The kernel has let it go, which it does only when no call is left.
    LetGo {
        /// It was taken away over a path that worked.
        gently: bool,
    },
    /// The connections to its server are ended too: nothing that was given to one is sent any more.
    CutOff,
}

/// What was done to one storage since the end of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Quieting {
    stage: Stage,
    /// Calls were cut off, or may have been, at any time since: its server may hold what it has received.
    forced: bool,
}

impl Quieting {
    /// The kernel has it, still or again.
    pub fn found(&mut self) {
        self.stage = Stage::There;
    }

    /// True until the kernel has let it go: from then on its number may be another's.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.stage == Stage::There
    }

    /// True when it may be taken away gently, where its path works: what was forced once stays so.
    #[must_use]
    pub fn may_be_gentle(&self) -> bool {
        !self.forced
    }

    /// It is being taken from the kernel: gently, or with all calls cut off.
    pub fn taken(&mut self, gently: bool) {
        self.forced |= !gently;
    }

    /// A look whether the kernel has let it go, after it was taken. While a call is left it has not, and nothing is shown:
    /// that call is sent when the path is back. True once none is left.
    pub fn looked(&mut self, call_left: bool, gently: bool) -> bool {
        if call_left && !planted!(WriteTaskLeft) {
            return false;
        }
        self.stage = Stage::LetGo { gently };
        true
    }

    /// True when it was taken away over a path that worked, and nothing was ever forced: then nothing needs to be cut off if its
    /// connections have sent all that they were given.
    #[must_use]
    pub fn is_gentle(&self) -> bool {
        self.stage == Stage::LetGo { gently: true } && !self.forced
    }

    /// What is shown, where its connections have sent everything and none is being closed (`sent_all`) or not. None: its
    /// connections must be ended first, also where somebody else has taken it away, over whatever path.
    #[must_use]
    pub fn proof(&mut self, sent_all: bool) -> Option<Quiet> {
        if self.is_gentle() && sent_all {
            return Some(Quiet::Acknowledged);
        }
        self.forced = true;
        (self.stage == Stage::CutOff).then_some(Quiet::Forced)
    }

    /// Its connections are ended. New ones carry nothing of what was taken away before.
    pub fn cut_off(&mut self) {
        (self.stage, self.forced) = (Stage::CutOff, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage that is taken away, with one call left at the first look.
    fn taken(gently: bool) -> Quieting {
        let mut storage = Quieting::default();
        storage.found();
        storage.taken(gently);
        assert!(!storage.looked(true, gently) && storage.is_there(), "a call is left");
        assert!(storage.looked(false, gently) && !storage.is_there());
        storage
    }

    #[test]
    fn over_a_path_that_works_nothing_is_cut_off() {
        let mut storage = taken(true);
        assert!(storage.is_gentle());
        assert_eq!(storage.proof(true), Some(Quiet::Acknowledged));
    }

    #[test]
    fn what_was_cut_off_needs_its_connections_ended_and_stays_forced() {
        let mut storage = taken(false);
        assert!(!storage.is_gentle() && !storage.may_be_gentle());
        assert_eq!(
            storage.proof(true),
            None,
            "what its calls had given to a connection leaves when the path is back"
        );
        storage.cut_off();
        assert_eq!((storage.proof(false), storage.proof(true)), (Some(Quiet::Forced), Some(Quiet::Forced)));
        storage.found();
        assert!(storage.looked(false, true));
        assert!(!storage.is_gentle(), "the server may hold what it received then");
    }

    #[test]
    fn a_connection_that_has_not_sent_everything_is_ended_also_after_a_gentle_end() {
        let mut storage = taken(true);
        assert_eq!(storage.proof(false), None);
        assert!(!storage.is_gentle(), "from here on it is forced");
        storage.cut_off();
        assert_eq!(storage.proof(false), Some(Quiet::Forced));
    }

    #[test]
    fn what_somebody_else_has_taken_away_is_forced() {
        let mut storage = Quieting::default();
        assert_eq!(storage.proof(true), None, "over whatever path that was");
        storage.cut_off();
        assert_eq!(storage.proof(true), Some(Quiet::Forced));
    }
}
