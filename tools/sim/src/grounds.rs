//! Where planted bugs are hunted. It says where to look, never what a bug does.

use leasefence_core::planted::{Area, Bug as B};

use crate::plan::{Class as C, Options};

/// Where a bug is hunted, in turn: its scene, the mix in which it shows itself best, and the mixes that every seed draws from.
#[must_use]
pub(crate) fn of(bug: B) -> Vec<Options> {
    let mix = |hosts: usize, classes: &[C]| Options {
        hosts: Some(hosts),
        classes: classes.to_vec(),
        ..Options::default()
    };
    // At the edge of the bounds a promise that is too long by little is already broken.
    let special = match (bug, bug.area()) {
        (
            B::ResetLatencyLeftOut | B::GranuleLeftOut | B::OneTickShort | B::DriftLeftOut | B::DrainLeftOut,
            _,
        ) => mix(3, &[C::Edge]),
        (B::TtlLoweredAtAck | B::TtlRaisedAtIssue | B::TtlRaisedOverUnknown | B::OldTermsAfterRestart, _) => {
            mix(3, &[C::Terms, C::Late, C::Edge])
        }
        (B::OneClock, _) => mix(3, &[C::Clocks, C::Edge]),
        (B::ReplacedFileIgnored, _) => mix(3, &[C::Identity]),
        (B::UnreadableIsUnchanged | B::OneCopyOfTwo, _) => mix(3, &[C::Damage, C::Edge]),
        (
            B::FencingNeedsNoCap
            | B::StallGoesOnAfterFencing
            | B::CapIgnoresWatchdog
            | B::FencingBeforeLatch
            | B::PetKeepsOldEnd,
            _,
        ) => mix(3, &[C::Operator, C::Edge, C::Late]),
        (B::ArmedAfterHeld | B::RenewsWithoutFencer, _) => {
            mix(3, &[C::Operator, C::Pauses, C::Crashes, C::Power])
        }
        (B::VerdictReadEarly | B::ObserverFromBeforeRead | B::HolderFromAck | B::NoReadBack, _) => {
            mix(3, &[C::Edge, C::Late, C::Storage])
        }
        (_, Area::Timing) => mix(3, &[C::Edge, C::Storage, C::Late, C::Crashes]),
        (_, Area::Claims) => mix(3, &[C::Join, C::Identity]),
        (
            B::PetWithoutClean
            | B::ReceiptBeforeQuiescence
            | B::ReceiptAfterForce
            | B::WriteTaskLeft
            | B::GenerationWithoutClean,
            _,
        ) => mix(3, &[C::Guests, C::Storage]),
        (B::UnExpires | B::EndBeyondTtl, _) => mix(3, &[C::Identity, C::Storage, C::Pauses]),
        (
            B::DisarmedKillsAfterRestart
            | B::DisarmOverUnknown
            | B::DisarmAfterOneCopy
            | B::EndsWhileLettingGo
            | B::ClusterAskNeverEnds
            | B::LastWordObeyed
            | B::ClusterAskObeyedAgain
            | B::LoweredAskObeyed
            | B::AnsweredBeforeLetGo,
            _,
        ) => mix(3, &[C::Operator, C::Late, C::Crashes]),
        (B::ConvictionIgnored | B::DeadRequesterObeyed, _) => mix(3, &[C::Operator, C::Takeover]),
        (B::LimiterNeverReleased | B::LockCountsAsFailure, _) => mix(4, &[C::Power, C::Guests]),
        (B::TokenCoversTwoRuns | B::RecoveryRunsTwice, _) => mix(3, &[C::Users]),
        (_, Area::Leases | Area::Fence | Area::Recovery) => mix(3, &[C::Takeover]),
    };
    let three = Options { hosts: Some(3), ..Options::default() };
    vec![scene(bug), special, three, Options::default()]
}

/// The scene that leads straight to the moment at which the bug decides, and with how many hosts.
fn scene(bug: B) -> Options {
    let (hosts, class) = match bug {
        B::OneTickShort | B::DriftLeftOut => (6, C::Ticks),
        B::ObserverFromBeforeRead | B::VerdictReadEarly => (4, C::Reads),
        B::StallKeptOverRestart | B::SequenceTwice => (3, C::Restarts),
        B::TtlLoweredAtAck | B::TtlRaisedAtIssue | B::OldTermsAfterRestart => (3, C::Changes),
        B::TtlRaisedOverUnknown => (3, C::Raises),
        B::ClaimWithoutWait
        | B::ClaimWaitTooShort
        | B::ClaimNeverAbandoned
        | B::ClaimInRecord
        | B::ForeignClaimSuperseded
        | B::OwnClaimFree => (3, C::Claims),
        B::RejoinBeforeDrain => (3, C::Rejoins),
        B::NoSecondLookAtTop => (3, C::Looks),
        B::OwnRolledBack => (3, C::Takes),
        B::ArmedAfterHeld | B::RenewsWithoutFencer => (3, C::Arming),
        B::DeadPicture | B::ReplacedFileIgnored | B::ConflictIsReboot | B::ConvictionIgnored => (3, C::Files),
        B::FencingNeedsNoCap
        | B::StallGoesOnAfterFencing
        | B::CapIgnoresWatchdog
        | B::PetKeepsOldEnd
        | B::FencingBeforeLatch
        | B::ReceiptBeforeQuiescence
        | B::ReceiptAfterForce
        | B::WriteTaskLeft
        | B::DisarmedKillsAfterRestart
        | B::PetWithoutClean
        | B::GenerationWithoutClean
        | B::DisarmOverUnknown
        | B::DisarmAfterOneCopy
        | B::DeadRequesterObeyed => (3, C::Fences),
        B::FreeResetsGeneration | B::FreedTwice => (3, C::Frees),
        B::FailedStartStopped | B::LockCountsAsFailure | B::LimiterNeverReleased => (3, C::Losses),
        B::DropIgnoresWants
        | B::DropIgnoresDeadWants
        | B::StoppedInOnePass
        | B::OrphanInOnePass
        | B::TermNotAboveDeadWants => (4, C::Drops),
        B::BarrierOnOneStorage => (3, C::Drains),
        B::ResetAtBudgetsEnd => (3, C::Resets),
        B::TornSlotTrusted => (3, C::Tears),
        B::SourceForgets | B::IncomingIgnored | B::IncomingReservesNoTerm | B::MigrateThenColdStart => {
            (3, C::Migrations)
        }
        B::MovedRunsAgain | B::KilledSourceDeparts | B::ResumedSourceRunsOn => (3, C::Sources),
        B::ReceiptWithToken => (4, C::Hangs),
        B::ReceiptOverUnnamed => (3, C::Strangers),
        B::ClusterAskNeverEnds
        | B::LastWordObeyed
        | B::ClusterAskObeyedAgain
        | B::LoweredAskObeyed
        | B::AnsweredBeforeLetGo => (3, C::Maintenance),
        B::TokenCoversTwoRuns | B::RecoveryRunsTwice => (3, C::Reruns),
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
        | B::GranuleLeftOut
        | B::UnExpires => (3, C::Moments),
        _ => (4, C::Races),
    };
    Options { hosts: Some(hosts), classes: vec![class], ..Options::default() }
}
