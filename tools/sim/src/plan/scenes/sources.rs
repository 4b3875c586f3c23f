//! The scene of sources: libvirt resumes them beside their destinations, their agents kill them, and nothing shows them quiet.

use leasefence_core::fencing::StorageKind;

use super::{Scene, UP};
use crate::plan::draw::pick;
use crate::plan::{FaultKind, HostIndex, Move, MoveEnd, Operator};
use crate::time::{MS, S};

/// Longer than the agents' `unknown_hold`: from here on a domain may run again where no barrier can be written.
const HOLD: u64 = 25 * S;
/// How long it goes on.
const LONG: u64 = 60 * S;

impl Scene<'_> {
    /// Each domain moves once, and its source ends badly. All run in the end.
    pub(super) fn sources(&mut self) {
        self.quick();
        (self.plan.hook, self.plan.heals_within) = (true, 90 * S);
        self.plan.cluster.storages = vec![(StorageKind::Nfs, S)];
        self.plan.domains.truncate(3);
        let hosts = self.plan.hosts.len();
        for (index, domain) in self.plan.domains.iter_mut().enumerate() {
            (domain.host, domain.starts_at, domain.ha) = (index % hosts, UP, true);
            domain.storages = [Some(0), None];
        }
        self.plan.hosts.iter_mut().for_each(|host| host.memory_mib = 100_000);
        // Not both on one host: where no barrier can be written, what waits for longer than `unknown_hold` is taken for landed
        // (ARCHITECTURE 6), and a path that is cut keeps it for longer.
        let refuses: Vec<bool> = (0..hosts).map(|_| self.rng.bool()).collect();
        for domain in 0..self.plan.domains.len() {
            let (from, apart) = (domain % hosts, self.rng.usize(1..hosts));
            let at = UP + self.between(4 * S, 8 * S);
            let end = pick(
                &mut self.rng,
                [MoveEnd::ReplyLost, MoveEnd::ReplyLost, MoveEnd::RunsLate, MoveEnd::LeftPaused],
            );
            let copies = self.between(MS, 200 * MS);
            let hands_over = self.between(MS, 300 * MS);
            let how = Move { copies, hands_over, end };
            self.at(at, (from + apart) % hosts, FaultKind::Operator(Operator::Migrate { domain, how }));
            if refuses[from] {
                self.is_refused(at, from, domain);
            } else {
                self.is_cut_off(at, from, domain);
            }
        }
        self.plan.mended_at = UP + LONG + 20 * S;
    }

    /// No barrier of it can be written there, for a while or for good, and users start it there again and again.
    fn is_refused(&mut self, at: u64, from: HostIndex, domain: usize) {
        let lasts = pick(&mut self.rng, [5 * S, 300 * S, 300 * S]);
        self.at(at, from, FaultKind::BarriersRefused { domain, lasts });
        if self.rng.u8(..4) == 0 {
            let (later, back_after) = (self.between(S, 10 * S), self.between(MS, S));
            self.at(at + later, from, FaultKind::AgentCrash { back_after });
        }
        if self.rng.u8(..4) == 0 {
            let later = self.between(S, HOLD + 10 * S);
            self.at(at + later, from, FaultKind::GuestCrash { domain });
        }
        let mut later = self.between(S, HOLD);
        while later < HOLD + 12 * S {
            self.at(at + later, from, FaultKind::Operator(Operator::StartHere { domain }));
            later += self.between(S, 8 * S);
        }
    }

    /// The way to its storage is cut about when its source is killed; the agent is started again, and its guest crashes elsewhere.
    fn is_cut_off(&mut self, at: u64, from: HostIndex, domain: usize) {
        let cut = at + self.between(500 * MS, 3 * S);
        let lasts = self.between(20 * S, 40 * S);
        self.at(cut, from, FaultKind::DataCut { lasts });
        let (restarts, back_after) = (cut + self.between(MS, 5 * S), self.between(MS, S));
        self.at(restarts, from, FaultKind::AgentCrash { back_after });
        let crashes = restarts + self.between(S, 10 * S);
        self.at(crashes, from, FaultKind::GuestCrash { domain });
    }
}
