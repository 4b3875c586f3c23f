//! Scenes of slots: all boot at once, there are too few of them, and one is freed while another machine waits for it.

use std::time::Duration;

use super::{Scene, UP, VICTIM};
use crate::plan::draw::pick;
use crate::plan::{FaultKind, Operator, Sector};
use crate::time::{MS, S};

impl Scene<'_> {
    pub(super) fn boots(&mut self) {
        let hosts = self.plan.hosts.len();
        let slots = hosts - 1 - self.rng.usize(..hosts.min(3) - 1);
        self.plan.cluster.max_hosts = u16::try_from(slots.max(2)).unwrap_or(2);
        self.plan.cluster.pages = 1;
        for index in 0..hosts {
            let boots_at = self.between(0, 800 * MS);
            let latency = pick(&mut self.rng, [MS, 200 * MS, 600 * MS, 950 * MS]);
            let host = &mut self.plan.hosts[index];
            (host.boots_at, host.latency) = (boots_at, latency);
            host.terms.lease_ttl = host.terms.lease_ttl.max(Duration::from_secs(20));
        }
        for _ in 0..2 * hosts {
            let (at, host) = (self.between(0, 18 * S), self.rng.usize(..hosts));
            let lasts = self.between(S, 12 * S);
            let kind = match self.rng.u8(..8) {
                0..=2 => {
                    let before_command = 1 + self.rng.u8(..30);
                    FaultKind::AgentPaused { lasts, before_command }
                }
                3 => FaultKind::LandsLate { writes: 1 + self.rng.u8(..2), after: lasts },
                4 => FaultKind::AckLost { writes: 1 },
                5 => FaultKind::AgentCrash { back_after: lasts / 4 },
                6 => FaultKind::Slow { latency: 2 * S, lasts },
                _ => FaultKind::Cut { direction: self.direction(), lasts: 3 * lasts, times_out: None },
            };
            self.at(at, host, kind);
        }
        self.plan.mended_at = 45 * S;
        if self.rng.bool() {
            self.freed_slots();
        }
    }

    /// Hosts that are off lose their slots; others claim them meanwhile.
    fn freed_slots(&mut self) {
        let hosts = self.plan.hosts.len();
        let of = self.rng.usize(..hosts);
        self.at(30 * S, of, FaultKind::PowerLoss { back_after: self.plan.mended_at + 30 * S });
        let mut at = 38 * S;
        for host in (0..hosts).filter(|host| *host != of) {
            self.at(at, host, FaultKind::Operator(Operator::Confirm { of }));
            at += 100 * MS;
        }
        for _ in 0..20 {
            let (host, kind) = (self.rng.usize(..hosts), self.rng.u8(..4));
            at += self.rng.u64(..4 * S);
            if kind == 0 {
                let lasts = self.between(2 * S, 12 * S);
                let before_command = 1 + self.rng.u8(..20);
                self.at(at, host, FaultKind::AgentPaused { lasts, before_command });
            } else {
                self.at(at, host, FaultKind::Operator(Operator::SlotFree { of }));
            }
        }
        self.plan.mended_at = at + 20 * S;
    }

    /// All slots are taken; a host is off for good, and its slot is freed more than once by those who are there. The last
    /// machine is switched on about then, and claims what it finds free.
    pub(super) fn frees(&mut self) {
        self.quick();
        let hosts = self.plan.hosts.len();
        self.plan.cluster.max_hosts = u16::try_from(hosts - 1).unwrap_or(2).max(2);
        let last = hosts - 1;
        self.at(UP, VICTIM, FaultKind::PowerLoss { back_after: 300 * S });
        let confirmed = UP + self.between(6 * S, 9 * S);
        for host in 1..last {
            self.at(confirmed, host, FaultKind::Operator(Operator::Confirm { of: VICTIM }));
        }
        let free = FaultKind::Operator(Operator::SlotFree { of: VICTIM });
        let freed = confirmed + self.between(S, 2 * S);
        self.at(freed, 1, free);
        self.plan.hosts[last].boots_at = freed + self.between(0, 3 * S);
        for _ in 0..=self.rng.u8(..4) {
            let (again, host) = (freed + self.between(S, 10 * S), self.rng.usize(1..last.max(2)));
            self.at(again, host, free);
        }
        if self.rng.bool() {
            let takes = self.between(100 * MS, 1_500 * MS);
            self.at(confirmed, last, FaultKind::SlowWrite { sector: Sector::Claim, takes, fails: false });
        }
        self.plan.mended_at = freed + 20 * S;
    }
}
