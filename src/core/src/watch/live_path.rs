//! How an observer shows that what it reads is the storage on which the others write, and not a picture of it.

use crate::planted::planted;
use crate::time::{Instant, ObserverDeadline};

/// What of its own this observer wrote and read back in the pass that is being judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LivePath {
    /// Nothing: no verdict that rests on time, and why.
    NotShown(&'static str),
    /// A member with a valid lease: its own renewal was issued then, acknowledged, and read back in this pass.
    Member {
        /// Before the renewal was issued.
        renewal_issued: Instant,
    },
    /// An observer without a slot: its nonce was written then and read back in this pass. It counts only if another
    /// host's record advanced within the last two scans: a writable copy of the file shows the nonce as well.
    Observer {
        /// Before the nonce was issued.
        nonce_issued: Instant,
    },
}

impl LivePath {
    /// Why this path is not shown to be live since `after`; none when it is.
    pub(super) fn why_not(&self, after: Instant, another_host_advanced: bool) -> Option<&'static str> {
        const TOO_EARLY: &str =
            "no sign that this path is live: the own write of this pass was issued too early";
        const PICTURE: &str =
            "no sign that this path is live: no other host's record advances, so this may be a copy";
        match *self {
            _ if planted!(DeadPicture) => None,
            Self::NotShown(why) => Some(why),
            Self::Member { renewal_issued } if ObserverDeadline(after).reached(renewal_issued) => None,
            Self::Observer { nonce_issued } if ObserverDeadline(after).reached(nonce_issued) => {
                (!another_host_advanced).then_some(PICTURE)
            }
            Self::Member { .. } | Self::Observer { .. } => Some(TOO_EARLY),
        }
    }
}
