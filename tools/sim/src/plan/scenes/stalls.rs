//! Scenes of one host that stops renewing: when it was last seen, by which clocks, under which terms.

use std::time::Duration;

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::Terms;

use super::{Scene, UP, VICTIM, fast};
use crate::plan::draw::pick;
use crate::plan::{FaultKind, HostIndex};
use crate::time::{MS, S};

impl Scene<'_> {
    pub(super) fn moments(&mut self) {
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
    pub(super) fn reads(&mut self) {
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
    pub(super) fn ticks(&mut self) {
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
    pub(super) fn restarts(&mut self) {
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

    pub(super) fn changes(&mut self) {
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

    /// The fencer is what makes a renewal a promise: a host is cut about its first one, or when its fencer has died.
    pub(super) fn arming(&mut self) {
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
}
