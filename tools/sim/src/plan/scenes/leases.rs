//! Scenes of domain leases: what hosts that took part say of a domain long after, and starts that take too long.

use std::time::Duration;

use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::Timing;

use super::{Scene, UP, VICTIM, fast};
use crate::plan::{FaultKind, HostIndex, Operator};
use crate::time::{MS, S};

/// After so long every host that takes part has looked for old entries: once in 30 s from its entry on.
const DROPS: u64 = 30 * S;

impl Scene<'_> {
    /// Old entries of domains that others have taken, wanted again, or moved.
    pub(super) fn drops(&mut self) {
        self.plan.cluster.rank_delay = 0;
        self.plan.cluster.pages = 1;
        self.all_on_victim();
        for host in &mut self.plan.hosts {
            host.memory_mib = 100_000;
        }
        match self.rng.u8(..6) {
            0 => self.dead_want(),
            1 => self.live_want(),
            2 => self.moved_by_faults(),
            _ => self.moved_by_users(),
        }
    }

    /// A host that may ask for something about another; not the victim, where there is a third.
    fn beside(&self, host: HostIndex) -> HostIndex {
        let hosts = self.plan.hosts.len();
        (1..hosts).find(|other| *other != host).unwrap_or(VICTIM)
    }

    fn all_have(&mut self, ttl: Duration) {
        let timing = Timing::derive(ttl);
        for host in &mut self.plan.hosts {
            host.terms = match host.watchdog {
                WatchdogClass::None => timing.terms,
                _ => timing.terms_with_watchdog(timing.watchdog_timeout, Duration::from_millis(10)),
            };
        }
    }

    /// A host is fenced and comes back with orphans; the quickest of the others dies at its want of them, and a slower one
    /// takes them.
    fn dead_want(&mut self) {
        self.all_have(Duration::from_secs(12));
        let quick = self.rng.usize(1..self.plan.hosts.len());
        let slow = self.between(20 * MS, 300 * MS);
        for (index, host) in self.plan.hosts.iter_mut().enumerate() {
            host.latency = if index == quick || index == VICTIM { MS } else { slow };
        }
        // It recovers nothing itself.
        self.plan.hosts[VICTIM].memory_mib = 1;
        let at = self.between(UP + S, UP + 6 * S);
        self.at(at - S, quick, FaultKind::StopsAtWant { lasts: 300 * S });
        let by = self.beside(quick);
        self.at(at, by, FaultKind::Operator(Operator::Fence { of: VICTIM }));
        self.plan.mended_at = at + 2 * DROPS + 20 * S;
    }

    /// Two hosts are fenced one after the other, each with orphans of the same domains; another stops at its want for long,
    /// and its lease lives on.
    fn live_want(&mut self) {
        self.all_have(Duration::from_secs(60));
        let slow = self.between(20 * MS, 200 * MS);
        for (index, host) in self.plan.hosts.iter_mut().enumerate() {
            host.latency = if index <= 1 { MS } else { slow };
        }
        self.plan.hosts[VICTIM].memory_mib = 1;
        let first = self.between(UP + S, UP + 6 * S);
        self.at(first, self.beside(VICTIM), FaultKind::Operator(Operator::Fence { of: VICTIM }));
        let second = first + self.between(10 * S, 24 * S);
        for host in 2..self.plan.hosts.len() {
            let lasts = self.between(40 * S, 50 * S);
            self.at(second - S, host, FaultKind::StopsAtWant { lasts });
        }
        self.at(second, VICTIM, FaultKind::Operator(Operator::Fence { of: 1 }));
        self.plan.mended_at = second + 2 * DROPS;
    }

    /// Starts fail again and again: domains go from host to host, and each has an entry of them.
    fn moved_by_faults(&mut self) {
        self.all_have(Duration::from_secs(30));
        self.slow_wants();
        let at = self.between(UP + S, UP + 6 * S);
        for host in 1..self.plan.hosts.len() {
            self.at(at - S, host, FaultKind::StartsFail { starts: 200 });
        }
        self.plan.hosts[VICTIM].memory_mib = 1;
        self.at(at, 1, FaultKind::Operator(Operator::Fence { of: VICTIM }));
        self.plan.mended_at = at + 6 * DROPS;
    }

    /// Users stop domains, and start them on other hosts.
    fn moved_by_users(&mut self) {
        self.all_have(Duration::from_secs(30));
        self.slow_wants();
        let hosts = self.plan.hosts.len();
        let until = UP + 6 * DROPS;
        for domain in 0..self.plan.domains.len() {
            let mut at = self.between(UP, UP + 10 * S);
            while at < until {
                self.at(at, VICTIM, FaultKind::Operator(Operator::Stop { domain }));
                let host = self.rng.usize(..hosts);
                // Refused while its end is not proven: then again.
                for _ in 0..4 {
                    at += self.between(2 * S, 6 * S);
                    self.at(at, host, FaultKind::Operator(Operator::StartHere { domain }));
                }
                at += self.between(5 * S, 15 * S);
            }
        }
        self.plan.mended_at = until + DROPS;
    }

    /// Every second host writes slowly, so that its wants stand for a while, and it says late that its page has changed.
    fn slow_wants(&mut self) {
        self.quick();
        for host in (1..self.plan.hosts.len()).step_by(2) {
            let latency = self.between(300 * MS, 1_500 * MS);
            self.at(UP, host, FaultKind::Slow { latency, lasts: 900 * S });
        }
    }

    /// A host dies; starts of its domains hang elsewhere, and that host is fenced before they are answered.
    pub(super) fn hangs(&mut self) {
        self.quick();
        self.plan.cluster.rank_delay = 0;
        for host in &mut self.plan.hosts {
            // Without a watchdog nothing ends a host whose libvirt may still make a process.
            host.watchdog = WatchdogClass::Hardware;
            host.memory_mib = 100_000;
            host.terms = fast(host.watchdog);
        }
        self.all_on_victim();
        let at = self.between(UP + S, UP + 5 * S);
        for host in 1..self.plan.hosts.len() {
            let lasts = self.between(5 * S, 40 * S);
            self.at(at - S, host, FaultKind::StartHangs { lasts });
        }
        self.at(at, VICTIM, FaultKind::PowerLoss { back_after: 300 * S });
        for of in 1..self.plan.hosts.len() {
            // From the verdict on; the fences come one after the other, so that somebody is left to ask.
            let later = at + self.between(11 * S, 18 * S);
            let by = self.beside(of);
            self.at(later, by, FaultKind::Operator(Operator::Fence { of }));
        }
        self.plan.mended_at = at + 45 * S;
    }
}
