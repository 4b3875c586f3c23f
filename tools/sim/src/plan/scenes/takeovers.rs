//! Scenes of a dead host's domains: many of them, and several hosts that want them.

use std::time::Duration;

use leasefence_core::fencing::StorageKind;
use leasefence_core::terms::Terms;

use super::{Scene, UP, VICTIM, fast};
use crate::plan::draw::pick;
use crate::plan::{Damage, FaultKind, Operator, Sector};
use crate::time::{MS, S};

impl Scene<'_> {
    /// A host with many domains dies, their images stay locked for a while, some starts fail: all run in the end.
    pub(super) fn losses(&mut self) {
        self.quick();
        self.plan.heals_within = 60 * S;
        let some = self.plan.domains[0];
        while self.plan.domains.len() < 12 {
            self.plan.domains.push(some);
        }
        self.all_on_victim();
        self.plan.hosts.iter_mut().for_each(|host| host.memory_mib = 100_000);
        let at = self.between(UP + S, UP + 4 * S);
        self.at(at, VICTIM, FaultKind::PowerLoss { back_after: 600 * S });
        match self.rng.u8(..3) {
            0 => {
                let lasts = self.between(30 * S, 70 * S);
                self.at(at, VICTIM, FaultKind::ImageLocked { lasts });
            }
            1 => {
                for host in 1..self.plan.hosts.len() {
                    self.at(at, host, FaultKind::StartsFail { starts: 1 });
                }
            }
            _ => {}
        }
        self.plan.mended_at = at + 100 * S;
    }

    /// A host is lost, or fenced, whose domains have disks on two storages; one of them stands still with the last writes of
    /// that host, for as long as a barrier is waited for or less.
    pub(super) fn drains(&mut self) {
        self.quick();
        self.plan.cluster.storages = vec![(StorageKind::Nfs, S), (StorageKind::Nfs, S)];
        for host in &mut self.plan.hosts {
            host.memory_mib = 100_000;
            host.terms = Terms { lease_ttl: Duration::from_secs(12), ..fast(host.watchdog) };
        }
        for domain in &mut self.plan.domains {
            (domain.host, domain.ha, domain.starts_at) = (VICTIM, true, 0);
            domain.storages = [Some(0), Some(1)];
            if self.rng.u8(..3) == 0 {
                domain.storages = [Some(1), Some(0)];
            }
        }
        let at = self.between(UP + 2 * S, UP + 7 * S);
        let (storage, lasts) = (self.rng.usize(..2), self.between(5 * S, 60 * S));
        let stalls = at - self.between(0, 2 * S);
        self.at(stalls, 1, FaultKind::DataStall { storage, lasts });
        match self.rng.u8(..3) {
            0 => self.at(at, 1, FaultKind::Operator(Operator::Fence { of: VICTIM })),
            _ => self.at(at, VICTIM, FaultKind::PowerLoss { back_after: 300 * S }),
        }
        self.plan.mended_at = at + 60 * S;
    }

    pub(super) fn races(&mut self) {
        let hosts = self.plan.hosts.len();
        self.plan.cluster.rank_delay = 0;
        self.plan.cluster.pages = 1;
        let slow = pick(&mut self.rng, [20 * MS, 300 * MS, 700 * MS]);
        for (index, host) in self.plan.hosts.iter_mut().enumerate() {
            host.latency = if index % 2 == 0 { slow } else { slow / 8 };
            host.memory_mib = 100_000;
            host.terms = Terms { lease_ttl: Duration::from_secs(12), ..fast(host.watchdog) };
        }
        self.all_on_victim();
        let at = self.between(UP + 2 * S, UP + 7 * S);
        let back_after = if self.rng.bool() { S } else { 300 * S };
        self.at(at, VICTIM, FaultKind::PowerLoss { back_after });
        let dead = at + 8 * S;
        match self.rng.u8(..7) {
            0 | 4 => {
                // A start hangs in libvirt, and its host is fenced.
                let host = self.rng.usize(1..hosts);
                let (lasts, later) = (40 * S, self.between(S, 8 * S));
                let hangs = dead + self.between(6 * S, 9 * S);
                self.at(hangs, host, FaultKind::LibvirtHung { lasts });
                let by = if host == 1 { 2 } else { 1 };
                self.at(hangs + later, by % hosts, FaultKind::Operator(Operator::Fence { of: host }));
            }
            1 => {
                let storages = self.plan.cluster.storages.iter_mut();
                storages.for_each(|storage| storage.0 = StorageKind::Nfs);
                for storage in 0..self.plan.cluster.storages.len() {
                    self.at(at - S, 1, FaultKind::DataStall { storage, lasts: 50 * S });
                }
            }
            5 => {
                // Libvirt closes its books on guests that the kernel still keeps.
                self.at(at - 1_500 * MS, VICTIM, FaultKind::Unkillable { lasts: 20 * S });
                for domain in 0..self.plan.domains.len() {
                    self.at(at - S, VICTIM, FaultKind::GuestCrash { domain });
                }
            }
            2 => {
                self.quick();
                let host = if self.rng.bool() { VICTIM } else { hosts - 1 };
                if host != VICTIM {
                    self.at(at + S, host, FaultKind::AgentPaused { lasts: 25 * S, before_command: 0 });
                }
                self.at(at + 2 * S, host, FaultKind::BothDamaged { sector: Sector::LeasePage });
            }
            _ => {}
        }
        for domain in 0..self.plan.domains.len() {
            let later = at + self.between(10 * S, 40 * S);
            self.at(later, VICTIM, FaultKind::Operator(Operator::Snapshot { domain }));
        }
        for _ in 0..12 {
            let (at, host) = (dead + self.between(0, 40 * S), self.rng.usize(1..hosts));
            let kind = match self.rng.u8(..10) {
                0 | 1 => FaultKind::LandsLate { writes: 1 + self.rng.u8(..3), after: self.rng.u64(..10 * S) },
                8 | 9 => FaultKind::Operator(Operator::Fence { of: self.rng.usize(1..hosts) }),
                2 => FaultKind::AckLost { writes: 1 + self.rng.u8(..3) },
                3 | 4 => {
                    let lasts = self.between(S, 20 * S);
                    FaultKind::AgentPaused { lasts, before_command: 1 + self.rng.u8(..20) }
                }
                5 => FaultKind::StartsFail { starts: 1 },
                6 => FaultKind::PowerLoss { back_after: self.between(S, 30 * S) },
                _ => FaultKind::Damaged { sector: Sector::LeasePage, how: Damage::Corrupt },
            };
            self.at(at, host, kind);
        }
        self.plan.mended_at = at + 75 * S;
    }
}
