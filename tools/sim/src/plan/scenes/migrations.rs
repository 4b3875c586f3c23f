//! The scene of migrations: domains move between hosts, again and again, and whatever may fail fails in just those seconds.

use leasefence_core::fencing::StorageKind;

use super::{Scene, UP};
use crate::plan::draw::pick;
use crate::plan::{Direction, FaultKind, HostIndex, Move, Operator, Sector};
use crate::time::{MS, S};

/// How long it goes on.
const LONG: u64 = 80 * S;

impl Scene<'_> {
    /// Few domains, each asked to move every few seconds; beside each move one or two faults of its source or destination, or a user
    /// who starts it in its place. All run in the end.
    pub(super) fn migrations(&mut self) {
        self.quick();
        (self.plan.hook, self.plan.heals_within) = (true, 90 * S);
        if self.rng.bool() {
            self.plan.cluster.storages = vec![(StorageKind::Nfs, S)];
            self.plan.domains.iter_mut().for_each(|domain| domain.storages = [Some(0), None]);
        }
        self.plan.domains.truncate(2);
        let hosts = self.plan.hosts.len();
        for (index, domain) in self.plan.domains.iter_mut().enumerate() {
            (domain.host, domain.starts_at, domain.ha) = (index % hosts, UP, true);
        }
        self.plan.hosts.iter_mut().for_each(|host| host.memory_mib = 100_000);
        for domain in 0..self.plan.domains.len() {
            let mut at = UP + self.between(4 * S, 12 * S);
            while at < UP + LONG {
                self.moves(at, domain);
                at += self.between(3 * S, 25 * S);
            }
        }
        self.plan.mended_at = UP + LONG + 20 * S;
    }

    fn moves(&mut self, at: u64, domain: usize) {
        let hosts = self.plan.hosts.len();
        let how = Move::draw(&mut self.rng);
        let first = self.rng.usize(..hosts);
        // Whoever asks does not know where it runs just now: of two hosts one is another.
        for apart in 0..2 {
            let to = (first + apart) % hosts;
            let at = self.between(at, at + 50 * MS);
            self.at(at, to, FaultKind::Operator(Operator::Migrate { domain, how }));
        }
        if self.rng.u8(..3) == 0 {
            let later = self.between(0, 600 * MS);
            for host in 0..hosts {
                self.at(at + later, host, FaultKind::Operator(Operator::StartHere { domain }));
            }
        }
        for _ in 0..self.rng.u8(..3) {
            let host = self.rng.usize(..hosts);
            let within = pick(&mut self.rng, [S, how.copies + S, how.copies + how.hands_over + S]);
            let later = self.rng.u64(..within);
            let kind = self.beside_a_move(host, domain);
            self.at(at + later, host, kind);
        }
    }

    fn beside_a_move(&mut self, host: HostIndex, domain: usize) -> FaultKind {
        let longest = pick(&mut self.rng, [S, 6 * S, 25 * S]);
        let lasts = self.between(10 * MS, longest);
        let of = (host + 1) % self.plan.hosts.len();
        match self.rng.u8(..16) {
            0..=2 => FaultKind::PowerLoss { back_after: lasts },
            3 => FaultKind::Operator(Operator::Fence { of }),
            4 => FaultKind::AgentPaused { lasts, before_command: self.rng.u8(..20) },
            5 | 6 => FaultKind::AgentCrash { back_after: lasts },
            7 => FaultKind::LibvirtHung { lasts },
            8 => FaultKind::GuestCrash { domain },
            9 => FaultKind::Operator(Operator::Stop { domain }),
            10 => FaultKind::LandsLate { writes: 1 + self.rng.u8(..3), after: self.rng.u64(..10 * S) },
            11 => FaultKind::SlowWrite {
                sector: Sector::LeasePage,
                takes: lasts.min(8 * S),
                fails: self.rng.bool(),
            },
            12 => FaultKind::DataCut { lasts },
            13 => FaultKind::Operator(if self.rng.bool() { Operator::Disarm } else { Operator::Arm }),
            _ => {
                let direction =
                    pick(&mut self.rng, [Direction::Requests, Direction::Answers, Direction::Both]);
                FaultKind::Cut { direction, lasts, times_out: None }
            }
        }
    }
}
