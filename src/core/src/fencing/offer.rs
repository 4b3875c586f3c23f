//! What a fencer makes of an agent that says hello and offers its copy of the page: a fencer that has lost its own takes
//! that over, all others hand out theirs. Whatever is decided, the agent is answered with the page then in hand.

use crate::fencing::{AgentHalf, CopyUse, Fencer, HalfReading, MarkerFound, RestoredPage};
use crate::ids::BootId;
use crate::time::Now;

/// A page that an agent offers, which is another than the one in hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer<'a> {
    /// The boot that the agent says it runs in.
    pub boot_id: BootId,
    /// The agent's half in the copy.
    pub agent: HalfReading<&'a AgentHalf>,
    /// The agent's half in the page in hand: once that was written, a copy is not needed.
    pub in_hand: HalfReading<&'a AgentHalf>,
}

impl Fencer {
    /// What to do with an offer. An offered page that is the one in hand needs no judgement.
    #[must_use]
    pub fn judge_offer(&self, offer: &Offer<'_>) -> CopyUse {
        match offer.agent {
            HalfReading::Good(agent) if offer.boot_id == self.boot_id => {
                self.judge_copy(agent, offer.in_hand.was_written())
            }
            _ => CopyUse::Refuse,
        }
    }

    /// Does what was judged. `marker` and `copy` are as they read now. True when the copy is the page in hand from now on;
    /// after [`CopyUse::Restart`] the processes that its fencer's half lists must be held again.
    pub fn take_offer(
        &mut self,
        now: &Now,
        how: CopyUse,
        marker: MarkerFound,
        copy: &RestoredPage<'_>,
    ) -> bool {
        match how {
            CopyUse::Refuse => false,
            CopyUse::Restart => {
                *self = Self::start(now, self.boot_id, marker, copy);
                true
            }
            CopyUse::KeepEnded => {
                self.page_replaced();
                true
            }
        }
    }
}
