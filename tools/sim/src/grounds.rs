//! Which scene leads straight to the moment at which a planted bug decides. It says where to look, never what a bug does.

use leasefence_core::planted::Bug as B;

use crate::plan::{Class as C, Options};

/// The scene of a bug, and with how many hosts.
#[must_use]
pub(crate) fn scene(bug: B) -> Options {
    let (hosts, class) = match bug {
        B::OneTickShort | B::DriftLeftOut => (6, C::Ticks),
        B::ObserverFromBeforeRead | B::VerdictReadEarly => (4, C::Reads),
        B::StallKeptOverRestart | B::SequenceTwice => (3, C::Restarts),
        B::TtlLoweredAtAck | B::TtlRaisedAtIssue | B::TtlRaisedOverUnknown | B::OldTermsAfterRestart => {
            (3, C::Changes)
        }
        B::ArmedAfterHeld | B::RenewsWithoutFencer => (3, C::Arming),
        B::DeadPicture | B::ReplacedFileIgnored | B::ConflictIsReboot | B::ConvictionIgnored => (3, C::Files),
        B::FencingNeedsNoCap
        | B::StallGoesOnAfterFencing
        | B::CapIgnoresWatchdog
        | B::PetKeepsOldEnd
        | B::FencingBeforeLatch
        | B::ReceiptBeforeQuiescence
        | B::ReceiptAfterForce
        | B::DisarmedKillsAfterRestart
        | B::PetWithoutClean
        | B::GenerationWithoutClean
        | B::DisarmOverUnknown
        | B::DisarmAfterOneCopy
        | B::DeadRequesterObeyed => (3, C::Fences),
        B::ClaimWithoutWait
        | B::ClaimWaitTooShort
        | B::ClaimNeverAbandoned
        | B::ClaimInRecord
        | B::ForeignClaimSuperseded
        | B::OwnClaimFree
        | B::FreeResetsGeneration
        | B::FreedTwice => (5, C::Boots),
        B::FailedStartStopped | B::LockCountsAsFailure | B::LimiterNeverReleased => (3, C::Losses),
        B::EndBeyondTtl | B::CloneNotWatched => (3, C::Identity),
        B::DrainLeftOut
        | B::StallNeedsHigherSequence
        | B::OneClock
        | B::HolderFromAck
        | B::LateAckRevives
        | B::VerdictWithoutLease
        | B::NoReadBack
        | B::UnreadableIsUnchanged
        | B::OneCopyOfTwo
        | B::ResetLatencyLeftOut
        | B::UnExpires => (3, C::Moments),
        _ => (4, C::Races),
    };
    Options { hosts: Some(hosts), classes: vec![class], ..Options::default() }
}
