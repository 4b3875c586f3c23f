//! Scenes: short plans that lead straight to the moment at which a rule of timing, of slots or of fencing decides. The
//! mixes would come there too, after many thousand seeds. A scene draws the times around that moment, never what must be.

mod ends;
mod late_writes;
mod leases;
mod maintenance;
mod migrations;
mod reruns;
mod slots;
mod sources;
mod stalls;
mod takeovers;
mod users;

use std::time::Duration;

use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::Terms;

use super::draw::pick;
use super::{Class, Direction, Fault, FaultKind, HostIndex, Plan};
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
            Class::Drains => self.drains(),
            Class::Resets => self.resets(),
            Class::Tears => self.tears(),
            Class::Rejoins => self.rejoins(),
            Class::Raises => self.raises(),
            Class::Looks => self.looks(),
            Class::Takes => self.takes(),
            Class::Drops => self.drops(),
            Class::Hangs => self.hangs(),
            Class::Strangers => self.strangers(),
            Class::Users => self.users(),
            Class::Reruns => self.reruns(),
            Class::Maintenance => self.maintenance(),
            Class::Migrations => self.migrations(),
            Class::Sources => self.sources(),
            _ => self.files(),
        }
        self.plan.faults.sort_by_key(|fault| fault.at);
        // Nothing would end one that strikes once all faults are over.
        let mended_at = self.plan.mended_at;
        self.plan.faults.retain(|fault| fault.at < mended_at);
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

    /// All domains run on the victim, and are to be restarted.
    fn all_on_victim(&mut self) {
        for domain in &mut self.plan.domains {
            (domain.host, domain.ha, domain.starts_at) = (VICTIM, true, 0);
        }
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
