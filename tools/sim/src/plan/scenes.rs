//! Scenes: short plans that lead straight to the moment at which a rule of timing, of slots or of fencing decides. The
//! mixes would come there too, after many thousand seeds. A scene draws the times around that moment, never what must be.

mod frees;
mod late_writes;
mod leases;

use std::time::Duration;

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::Terms;

use super::draw::pick;
use super::{Class, Damage, Direction, Fault, FaultKind, HostIndex, Operator, Plan, Sector};
use crate::time::{MS, S};

/// All hosts hold their leases by then.
const UP: u64 = 8 * S;
/// The host that it is about, where that is one.
const VICTIM: HostIndex = 0;

/// A scene being set.
pub(super) struct Scene<'a> {
    pub(super) rng: fastrand::Rng,
    pub(super) plan: &'a mut Plan,
}

impl Scene<'_> {
    /// Makes the drawn plan one of the scene's.
    pub(super) fn set(mut self, class: Class) {
        self.plan.heals_within = S;
        // The least drain of all terms in these scenes.
        self.plan.cluster.storages.iter_mut().for_each(|storage| storage.1 = storage.1.min(S));
        for host in &mut self.plan.hosts {
            (host.boots_at, host.boot_takes) = (host.boots_at.min(200 * MS), 60 * S);
        }
        for domain in &mut self.plan.domains {
            domain.starts_at /= 4;
        }
        match class {
            Class::Moments => self.moments(),
            Class::Ticks => self.ticks(),
            Class::Reads => self.reads(),
            Class::Restarts => self.restarts(),
            Class::Changes => self.changes(),
            Class::Boots => self.boots(),
            Class::Fences => self.fences(),
            Class::Races => self.races(),
            Class::Arming => self.arming(),
            Class::Losses => self.losses(),
            Class::Claims => self.claims(),
            Class::Frees => self.frees(),
            Class::Rejoins => self.rejoins(),
            Class::Raises => self.raises(),
            Class::Looks => self.looks(),
            Class::Drops => self.drops(),
            Class::Hangs => self.hangs(),
            _ => self.files(),
        }
        self.plan.faults.sort_by_key(|fault| fault.at);
    }

    fn at(&mut self, at: u64, host: HostIndex, kind: FaultKind) {
        self.plan.faults.push(Fault { at, host, kind });
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        self.rng.u64(from..=to)
    }

    fn direction(&mut self) -> Direction {
        pick(&mut self.rng, [Direction::Requests, Direction::Answers, Direction::Both])
    }

    /// Fast paths and clocks at the edge, the observers' fast and the victim's slow. Half of the plans have terms whose
    /// `verdict_after` is a whole number of milliseconds before it is rounded up.
    fn edge(&mut self) {
        let whole = self.rng.bool();
        for (index, host) in self.plan.hosts.iter_mut().enumerate() {
            if whole {
                host.terms = Terms { lease_ttl: Duration::from_millis(8_994), ..fast(host.watchdog) };
            }
            let bound = i32::from(host.terms.drift_ppm);
            host.drift_ppm = if index == VICTIM { -bound } else { bound };
            host.latency = MS / 20;
        }
    }

    fn quick(&mut self) {
        self.plan.hosts.iter_mut().for_each(|host| host.latency = host.latency.min(2 * MS));
    }

    fn moments(&mut self) {
        self.edge();
        let at = self.between(UP, UP + 10 * S);
        let observer = 1 + self.rng.usize(..self.plan.hosts.len() - 1);
        let lasts = 60 * S;
        self.plan.mended_at = at + 16 * S;
        let stop = match self.rng.u8(..11) {
            8 => FaultKind::Cut {
                direction: self.direction(),
                lasts: self.between(7_500 * MS, 12 * S),
                times_out: None,
            },
            9 | 10 => {
                // It goes on just in time; a read that was served before that is answered long after.
                let lasts = self.between(6 * S, 7_400 * MS);
                let served = at + lasts - self.between(0, 700 * MS);
                let after = self.between(3_500 * MS, 5_500 * MS);
                self.at(served, observer, FaultKind::ReadsLate { reads: 1, after });
                FaultKind::AgentPaused { lasts, before_command: 0 }
            }
            0 => FaultKind::StopsAfterDamage,
            1 | 2 => FaultKind::StopsAfterOldRecord { ahead: 0 },
            3 => FaultKind::StopsWhenSeen { within: 50 * MS },
            4 => FaultKind::RenewalsLost { lasts },
            5 => FaultKind::Cut { direction: self.direction(), lasts, times_out: None },
            _ => FaultKind::FrozenAtLastPet,
        };
        if self.rng.u8(..3) == 0 {
            // Of two clocks that disagree the holder believes the faster one, the observer the slower.
            let (up, down) = (self.rng.bool(), self.rng.bool());
            let ppm = |up: bool| if up { 60_000 } else { -60_000 };
            self.at(at - 2 * S, VICTIM, FaultKind::Slewed { ppm: ppm(up), lasts });
            self.at(at - 2 * S, observer, FaultKind::Slewed { ppm: ppm(down), lasts });
        }
        match self.rng.u8(..6) {
            0 | 1 => {
                let (latency, lasts) = (self.between(500 * MS, 3 * S), self.between(3 * S, 5 * S));
                self.at(at - 3 * S, VICTIM, FaultKind::Slow { latency, lasts });
            }
            2 => {
                let (latency, lasts) = (self.between(200 * MS, S), self.between(3 * S, 5 * S));
                self.at(at - 3 * S, observer, FaultKind::Slow { latency, lasts });
            }
            3 => self.late_reads(at, observer),
            _ => {}
        }
        self.at(at, VICTIM, stop);
    }

    /// Observers whose reads are on their way for long: about the victim's last renewal, or while it goes on just in time.
    fn reads(&mut self) {
        self.edge();
        let at = self.between(UP, UP + 4 * S);
        self.plan.mended_at = at + 18 * S;
        if self.rng.bool() {
            for observer in 1..self.plan.hosts.len() {
                let (latency, lasts) = (self.between(300 * MS, 900 * MS), self.between(3 * S, 6 * S));
                self.at(at - 3 * S, observer, FaultKind::Slow { latency, lasts });
            }
            self.at(at, VICTIM, FaultKind::FrozenAtLastPet);
            return;
        }
        let lasts = self.between(6_500 * MS, 7_300 * MS);
        for observer in 1..self.plan.hosts.len() {
            let served = at + lasts - self.between(300 * MS, 900 * MS);
            let after = self.between(4_300 * MS, 5_500 * MS);
            self.at(served, observer, FaultKind::ReadsLate { reads: 1, after });
        }
        self.at(at, VICTIM, FaultKind::AgentPaused { lasts, before_command: 0 });
    }

    /// Half of the hosts have slow clocks, the others fast ones; the first of the slow ones of which a renewal is read at
    /// once stops.
    fn ticks(&mut self) {
        self.edge();
        let within = pick(&mut self.rng, [300_000, 300_000, 4 * MS]);
        let terms = Terms { lease_ttl: Duration::from_millis(8_994), ..fast(WatchdogClass::Hardware) };
        self.plan.hosts.iter_mut().for_each(|host| host.terms = terms);
        self.plan.domains.truncate(1);
        for host in 0..self.plan.hosts.len() {
            let bound = i32::from(self.plan.hosts[host].terms.drift_ppm);
            self.plan.hosts[host].drift_ppm = if host % 2 == 0 { -bound } else { bound };
            if host % 2 == 0 {
                self.at(UP, host, FaultKind::StopsWhenSeen { within });
            }
        }
        self.plan.mended_at = UP + if within < MS { 110 * S } else { 30 * S };
    }

    /// Reads of an observer that are served long before they are answered, about the stall's start and its end.
    fn late_reads(&mut self, stop: u64, observer: HostIndex) {
        let reads = 1 + self.rng.u8(..3);
        let before = self.between(0, S);
        let after = self.between(300 * MS, 1_900 * MS);
        self.at(stop - before, observer, FaultKind::ReadsLate { reads, after });
        let ttl = u64::try_from(self.plan.hosts[VICTIM].terms.lease_ttl.as_millis()).unwrap_or_default() * MS;
        let end = self.between(0, 4 * S);
        let slow = self.between(200 * MS, 1_500 * MS);
        self.at(stop + ttl + end, observer, FaultKind::Slow { latency: slow, lasts: 4 * S });
    }

    /// The victim stalls; an observer's agent dies; the victim goes on, and stops for good soon after the observer is back.
    fn restarts(&mut self) {
        self.quick();
        self.plan.hosts[VICTIM].watchdog = WatchdogClass::Hardware;
        for host in &mut self.plan.hosts {
            host.terms = fast(host.watchdog);
        }
        let at = self.between(UP, UP + 5 * S);
        let stall = self.between(2 * S, 6 * S);
        self.at(at, VICTIM, FaultKind::AgentPaused { lasts: stall, before_command: 0 });
        for observer in 1..self.plan.hosts.len() {
            let dies = at + self.between(S, stall);
            let back_after = self.between(500 * MS, 5 * S);
            self.at(dies, observer, FaultKind::AgentCrash { back_after });
        }
        if self.rng.bool() {
            let writes = 1 + self.rng.u8(..3);
            let after = self.between(S, 8 * S);
            let late = at + stall + self.between(500 * MS, 3 * S);
            self.at(late, VICTIM, FaultKind::LandsLate { writes, after });
            let back_after = self.between(100 * MS, 2 * S);
            let dies = late + self.between(100 * MS, 2 * S);
            self.at(dies, VICTIM, FaultKind::AgentCrash { back_after });
        }
        let stops = at + stall + self.between(500 * MS, 6 * S);
        self.at(stops, VICTIM, FaultKind::FrozenAtLastPet);
        self.plan.mended_at = stops + 14 * S;
    }

    fn changes(&mut self) {
        self.quick();
        let long = self.rng.bool();
        for host in &mut self.plan.hosts {
            let ttl = Duration::from_secs(if long { 20 } else { 8 });
            host.terms = Terms { lease_ttl: ttl, ..host.terms };
        }
        let at = self.between(UP, UP + 2 * S);
        if !long && self.rng.u8(..3) == 0 {
            // Two renewals under the old terms are unknown when the new ones are issued.
            self.at(at - 2 * S, VICTIM, FaultKind::StopsAfterOldRecord { ahead: 12 * S });
            self.at(at, VICTIM, FaultKind::NewTerms { ttl: 20 * S });
            let (later, writes) = (self.between(0, 2 * S), 1 + self.rng.u8(..2));
            self.at(at + later, VICTIM, FaultKind::LandsLate { writes, after: 60 * S });
            self.plan.mended_at = at + 40 * S;
            return;
        }
        self.at(at, VICTIM, FaultKind::NewTerms { ttl: if long { 8 * S } else { 20 * S } });
        let about = at + self.between(200 * MS, 3 * S);
        match self.rng.u8(..4) {
            0 => {
                let (writes, after) = (1 + self.rng.u8(..3), self.between(S, 12 * S));
                self.at(about, VICTIM, FaultKind::LandsLate { writes, after });
            }
            1 => {
                let writes = 1 + self.rng.u8(..3);
                self.at(about, VICTIM, FaultKind::AckLost { writes });
            }
            2 => {
                let latency = self.between(200 * MS, 2 * S);
                self.at(at, VICTIM, FaultKind::Slow { latency, lasts: 60 * S });
            }
            _ => {}
        }
        let times_out = self.rng.bool().then(|| self.rng.u64(S..3 * S));
        let stops = about + self.between(0, 4 * S);
        let cut = FaultKind::Cut { direction: self.direction(), lasts: 90 * S, times_out };
        let stop = if self.rng.u8(..4) == 0 { FaultKind::FrozenAtLastPet } else { cut };
        self.at(stops, VICTIM, stop);
        self.plan.mended_at = stops + 45 * S;
    }

    fn boots(&mut self) {
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

    fn fences(&mut self) {
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

    /// The fencer is what makes a renewal a promise: a host is cut about its first one, or when its fencer has died.
    fn arming(&mut self) {
        self.quick();
        let fast_terms: Vec<Terms> = self.plan.hosts.iter().map(|host| fast(host.watchdog)).collect();
        for (host, terms) in self.plan.hosts.iter_mut().zip(fast_terms) {
            host.terms = terms;
        }
        for domain in &mut self.plan.domains {
            (domain.host, domain.starts_at) = (VICTIM, 5 * S + 500 * MS);
        }
        let lasts = 60 * S;
        let at = if self.rng.bool() {
            self.plan.hosts[VICTIM].boots_at = 5 * S;
            self.at(5 * S, VICTIM, FaultKind::CutAtFirstHeld);
            12 * S
        } else {
            let victim = &mut self.plan.hosts[VICTIM];
            (victim.watchdog, victim.terms) = (WatchdogClass::None, fast(WatchdogClass::None));
            let storages = self.plan.cluster.storages.iter_mut();
            storages.for_each(|storage| storage.0 = StorageKind::OneKernel);
            let dies = self.between(UP + S, UP + 5 * S);
            self.at(dies, VICTIM, FaultKind::FencerCrash { back_after: lasts, page_kept: true });
            dies + self.between(3 * S, 8 * S)
        };
        let direction = self.direction();
        self.at(at, VICTIM, FaultKind::Cut { direction, lasts, times_out: None });
        self.plan.mended_at = at + 16 * S;
    }

    /// A host with many domains dies, their images stay locked for a while, some starts fail: all run in the end.
    fn losses(&mut self) {
        self.quick();
        self.plan.heals_within = 60 * S;
        let some = self.plan.domains[0];
        while self.plan.domains.len() < 12 {
            self.plan.domains.push(some);
        }
        for domain in &mut self.plan.domains {
            (domain.host, domain.ha, domain.starts_at) = (VICTIM, true, 0);
        }
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

    fn races(&mut self) {
        let hosts = self.plan.hosts.len();
        self.plan.cluster.rank_delay = 0;
        self.plan.cluster.pages = 1;
        let slow = pick(&mut self.rng, [20 * MS, 300 * MS, 700 * MS]);
        for (index, host) in self.plan.hosts.iter_mut().enumerate() {
            host.latency = if index % 2 == 0 { slow } else { slow / 8 };
            host.memory_mib = 100_000;
            host.terms = Terms { lease_ttl: Duration::from_secs(12), ..fast(host.watchdog) };
        }
        for domain in &mut self.plan.domains {
            (domain.host, domain.ha, domain.starts_at) = (VICTIM, true, 0);
        }
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

    fn files(&mut self) {
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
}

/// The shortest terms.
fn fast(watchdog: WatchdogClass) -> Terms {
    let timing = leasefence_core::terms::Preset::Fast.timing();
    match watchdog {
        WatchdogClass::None => timing.terms,
        _ => timing.terms_with_watchdog(timing.watchdog_timeout, Duration::from_millis(10)),
    }
}
