//! One own lease: held, running, ending.

use crate::fencing::{FencerHalf, OwnLease};
use crate::ids::{DomainId, Term};
use crate::lease::proof::{GoneProof, shows};
use crate::lease::quiet::QuietProof;
use crate::lease::types::{DomainSpec, EndReason};
use crate::planted::planted;
use crate::time::Instant;

/// How far an own lease is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Phase {
    /// Acquired by a recovery, which says when it runs or is given up.
    Recovering,
    /// Permitted to a user's start, under an open start token: it runs once the fencer shows it, or is given up.
    Starting,
    /// Not seen running yet, or running.
    Held {
        /// Since when libvirt lists it as not running, if it does.
        missing: Option<Instant>,
    },
    /// Found by a restarted agent: it stays until libvirt has answered and the fencer has scanned.
    Settling {
        /// The fencer's proof that it has no process.
        proof: GoneProof,
        /// Libvirt has answered, and does not list it as running.
        answered: bool,
    },
    /// It is over; the fencer must show that its process is gone.
    Ending {
        /// Why.
        reason: EndReason,
        /// QEMU has drained its own requests before it exited: nothing of it is left in this host's kernel.
        drained: bool,
        /// The fencer's proof that it has no process.
        proof: GoneProof,
    },
    /// It was migrated away, and its process is gone: whether the destination has it by a lease is being looked at.
    Departed,
    /// Its process is gone; its storages must be shown quiet (R6).
    Quieting {
        /// Why it ends.
        reason: EndReason,
        /// That proof.
        quiet: QuietProof,
    },
}

/// An own lease.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Owned {
    pub(super) term: Term,
    /// It was seen running under this term.
    pub(super) ran: bool,
    /// Libvirt has stopped its CPUs for a migration, and nobody has seen since that it stays here.
    pub(super) outgoing: bool,
    /// A process of it was here under this term, by what is known, and has not been shown quiet (R6).
    pub(super) unquiet: bool,
    pub(super) running_since: Option<Instant>,
    pub(super) phase: Phase,
    /// Whether all storages that it was seen to run with are one kernel's own file systems; none: not known.
    pub(super) one_kernel: Option<bool>,
    /// True once its faults were forgiven: under its term it gets no new ones.
    pub(super) forgiven: bool,
    /// What its entry was last made to say of the domain.
    pub(super) described: Option<DomainSpec>,
}

impl Owned {
    pub(super) fn to_page(&self, domain: DomainId) -> OwnLease {
        OwnLease { domain, term: self.term, ran: self.ran, outgoing: self.outgoing }
    }

    pub(super) fn new(term: Term, ran: bool, phase: Phase) -> Self {
        Self {
            term,
            ran,
            outgoing: false,
            unquiet: false,
            running_since: None,
            phase,
            one_kernel: None,
            forgiven: false,
            described: None,
        }
    }

    /// It is over: the fencer must show that its process is gone.
    pub(super) fn ends(&mut self, reason: EndReason, drained: bool, now: Instant) {
        self.phase = Phase::Ending { reason, drained, proof: GoneProof::new(now) };
    }

    /// It is over, and nobody has said why.
    pub(super) fn breaks_off(&mut self, now: Instant) {
        let reason = if self.ran { EndReason::Crashed } else { EndReason::NeverRan };
        self.ends(reason, false, now);
    }

    /// Why it ends, if the fencer's half is the proof that was missing.
    pub(super) fn proven(&mut self, domain: DomainId, half: &FencerHalf, now: Instant) -> Option<EndReason> {
        let never_seen = match self.ran {
            true if self.outgoing => EndReason::MigratedAway { destination_seen: false },
            true => EndReason::Crashed,
            false => EndReason::NeverRan,
        };
        let (proof, reason) = match &mut self.phase {
            Phase::Ending { reason, proof, .. } => (proof, Some(*reason)),
            Phase::Settling { proof, answered } => (proof, answered.then_some(never_seen)),
            Phase::Quieting { reason, .. } if shows(half, domain) => {
                // It was started again: what was shown of the process before says nothing of this one.
                let reason = *reason;
                self.ends(reason, false, now);
                return None;
            }
            Phase::Recovering
            | Phase::Starting
            | Phase::Held { .. }
            | Phase::Departed
            | Phase::Quieting { .. } => {
                return None;
            }
        };
        // The proof is fed in any case: it may be complete before libvirt has answered.
        proof.shown(half, domain).then_some(reason).flatten()
    }

    /// True when its process's exit alone shows that no write of it can leave this host.
    pub(super) fn exit_is_quiet(&self) -> bool {
        let drained = match self.phase {
            Phase::Ending { drained, .. } => drained,
            Phase::Settling { .. } => self.ran && self.outgoing && planted!(KilledSourceDeparts),
            _ => false,
        };
        self.one_kernel == Some(true) || drained
    }
}
