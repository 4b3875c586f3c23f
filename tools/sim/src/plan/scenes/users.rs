//! The scene of users: they start domains on whichever hosts they like, and libvirt's hook asks about each start.

use leasefence_core::fencing::StorageKind;

use super::{Scene, UP};
use crate::plan::draw::pick;
use crate::plan::{Direction, FaultKind, Operator};
use crate::time::{MS, S};

/// How long users are at it.
const LONG: u64 = 60 * S;

impl Scene<'_> {
    /// Domains are started on two hosts at nearly one moment, stopped and started again, while what may happen to hosts happens.
    pub(super) fn users(&mut self) {
        self.quick();
        self.plan.hook = true;
        if self.rng.bool() {
            self.plan.cluster.storages = vec![(StorageKind::Nfs, S)];
            for domain in &mut self.plan.domains {
                domain.storages = [Some(0), None];
            }
        }
        let hosts = self.plan.hosts.len();
        for (index, domain) in self.plan.domains.iter_mut().enumerate() {
            (domain.host, domain.starts_at) = (index % hosts, UP);
        }
        for host in &mut self.plan.hosts {
            host.memory_mib = 100_000;
        }
        for domain in 0..self.plan.domains.len() {
            let mut at = self.between(UP + 3 * S, UP + 8 * S);
            while at < UP + LONG {
                let running = self.rng.usize(..hosts);
                self.at(at, running, FaultKind::Operator(Operator::Stop { domain }));
                for _ in 0..3 {
                    at += self.between(100 * MS, 4 * S);
                    for _ in 0..2 {
                        let host = self.rng.usize(..hosts);
                        let apart = self.between(0, 300 * MS);
                        let start = Operator::StartHere { domain };
                        self.at(at + apart, host, FaultKind::Operator(start));
                    }
                }
                at += self.between(4 * S, 12 * S);
            }
        }
        for _ in 0..6 {
            let (at, host) = (self.between(UP, UP + LONG), self.rng.usize(..hosts));
            let lasts = self.between(S, 15 * S);
            let of = (host + 1) % hosts;
            let domain = self.rng.usize(..self.plan.domains.len());
            let kind = match self.rng.u8(..9) {
                0 => FaultKind::Operator(Operator::Fence { of }),
                1 => FaultKind::AgentPaused { lasts, before_command: self.rng.u8(..20) },
                2 => FaultKind::AgentCrash { back_after: lasts / 4 },
                3 => FaultKind::PowerLoss { back_after: lasts },
                4 => FaultKind::StartHangs { lasts },
                5 => FaultKind::StartsFail { starts: 2 },
                6 => FaultKind::GuestCrash { domain },
                7 => FaultKind::DataCut { lasts },
                _ => {
                    let direction = pick(&mut self.rng, [Direction::Requests, Direction::Answers]);
                    FaultKind::Cut { direction, lasts, times_out: None }
                }
            };
            self.at(at, host, kind);
        }
        self.plan.mended_at = UP + LONG + 20 * S;
    }
}
