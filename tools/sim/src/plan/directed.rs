//! Faults that belong together: chance alone seldom makes a second one strike in the second that matters. Each part is an
//! ordinary fault with a number of its own, so that the shrinker can take it out.

use leasefence_core::fencing::StorageKind;

use super::draw::pick;
use super::faults::Drawing;
use super::{Direction, Fault, FaultKind, HostIndex, Operator};
use crate::time::{MS, S, nanos};

impl Drawing<'_> {
    /// A host dies with its guests, and what matters happens to another while that one takes over.
    pub(super) fn takeover(&mut self, at: u64, host: HostIndex, faults: &mut Vec<Fault>) {
        self.before_a_death(at, host, faults);
        faults.push(Fault { at, host, kind: self.death() });
        let verdict = at + nanos(self.plan.hosts[host].terms.verdict_after());
        for _ in 0..=self.rng.u8(..4) {
            // Most lies between the verdict and the start.
            let at = verdict.saturating_sub(S) + self.rng.u64(..5 * S);
            let other = self.other(host);
            let kind = self.while_taking_over();
            faults.push(Fault { at, host: other, kind });
        }
    }

    /// Machines that come, go and come back while others look for slots.
    pub(super) fn join(&mut self, at: u64, host: HostIndex, faults: &mut Vec<Fault>) {
        let back_after = pick(&mut self.rng, [S, 10 * S, 40 * S]) + self.rng.u64(..5 * S);
        faults.push(Fault { at, host, kind: FaultKind::PowerLoss { back_after } });
        for _ in 0..self.rng.u8(..3) {
            let asked = self.other(host);
            let operator =
                pick(&mut self.rng, [Operator::SlotFree { of: host }, Operator::Confirm { of: host }]);
            faults.push(Fault {
                at: at + self.rng.u64(..back_after),
                host: asked,
                kind: FaultKind::Operator(operator),
            });
        }
        for _ in 0..self.rng.u8(..3) {
            let at = at + back_after + self.rng.u64(..6 * S);
            let kind = self.while_joining();
            faults.push(Fault { at, host, kind });
        }
    }

    fn other(&mut self, host: HostIndex) -> HostIndex {
        let count = self.plan.hosts.len();
        (host + 1 + self.rng.usize(..count - 1)) % count
    }

    /// What leaves writes of its guests, or their description, on the way.
    fn before_a_death(&mut self, at: u64, host: HostIndex, faults: &mut Vec<Fault>) {
        let lasts = self.duration();
        let before = at - self.rng.u64(..2 * S);
        let kind = match self.rng.u8(..6) {
            0 => FaultKind::DataCut { lasts },
            1 => match self.plan.cluster.storages.iter().position(|(kind, _)| *kind == StorageKind::Nfs) {
                Some(storage) => FaultKind::DataStall { storage, lasts },
                None => return,
            },
            2 => FaultKind::Operator(Operator::Snapshot { domain: self.domain() }),
            3 if self.has_watchdog(host) => FaultKind::Unkillable { lasts },
            _ => return,
        };
        faults.push(Fault { at: before, host, kind });
    }

    fn death(&mut self) -> FaultKind {
        let lasts = self.duration() + 10 * S;
        match self.rng.u8(..6) {
            0 | 1 => FaultKind::PowerLoss { back_after: lasts },
            2 => FaultKind::AgentPaused { lasts, before_command: self.rng.u8(..3) },
            _ => FaultKind::Cut { direction: self.direction(), lasts, times_out: None },
        }
    }

    fn while_taking_over(&mut self) -> FaultKind {
        let short = self.short();
        let writes = 1 + self.rng.u8(..3);
        match self.rng.u8(..10) {
            0 | 1 => FaultKind::AgentPaused { lasts: short, before_command: self.rng.u8(..12) },
            2 => FaultKind::AgentPaused { lasts: self.duration(), before_command: self.rng.u8(..12) },
            3 => FaultKind::AgentCrash { back_after: short },
            4 => FaultKind::LandsLate { writes, after: self.rng.u64(..6 * S) },
            5 => FaultKind::AckLost { writes },
            6 => FaultKind::Cut { direction: self.direction(), lasts: self.duration(), times_out: None },
            7 => FaultKind::StartsFail { starts: 1 + self.rng.u8(..2) },
            8 => FaultKind::ReadsLate { reads: 1, after: self.rng.u64(..10 * S) },
            _ => FaultKind::GuestCrash { domain: self.domain() },
        }
    }

    fn while_joining(&mut self) -> FaultKind {
        let short = self.short();
        match self.rng.u8(..5) {
            0 => FaultKind::AgentPaused { lasts: short, before_command: self.rng.u8(..6) },
            1 => FaultKind::LandsLate { writes: 1 + self.rng.u8(..2), after: self.rng.u64(..12 * S) },
            2 => FaultKind::AckLost { writes: 1 },
            3 => {
                FaultKind::Cut { direction: Direction::Requests, lasts: 500 * MS + short, times_out: Some(S) }
            }
            _ => FaultKind::AgentCrash { back_after: short },
        }
    }
}
