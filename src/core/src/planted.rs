//! Bugs that are planted on purpose (PROTOCOL 7), so that the simulator and the model check can show that they would find
//! them. `planted!(Name)` is `false` in every build without the feature `planted-bugs`, and that feature does not compile
//! without debug assertions: no release build can have it.

/// True while the named bug is planted: `if planted!(DrainLeftOut) { … }`.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_planted($crate::planted::Bug::$bug)
    };
}

/// Always false: this build has no planted bugs. A call and no literal, so that lints see two bugs and not the same twice.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::never(stringify!($bug))
    };
}

/// This build has no planted bugs.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn never(_bug: &str) -> bool {
    false
}

pub(crate) use planted;

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!(
    "`planted-bugs` breaks the protocol on purpose: it is for the profile `mutants`, never for a release"
);

#[cfg(feature = "planted-bugs")]
pub use bugs::{Area, Bug, is_planted, is_reached, plant};

#[cfg(feature = "planted-bugs")]
mod bugs {
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

    /// The part of the protocol that a bug breaks.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
    pub enum Area {
        /// Holder, observer, verdict, terms.
        Timing,
        /// Slots and their claims.
        Claims,
        /// Domain leases.
        Leases,
        /// The fencer, receipts, disarming.
        Fence,
        /// Restarting elsewhere.
        Recovery,
    }

    /// What is planted: 0 for nothing, else the bug's place in the list and one. The same for the whole process: bugs are
    /// planted one after the other, and the threads that run seeds all see the same one.
    static PLANTED: AtomicU16 = AtomicU16::new(0);

    /// The code that asks for the planted bug was reached since it was planted: what is never reached cannot be found.
    static REACHED: AtomicBool = AtomicBool::new(false);

    /// Plants a bug, or none, in this process.
    pub fn plant(bug: Option<Bug>) {
        REACHED.store(false, Ordering::SeqCst);
        PLANTED.store(bug.map_or(0, |bug| bug as u16 + 1), Ordering::SeqCst);
    }

    /// True while this bug is planted.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        let planted = PLANTED.load(Ordering::Relaxed) == bug as u16 + 1;
        if planted && !REACHED.load(Ordering::Relaxed) {
            REACHED.store(true, Ordering::Relaxed);
        }
        planted
    }

    /// True when code that asks for the planted bug has run since it was planted.
    #[must_use]
    pub fn is_reached() -> bool {
        REACHED.load(Ordering::Relaxed)
    }

    macro_rules! bugs {
        ($($area:ident { $($name:ident, $word:literal, $sentence:literal;)* })*) => {
            /// A bug that can be planted.
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
            #[repr(u16)]
            #[expect(clippy::doc_markdown, reason = "the sentences are shown on the command line too")]
            pub enum Bug {
                $($(#[doc = $sentence] $name,)*)*
            }

            impl Bug {
                /// All of them.
                pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

                /// Its name on the command line.
                #[must_use]
                pub const fn word(self) -> &'static str {
                    match self { $($(Self::$name => $word,)*)* }
                }

                /// What it does, in a sentence.
                #[must_use]
                pub const fn sentence(self) -> &'static str {
                    match self { $($(Self::$name => $sentence,)*)* }
                }

                /// Which part of the protocol it breaks.
                #[must_use]
                pub const fn area(self) -> Area {
                    match self { $($(Self::$name => Area::$area,)*)* }
                }
            }
        };
    }

    bugs! {
        Timing {
            OneTickShort, "one-tick-short", "The verdict comes one millisecond before verdict_after.";
            StallNeedsHigherSequence, "stall-needs-higher-sequence", "A stall restarts only when the highest sequence advances.";
            StallKeptOverRestart, "stall-kept-over-restart", "A restarted observer goes on with the stall clocks of the process before.";
            DrainLeftOut, "drain-left-out", "verdict_after is computed without write_drain.";
            DriftLeftOut, "drift-left-out", "verdict_after is computed without the drift of the clocks.";
            OneClock, "one-clock", "Holder and observer believe CLOCK_BOOTTIME alone.";
            HolderFromAck, "holder-from-ack", "The holder counts its lease from the acknowledgement of the renewal.";
            ObserverFromBeforeRead, "observer-from-before-read", "The observer counts a stall from before the read that showed the record.";
            VerdictReadEarly, "verdict-read-early", "A read that ended late enough gives a verdict, though it started early.";
            LateAckRevives, "late-ack-revives", "A renewal that is acknowledged after the lease's end, even after ttl + budget, extends it.";
            TtlLoweredAtAck, "ttl-lowered-at-ack", "A lower ttl is used by the holder only when its record is acknowledged.";
            TtlRaisedAtIssue, "ttl-raised-at-issue", "A higher ttl is used by the holder as soon as its record is issued.";
            TtlRaisedOverUnknown, "ttl-raised-over-unknown", "A higher ttl is issued while a write of the own record is unknown.";
            ArmedAfterHeld, "armed-after-held", "The fencer is armed only after the first `held` is acknowledged.";
            RenewsWithoutFencer, "renews-without-fencer", "An agent whose fencer does not beat goes on renewing, and kills nothing itself.";
            OldTermsAfterRestart, "old-terms-after-restart", "A restarted agent with another configuration uses its new terms at once.";
            SequenceTwice, "sequence-twice", "A restarted agent goes on from the sequence that it reads, not from the highest issued.";
            VerdictWithoutLease, "verdict-without-lease", "A member gives verdicts without a valid lease of its own.";
            DeadPicture, "dead-picture", "A verdict needs no sign that the read path is live.";
            ReplacedFileIgnored, "replaced-file-ignored", "A path that leads to another file does not end the lease.";
            FencingNeedsNoCap, "fencing-restarts-stall", "`fencing` restarts the stall, and a fresh verdict_after without a cap counts.";
            StallGoesOnAfterFencing, "stall-goes-on-after-fencing", "The stall that was running when `fencing` was read goes on.";
            CapIgnoresWatchdog, "cap-ignores-watchdog", "The cap after `fencing` ignores the watchdog's time.";
            PetKeepsOldEnd, "pet-keeps-old-end", "The pet rule keeps the old end after an early latch.";
            NoReadBack, "no-read-back", "An acknowledged renewal extends the lease though no read shows it.";
            UnreadableIsUnchanged, "unreadable-is-unchanged", "A copy that became unreadable counts as unchanged.";
            FencingBeforeLatch, "fencing-before-latch", "`fencing` is written before the fencer has latched the end.";
            OneCopyOfTwo, "one-copy-of-two", "Only the newer of the two copies of a record is looked at.";
        }
        Claims {
            ClaimWithoutWait, "claim-without-wait", "A claim is taken without the wait W.";
            ClaimWaitTooShort, "claim-wait-too-short", "The wait W of a claim is half of D, not more than D.";
            ClaimNeverAbandoned, "claim-never-abandoned", "A claim whose write took longer than D is not abandoned.";
            ClaimInRecord, "claim-in-record", "A slot is claimed by writing the host record at once.";
            ForeignClaimSuperseded, "foreign-claim-superseded", "A foreign claim without a record is overwritten as stale.";
            OwnClaimFree, "own-claim-free", "An own older claim counts as free.";
            ConflictIsReboot, "conflict-is-reboot", "A record of another host key with a higher generation counts as superseded.";
            CloneNotWatched, "clone-not-watched", "A rejoin does not watch its own record for a live clone.";
            FreeResetsGeneration, "free-resets-generation", "`slot free` starts the generations at zero again.";
            FreedTwice, "freed-twice", "A record that is `free` already is freed again under a claimant.";
        }
        Leases {
            NoSecondScan, "no-second-scan", "S3 is left out: no scan between the want and the own entry.";
            RewriteWhileUnknown, "rewrite-while-unknown", "A lease sector is rewritten while an earlier write may still land.";
            RejoinBeforeDrain, "rejoin-before-drain", "A rejoin does not wait for write_drain or for unknown writes.";
            WantIsNoConflict, "want-is-no-conflict", "A live host's want is no conflict.";
            OrphansDroppedAtRejoin, "orphans-dropped-at-rejoin", "A rejoin drops its own entries instead of making orphans of them.";
            NoTombstone, "no-tombstone", "A stopped domain's entry is erased instead of kept as stopped.";
            DropIgnoresWants, "drop-ignores-wants", "A drop ignores the wants of live hosts.";
            DropIgnoresDeadWants, "drop-ignores-dead-wants", "A drop ignores the wants of dead hosts.";
            StoppedInOnePass, "stopped-in-one-pass", "A stopped entry is dropped in one pass.";
            OrphanInOnePass, "orphan-in-one-pass", "An orphan is dropped in one pass.";
            OneCopyOfPage, "one-copy-of-page", "A lease sector is written to one copy in turn.";
            FailedStartStopped, "failed-start-stopped", "A recovery start that failed gives back stopped, not orphan.";
            PredOnOrphan, "pred-on-orphan", "pred is set when the top that was taken is an orphan.";
            GoneUnreadableSkipped, "gone-unreadable-skipped", "A gone host's unreadable sector is skipped.";
            LiveUnreadableSkipped, "live-unreadable-skipped", "A live host's unreadable sector is skipped.";
            StalledIsGone, "stalled-is-gone", "An owner that is only stalled counts as gone.";
            StartBeforeOwn, "start-before-own", "A domain is started before its own entry is acknowledged.";
            NoSecondLookAtTop, "no-second-look-at-top", "S3 does not look whether the top is still the one that S1 found.";
            TermNotAboveDeadWants, "term-not-above-dead-wants", "A new term is not above the wants of dead hosts.";
            ReleaseBeforeStop, "release-before-stop", "An own entry is given back while its process still runs.";
            OwnRolledBack, "own-rolled-back", "An own entry is written back as it was before the acquire, at a lower term.";
            SourceForgets, "source-forgets", "The source of a migration erases its own entry instead of leaving an orphan.";
            IncomingIgnored, "incoming-ignored", "A live host's incoming entry is no conflict.";
            IncomingReservesNoTerm, "incoming-reserves-no-term", "A new term need not be above an incoming entry's.";
            ResumedSourceRunsOn, "resumed-source-runs-on", "A source that libvirt has resumed beside its destination is neither stopped nor killed.";
            MovedRunsAgain, "moved-runs-again", "A domain whose last run cannot be shown quiet runs again on the source that it has moved from.";
            KilledSourceDeparts, "killed-source-departs", "A restarted agent takes the source of a migration that is gone for one that libvirt has moved.";
            MigrateThenColdStart, "migrate-then-cold-start", "A start after `migrate begin` is permitted though its process waits for no migration.";
            TokenCoversTwoRuns, "token-covers-two-runs", "A user's start is permitted under a token whose QEMU has run and died.";
        }
        Fence {
            ReceiptWithToken, "receipt-with-token", "CLEAN is proven with a start token open.";
            ReceiptBeforeQuiescence, "receipt-before-quiescence", "CLEAN is proven before the storages are shown quiet.";
            ReceiptOverUnnamed, "receipt-over-unnamed", "CLEAN is proven though nobody has named the storages of a killed domain.";
            WriteTaskLeft, "write-task-left", "A storage counts as quiet though a write of a killed process is left in the kernel.";
            ReceiptAfterForce, "receipt-after-force", "After a forced CLEAN the receipt does not wait for write_drain.";
            DisarmedKillsAfterRestart, "disarmed-kills-after-restart", "A disarmed fencer that is restarted kills.";
            PetWithoutClean, "pet-without-clean", "The watchdog is petted after the end without CLEAN.";
            ResetLatencyLeftOut, "reset-latency-left-out", "The pet rule leaves out the reset latency.";
            ResetAtBudgetsEnd, "reset-at-budgets-end", "A host that resets itself does so at the end of the budget, not the reset latency before it.";
            GranuleLeftOut, "granule-left-out", "The pet rule leaves out the steps in which the watchdog counts.";
            UnExpires, "un-expires", "The fencer takes a new end after the old one has passed.";
            EndBeyondTtl, "end-beyond-ttl", "The fencer accepts an end beyond now + ttl.";
            TornSlotTrusted, "torn-slot-trusted", "A slot of the page shows its new sequence before its contents, and its CRC is not looked at.";
            GenerationWithoutClean, "generation-without-clean", "The fencer takes a new generation without CLEAN.";
            DisarmOverUnknown, "disarm-over-unknown", "Disarming goes on with a write unknown.";
            DisarmAfterOneCopy, "disarm-after-one-copy", "Disarming does not wait until both copies are read back twice.";
            ClusterAskNeverEnds, "cluster-ask-never-ends", "A request to the whole cluster stands in its host's records for ever.";
            LastWordObeyed, "last-word-obeyed", "A request to the whole cluster that was up when a process first read it counts as risen.";
            ClusterAskObeyedAgain, "cluster-ask-obeyed-again", "A request to the whole cluster is obeyed with each record that carries it.";
            LoweredAskObeyed, "lowered-ask-obeyed", "A request to the whole cluster that has risen is obeyed though the next record asks for nothing.";
            AnsweredBeforeLetGo, "answered-before-let-go", "The whole cluster is said to be disarmed while fencers still guard.";
            EndsWhileLettingGo, "ends-while-letting-go", "An agent ends its lease itself though its fencer, which was asked to let go, may have done so.";
            ConvictionIgnored, "conviction-ignored", "A conviction of the own incarnation is ignored.";
            DeadRequesterObeyed, "dead-requester-obeyed", "A fence request of a host that is not alive is obeyed.";
            NoBarrier, "no-barrier", "A recovery starts without waiting for its barrier.";
            BarrierOnOneStorage, "barrier-on-one-storage", "A barrier counts once the first of a domain's storages has acknowledged it.";
        }
        Recovery {
            LowestLiveSlotActs, "lowest-live-slot-acts", "Only the lowest slot that this host believes alive recovers, without a lease.";
            OlderDefinition, "older-definition", "A domain is started though its definition's hash is not the entry's.";
            LockCountsAsFailure, "lock-counts-as-failure", "An image lock's refusal counts as a failure of the domain.";
            LimiterNeverReleased, "limiter-never-released", "The limiter of starts after a mass loss never lets go.";
            RecoveryRunsTwice, "recovery-runs-twice", "A recovery's token covers a second run of QEMU.";
            DelayIsExclusion, "delay-is-exclusion", "The preferred survivor starts without taking the lease: the others' delay is trusted.";
        }
    }
}
