//! The scene of maintenance of the whole cluster: asked for on one host, followed by the others, and what may come between.

use leasefence_core::member::ClusterAsk;

use super::{Scene, UP};
use crate::plan::{FaultKind, HostIndex, Operator};
use crate::time::{MS, S};

const ROUNDS: u64 = 6;

impl Scene<'_> {
    /// All are asked again and again, each time by some host and with something that goes wrong.
    pub(super) fn maintenance(&mut self) {
        self.quick();
        let mut at = self.between(UP, UP + 5 * S);
        for round in 0..ROUNDS {
            let ask = if round % 2 == 0 { ClusterAsk::Disarm } else { ClusterAsk::Arm };
            self.whole_cluster(at, ask);
            at += self.between(15 * S, 45 * S);
        }
        self.plan.mended_at = at;
    }

    fn whole_cluster(&mut self, at: u64, ask: ClusterAsk) {
        let hosts = self.plan.hosts.len();
        let asker: HostIndex = self.rng.usize(..hosts);
        let other = (asker + 1 + self.rng.usize(..hosts - 1)) % hosts;
        let third = (0..hosts).find(|host| ![asker, other].contains(host)).unwrap_or(other);
        self.at(at, asker, FaultKind::Operator(Operator::Cluster(ask)));
        if self.rng.bool() {
            // With a write unknown it cannot follow yet: the request stays open.
            let before = at - self.between(0, 2 * S);
            self.at(before, third, FaultKind::LandsLate { writes: 2, after: 12 * S });
        }
        let (opposite, soon) = match ask {
            ClusterAsk::Disarm => (Operator::Arm, self.between(50 * MS, 900 * MS)),
            ClusterAsk::Arm => (Operator::Disarm, self.between(50 * MS, 900 * MS)),
        };
        let (later, back_after) = (self.between(S, 20 * S), self.between(50 * MS, 2 * S));
        match self.rng.u8(..6) {
            0 | 1 => self.at(at + soon, asker, FaultKind::Operator(opposite)),
            2 => {
                self.at(at + soon, asker, FaultKind::PowerLoss { back_after: 30 * S });
                self.at(at + later, other, FaultKind::AgentCrash { back_after });
            }
            3 => self.at(at + soon, other, FaultKind::AgentCrash { back_after }),
            4 => {
                self.at(at + later, other, FaultKind::Operator(opposite));
                self.at(at + later + 2 * S, other, FaultKind::AgentCrash { back_after });
            }
            _ => {}
        }
    }
}
