//! A rehearsal ends this host's own lease. It can only ever weaken towards fencing (R8).

use super::phase::Phase;
use super::{Member, RequestId};
use crate::time::Now;

impl Member {
    /// Ends the own lease now, as a peer's fence request would: latch, kill, quiesce, receipt, rejoin. Answered at once: what
    /// comes of it is to be seen in the lease file.
    ///
    /// # Errors
    /// A sentence, when there is no lease that could be ended.
    pub(super) fn end_own(&mut self, now: &Now, id: RequestId, reason: &str) -> Result<(), String> {
        if !matches!(self.phase, Phase::Held) || !self.lease_is_live(now.instant) {
            return Err(format!(
                "this host holds no lease that a drill could end: it is {}",
                self.state_word()
            ));
        }
        self.desk.reply(id, true, format!("this host's lease is ended: {reason}"));
        self.end(now, reason);
        Ok(())
    }
}
