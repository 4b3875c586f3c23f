//! Scenes of leases that end before their time: planned fences, maintenance, files and records that are not what they were.

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::{Policy, WatchdogClass};

use super::{Scene, UP, VICTIM, fast};
use crate::plan::{Direction, FaultKind, Operator, Reset};
use crate::time::{MS, S};

impl Scene<'_> {
    pub(super) fn fences(&mut self) {
        self.quick();
        if self.rng.u8(..4) == 0 {
            return self.disarms();
        }
        let (hosts, at) = (self.plan.hosts.len(), self.between(UP + S, UP + 5 * S));
        let victim = &mut self.plan.hosts[VICTIM];
        (victim.watchdog, victim.terms) = (WatchdogClass::Hardware, fast(WatchdogClass::Hardware));
        let domain = self.rng.usize(..self.plan.domains.len());
        self.plan.domains[domain].host = VICTIM;
        let lasts = 60 * S;
        let before = at - self.between(100 * MS, 2 * S);
        match self.rng.u8(..6) {
            0 | 1 => self.at(before, VICTIM, FaultKind::Unkillable { lasts }),
            2 => {
                let lasts = self.between(S, 9 * S);
                self.at(before, VICTIM, FaultKind::FencerPaused { lasts });
            }
            3 | 4 => {
                let storages = self.plan.cluster.storages.iter_mut();
                storages.for_each(|storage| *storage = (StorageKind::Nfs, S));
                self.at(before, VICTIM, FaultKind::DataCut { lasts });
            }
            _ => {}
        }
        match self.rng.u8(..4) {
            0 => {
                // Asked by a host that dies of it, and read by the victim only then.
                let lasts = self.between(2 * S, 5 * S);
                self.at(at - 500 * MS, VICTIM, FaultKind::AgentPaused { lasts, before_command: 0 });
                self.at(at, 1, FaultKind::Operator(Operator::Fence { of: VICTIM }));
                let dies = at + self.between(300 * MS, S);
                self.at(dies, 1, FaultKind::PowerLoss { back_after: lasts + 60 * S });
            }
            1 => {
                let scans_late = self.between(300 * MS, S);
                for host in 1..hosts {
                    self.at(at - 5 * S, host, FaultKind::Slow { latency: scans_late, lasts: 30 * S });
                }
                self.at(at, 1, FaultKind::Operator(Operator::Fence { of: VICTIM }));
            }
            _ => self.at(at, 1, FaultKind::Operator(Operator::Fence { of: VICTIM })),
        }
        if self.rng.u8(..3) == 0 {
            let mad = at + self.between(200 * MS, 3 * S);
            self.at(mad, VICTIM, FaultKind::MadAgentGoesOn);
        }
        self.plan.mended_at = at + 25 * S;
    }

    /// Maintenance is asked for while writes are late or paths slow; later the fencer dies, and is started again.
    fn disarms(&mut self) {
        let at = self.between(UP + S, UP + 5 * S);
        let before = at - self.between(0, 3 * S);
        self.plan.domains.iter_mut().for_each(|domain| domain.host = VICTIM);
        match self.rng.u8(..4) {
            0 => {
                let (writes, after) = (1 + self.rng.u8(..3), self.between(2 * S, 12 * S));
                self.at(before, VICTIM, FaultKind::LandsLate { writes, after });
            }
            2 => self.at(before, VICTIM, FaultKind::Slow { latency: S, lasts: 30 * S }),
            _ => {}
        }
        self.at(at, VICTIM, FaultKind::Operator(Operator::Disarm));
        let dies = at + self.between(5 * S, 35 * S);
        self.at(dies, VICTIM, FaultKind::FencerCrash { back_after: S, page_kept: true });
        self.plan.mended_at = at + 50 * S;
    }

    pub(super) fn files(&mut self) {
        self.quick();
        let at = self.between(UP, UP + 4 * S);
        let lasts = 60 * S;
        match self.rng.u8(..4) {
            0 => self.at(at, VICTIM, FaultKind::MadeAnew { lasts }),
            1 => {
                self.plan.cluster.observer = true;
                self.at(at, VICTIM, FaultKind::DeadPicture);
            }
            2 => {
                // An operator speaks of a host that is only cut off.
                for host in &mut self.plan.hosts {
                    host.terms = fast(host.watchdog);
                }
                self.plan.domains.iter_mut().for_each(|domain| (domain.host, domain.ha) = (VICTIM, false));
                let cut = FaultKind::Cut { direction: Direction::Both, lasts: 6_500 * MS, times_out: None };
                self.at(at, VICTIM, cut);
                self.at(at + 5_800 * MS, 1, FaultKind::Operator(Operator::Mistake { of: VICTIM }));
            }
            _ => {
                let cut = FaultKind::Cut { direction: Direction::Both, lasts, times_out: None };
                self.at(at, VICTIM, cut);
                let later = at + self.between(100 * MS, 3 * S);
                self.at(later, VICTIM, FaultKind::ForeignRecord);
            }
        }
        self.plan.mended_at = at + 24 * S;
    }

    /// A lease ends on a host whose guests cannot be killed, or wait for a storage that is cut off. No watchdog resets it: it does that
    /// itself, or its trigger cannot be opened, its record says so, and nobody may call it expired.
    pub(super) fn resets(&mut self) {
        self.edge();
        self.plan.cluster.policy = Policy::ACCEPT_NONE.with(Policy::ACCEPT_SOFT).with(Policy::ACCEPT_VIRTUAL);
        self.plan.cluster.storages = vec![(StorageKind::Nfs, S)];
        let at = self.between(UP + S, UP + 5 * S);
        let lasts = 60 * S;
        for host in 0..self.plan.hosts.len() {
            let reset = if self.rng.u8(..4) == 0 { Reset::Refused } else { Reset::On };
            let this = &mut self.plan.hosts[host];
            (this.watchdog, this.reset, this.reset_takes) = (WatchdogClass::None, reset, 500 * MS);
            this.terms = fast(WatchdogClass::None);
        }
        for domain in &mut self.plan.domains {
            (domain.host, domain.starts_at, domain.storages) = (VICTIM, 0, [Some(0), None]);
        }
        let before = at - self.between(100 * MS, 2 * S);
        let stays = match self.rng.u8(..4) {
            0 => FaultKind::DataCut { lasts },
            _ => FaultKind::Unkillable { lasts },
        };
        self.at(before, VICTIM, stays);
        let ends = match self.rng.u8(..4) {
            0 => FaultKind::AgentPaused { lasts, before_command: 0 },
            1 => FaultKind::StopsWhenSeen { within: 50 * MS },
            2 => return self.resets_when_asked(at),
            _ => FaultKind::Cut { direction: self.direction(), lasts, times_out: None },
        };
        self.at(at, VICTIM, ends);
        self.plan.mended_at = at + 25 * S;
    }

    fn resets_when_asked(&mut self, at: u64) {
        self.at(at, 1, FaultKind::Operator(Operator::Fence { of: VICTIM }));
        self.plan.mended_at = at + 20 * S;
    }

    /// Agents die in the middle of a write of their half of the page, here and there while a domain is about to be started;
    /// sometimes what they wrote is struck by something else. Then a lease ends.
    pub(super) fn tears(&mut self) {
        self.quick();
        self.plan.hook = self.rng.bool();
        for host in &mut self.plan.hosts {
            host.memory_mib = 100_000;
        }
        let hosts = self.plan.hosts.len();
        let mut at = UP;
        for _ in 0..4 {
            at += self.between(S, 5 * S);
            let host = self.rng.usize(..hosts);
            let domain = self.rng.usize(..self.plan.domains.len());
            if self.rng.bool() {
                self.at(at, host, FaultKind::Operator(Operator::Stop { domain }));
                let start = FaultKind::Operator(Operator::StartHere { domain });
                let soon = at + self.between(500 * MS, 3 * S);
                self.at(soon, host, start);
                at = soon + self.between(0, 500 * MS);
            }
            if self.rng.u8(..5) == 0 {
                self.at(at, host, FaultKind::PageStruck);
            }
            let (words, back_after) = (self.rng.u8(..60), self.between(50 * MS, 3 * S));
            self.at(at, host, FaultKind::DiesWritingPage { words, back_after });
        }
        let (cut, direction, lasts) = (at + self.between(0, 3 * S), self.direction(), 60 * S);
        self.at(cut, VICTIM, FaultKind::Cut { direction, lasts, times_out: None });
        self.plan.mended_at = at + 30 * S;
    }

    /// A user starts a domain on storage of its own while the agent is stopped; the way to that storage is cut, and the lease
    /// ends before the agent goes on.
    pub(super) fn strangers(&mut self) {
        self.quick();
        self.plan.cluster.storages = vec![(StorageKind::OneKernel, S), (StorageKind::Nfs, S)];
        let victim = &mut self.plan.hosts[VICTIM];
        (victim.watchdog, victim.terms) = (WatchdogClass::Hardware, fast(WatchdogClass::Hardware));
        let at = self.between(UP + S, UP + 5 * S);
        let stranger = self.rng.usize(..self.plan.domains.len());
        for (index, domain) in self.plan.domains.iter_mut().enumerate() {
            (domain.host, domain.starts_at, domain.storages) = (VICTIM, 0, [Some(0), None]);
            if index == stranger {
                domain.storages = [Some(1), None];
            }
        }
        self.plan.domains[stranger].starts_at = at + self.between(500 * MS, 5 * S);
        let (cut, lasts) = (at - self.between(0, 3 * S), self.between(8 * S, 14 * S));
        self.at(cut, VICTIM, FaultKind::DataCut { lasts: 60 * S });
        self.at(at, VICTIM, FaultKind::AgentPaused { lasts, before_command: 0 });
        self.plan.mended_at = at + 30 * S;
    }
}
