//! The faults of a plan: when, where, of which class, and how long. What may not be done to a host is decided here: a host
//! without a watchdog trusts its kill alone, so agent and fencer are never both stopped there, unless the class is outside
//! the promise.

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::Timing;

use super::draw::pick;
use super::{Class, Damage, Direction, Fault, FaultKind, HostIndex, Operator, Plan, Sector};
use crate::time::{MS, S, nanos};

/// Before this, hosts come up and guests are started.
const FIRST: u64 = 35 * S;
/// How long a write may stay unknown in these plans: a late one lands before `unknown_hold` is over.
const LATEST_WRITE: u64 = 12 * S;

/// A drawing under way.
pub(super) struct Drawing<'a> {
    pub(super) rng: fastrand::Rng,
    pub(super) plan: &'a Plan,
    pub(super) timing: Timing,
}

impl Drawing<'_> {
    pub(super) fn faults(mut self) -> Vec<Fault> {
        if self.plan.classes.contains(&Class::Tolerated) {
            return self.tolerated();
        }
        let mut faults: Vec<Fault> = Vec::new();
        // Who comes first, and into which slot, is decided as soon as there are hosts.
        let mut at = if self.plan.classes.contains(&Class::Join) { 2 * S } else { FIRST };
        let pause = pick(&mut self.rng, [3, 10, 30]) * S;
        loop {
            at += self.rng.u64(..pause);
            if at >= self.plan.mended_at {
                faults.retain(|fault| fault.at < self.plan.mended_at);
                faults.sort_by_key(|fault| fault.at);
                return faults;
            }
            let class = self.plan.classes[self.rng.usize(..self.plan.classes.len())];
            let host = self.rng.usize(..self.plan.hosts.len());
            match class {
                Class::Takeover => self.takeover(at, host, &mut faults),
                Class::Join => self.join(at, host, &mut faults),
                _ => faults.extend(self.draw(class, host).map(|kind| Fault { at, host, kind })),
            }
        }
    }

    /// Stalls of each host's path that are shorter than what is promised to be survived, one at a time, with time to
    /// breathe between them.
    fn tolerated(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut at = FIRST + 20 * S;
        while at < self.plan.mended_at {
            let host = self.rng.usize(..self.plan.hosts.len());
            let terms = &self.plan.hosts[host].terms;
            // A renewal in flight, its read-back, and the latency of both must fit beside the stall.
            let most = nanos(terms.stall_survived()).saturating_sub(3 * S);
            let lasts = self.rng.u64(most / 8..=most);
            let kind = if self.rng.u8(..4) == 0 {
                FaultKind::CutAll { lasts }
            } else {
                FaultKind::Cut { direction: self.direction(), lasts, times_out: None }
            };
            faults.push(Fault { at, host, kind });
            at += lasts + 4 * S + self.rng.u64(..20 * S);
        }
        faults
    }

    pub(super) fn direction(&mut self) -> Direction {
        pick(&mut self.rng, [Direction::Requests, Direction::Answers, Direction::Both])
    }

    /// Mostly around the ttl, sometimes short, sometimes for ever.
    pub(super) fn duration(&mut self) -> u64 {
        let ttl = nanos(self.timing.terms.lease_ttl);
        match self.rng.u8(..8) {
            0 => self.rng.u64(..S),
            1 | 2 => self.rng.u64(..ttl),
            3..=5 => self.rng.u64(ttl / 2..2 * ttl),
            6 => self.rng.u64(ttl..4 * ttl),
            _ => self.rng.u64(..200 * S),
        }
    }

    pub(super) fn short(&mut self) -> u64 {
        let most = pick(&mut self.rng, [50 * MS, 500 * MS, 4 * S]);
        MS + self.rng.u64(..most)
    }

    pub(super) fn has_watchdog(&self, host: HostIndex) -> bool {
        self.plan.hosts[host].watchdog != WatchdogClass::None
    }

    fn draw(&mut self, class: Class, host: HostIndex) -> Option<FaultKind> {
        match class {
            Class::Storage => Some(self.storage()),
            Class::Late => Some(self.late()),
            Class::Damage => Some(self.damage()),
            Class::Clocks => Some(self.clocks()),
            Class::Pauses => self.pauses(host),
            Class::Crashes => Some(self.crashes(host)),
            Class::Power => Some(self.power()),
            Class::Guests => self.guests(host),
            Class::Operator => Some(FaultKind::Operator(self.operator())),
            Class::Terms => Some(FaultKind::NewTerms { ttl: self.rng.u64(8..=20) * S }),
            Class::Identity => self.identity(),
            Class::Edge => Some(FaultKind::FrozenAtLastPet),
            Class::Beyond => Some(self.beyond()),
            Class::Outside => Some(self.outside()),
            // Scenes are not mixed with other faults.
            _ => None,
        }
    }

    fn storage(&mut self) -> FaultKind {
        let lasts = self.duration();
        match self.rng.u8(..8) {
            0 => FaultKind::CutAll { lasts },
            1 => FaultKind::Slow { latency: self.rng.u64(..3 * S), lasts },
            _ => {
                let times_out = self.rng.bool().then(|| S + self.rng.u64(..20 * S));
                FaultKind::Cut { direction: self.direction(), lasts, times_out }
            }
        }
    }

    fn late(&mut self) -> FaultKind {
        match self.rng.u8(..5) {
            0 | 1 => {
                FaultKind::LandsLate { writes: 1 + self.rng.u8(..6), after: self.rng.u64(..LATEST_WRITE) }
            }
            2 => FaultKind::AckLost { writes: 1 + self.rng.u8(..6) },
            3 => FaultKind::ReadsFail { reads: 1 + self.rng.u8(..6) },
            _ => FaultKind::ReadsLate { reads: 1 + self.rng.u8(..4), after: self.rng.u64(..20 * S) },
        }
    }

    fn damage(&mut self) -> FaultKind {
        if self.rng.u8(..4) == 0 {
            return FaultKind::Torn { lasts: self.short() };
        }
        let sector = match self.rng.u8(..10) {
            0..=4 => Sector::Record,
            5..=7 => Sector::LeasePage,
            8 => Sector::Header,
            _ => Sector::Claim,
        };
        let how = pick(&mut self.rng, [Damage::Corrupt, Damage::Zeroed, Damage::Misdirected]);
        FaultKind::Damaged { sector, how }
    }

    fn clocks(&mut self) -> FaultKind {
        if self.rng.bool() {
            FaultKind::Slewed { ppm: self.rng.i32(-80_000..=80_000), lasts: self.duration() }
        } else {
            FaultKind::WallStep { seconds: self.rng.i32(-100_000..100_000) }
        }
    }

    fn pauses(&mut self, host: HostIndex) -> Option<FaultKind> {
        let lasts = if self.rng.bool() { self.duration() } else { self.short() };
        match self.rng.u8(..4) {
            0 | 1 => Some(FaultKind::AgentPaused { lasts, before_command: self.rng.u8(..12) }),
            2 if self.has_watchdog(host) => Some(FaultKind::FencerPaused { lasts }),
            3 if self.has_watchdog(host) => Some(FaultKind::BothPaused { lasts }),
            _ => None,
        }
    }

    fn crashes(&mut self, host: HostIndex) -> FaultKind {
        let back_after = if self.rng.bool() { self.short() } else { self.duration() };
        if self.rng.u8(..3) == 0 {
            let back_after = if self.has_watchdog(host) { back_after } else { self.short() };
            FaultKind::FencerCrash { back_after, page_kept: self.rng.u8(..3) != 0 }
        } else {
            FaultKind::AgentCrash { back_after }
        }
    }

    fn power(&mut self) -> FaultKind {
        match self.rng.u8(..8) {
            0 => FaultKind::MassPowerLoss {
                back_after: S + self.rng.u64(..60 * S),
                stagger: self.rng.u64(..20 * S),
            },
            1 | 2 => FaultKind::PowerLoss { back_after: 200 * MS },
            _ => FaultKind::PowerLoss { back_after: S + self.duration() },
        }
    }

    /// Without a watchdog nothing ends a host whose killed guests stay: its operator trusts the kill. And a file system of
    /// one kernel has no back end that could stall apart from the kernel itself.
    fn guests(&mut self, host: HostIndex) -> Option<FaultKind> {
        let lasts = self.duration();
        let storage = self.rng.usize(..self.plan.cluster.storages.len());
        let over_network = self.plan.cluster.storages[storage].0 == StorageKind::Nfs;
        match self.rng.u8(..8) {
            0 => self.has_watchdog(host).then_some(FaultKind::Unkillable { lasts }),
            1 => Some(FaultKind::DataCut { lasts }),
            2 => over_network.then_some(FaultKind::DataStall { storage, lasts }),
            3 => Some(FaultKind::LibvirtHung { lasts }),
            4 => Some(FaultKind::ImageLocked { lasts: self.rng.u64(..100 * S) }),
            5 => Some(FaultKind::StartsFail { starts: 1 + self.rng.u8(..4) }),
            _ => Some(FaultKind::GuestCrash { domain: self.domain() }),
        }
    }

    pub(super) fn domain(&mut self) -> usize {
        self.rng.usize(..self.plan.domains.len())
    }

    fn operator(&mut self) -> Operator {
        let of = self.rng.usize(..self.plan.hosts.len());
        match self.rng.u8(..12) {
            0..=2 => Operator::Fence { of },
            3 | 4 => Operator::Confirm { of },
            5 => Operator::Disarm,
            6 => Operator::Arm,
            7 => Operator::Stop { domain: self.domain() },
            8 => Operator::Start { domain: self.domain() },
            9 | 10 => Operator::Snapshot { domain: self.domain() },
            _ => Operator::SlotFree { of },
        }
    }

    fn identity(&mut self) -> Option<FaultKind> {
        match self.rng.u8(..4) {
            0 => Some(FaultKind::Replaced { lasts: self.duration() }),
            1 => Some(FaultKind::MadAgent),
            _ => self.plan.hosts.iter().any(|host| host.spare).then_some(FaultKind::Clone),
        }
    }

    fn beyond(&mut self) -> FaultKind {
        if self.rng.bool() {
            FaultKind::StaleReads { age: self.rng.u64(..20 * S), lasts: self.duration() }
        } else {
            FaultKind::DoneTwice { after: self.rng.u64(..60 * S) }
        }
    }

    fn outside(&mut self) -> FaultKind {
        let lasts = self.duration();
        if self.rng.bool() { FaultKind::Suspend { lasts } } else { FaultKind::HostPaused { lasts } }
    }
}
