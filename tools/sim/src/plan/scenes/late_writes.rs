//! Scenes of single writes that are long on their way, so that what was decided before them is old when they land: a
//! claim, a record, a want, a page of a life that is over, a renewal under terms that have changed.

use leasefence_core::format::WatchdogClass;

use super::{Scene, UP, VICTIM, fast};
use crate::plan::draw::pick;
use crate::plan::{FaultKind, HostIndex, Operator, Sector};
use crate::time::{MS, S};

impl Scene<'_> {
    fn slow_write(&mut self, at: u64, host: HostIndex, sector: Sector, takes: u64) {
        self.at(at, host, FaultKind::SlowWrite { sector, takes, fails: false });
    }

    /// One slot is left, and two or more machines look for one at the same time; claims and records take long, half of the
    /// claims longer than D (PROTOCOL 2).
    pub(super) fn claims(&mut self) {
        self.quick();
        self.plan.cluster.max_hosts = 2;
        self.plan.cluster.pages = 1;
        let (longest_claim, longest_record) = pick(&mut self.rng, [(2_200 * MS, 5 * S), (8 * S, 12 * S)]);
        let late = self.rng.usize(1..self.plan.hosts.len());
        for host in 0..self.plan.hosts.len() {
            let boots_at = if host == VICTIM { 0 } else { UP + self.between(0, 150 * MS) };
            self.plan.hosts[host].boots_at = boots_at;
            if host != VICTIM {
                // The late one looks before the other's claim lands, and its own lands over it: before the other has
                // looked again, or after. The other's record takes longer than that.
                let (claim, record) = if host == late {
                    (self.between(longest_claim / 2, longest_claim), self.between(0, longest_record))
                } else {
                    let claim = self.between(longest_claim / 16, longest_claim / 3);
                    (claim, self.between(longest_record / 4, longest_record))
                };
                self.slow_write(boots_at, host, Sector::Claim, claim);
                self.slow_write(boots_at, host, Sector::Record, record);
            }
        }
        self.plan.mended_at = UP + 2 * longest_claim + longest_record + 12 * S;
    }

    /// What a domain's entry becomes is written, and returns an error; the host is fenced, joins again with its next
    /// generation, and writes its pages anew; then the write lands.
    pub(super) fn rejoins(&mut self) {
        self.quick();
        let victim = &mut self.plan.hosts[VICTIM];
        (victim.watchdog, victim.terms) = (WatchdogClass::Hardware, fast(WatchdogClass::Hardware));
        let at = self.between(UP + 2 * S, UP + 6 * S);
        for domain in 0..self.plan.domains.len() {
            let started_before = self.rng.bool();
            let starts_at = if started_before { 0 } else { at + self.between(0, S) };
            let this = &mut self.plan.domains[domain];
            (this.host, this.starts_at) = (VICTIM, starts_at);
            if started_before {
                let kind = match self.rng.u8(..3) {
                    0 => FaultKind::Operator(Operator::Stop { domain }),
                    1 => FaultKind::Operator(Operator::Snapshot { domain }),
                    _ => FaultKind::GuestCrash { domain },
                };
                let then = at + self.between(0, S);
                self.at(then, VICTIM, kind);
            }
        }
        for _ in 0..=self.rng.u8(..2) {
            let takes = self.between(5 * S, 18 * S);
            self.at(at, VICTIM, FaultKind::SlowWrite { sector: Sector::LeasePage, takes, fails: true });
        }
        let ends = at + self.between(S, 6 * S);
        if self.rng.u8(..3) == 0 {
            // Its agent is away until the end has passed, and finds a life that is over.
            let back_after = self.between(9 * S, 12 * S);
            self.at(ends, VICTIM, FaultKind::AgentCrash { back_after });
        } else {
            self.at(ends, 1, FaultKind::Operator(Operator::Fence { of: VICTIM }));
        }
        self.plan.mended_at = at + 26 * S;
    }

    /// Renewals under a short ttl return an error; the ttl is raised; then they land over both copies, and the host has
    /// stopped by then.
    pub(super) fn raises(&mut self) {
        self.quick();
        for host in &mut self.plan.hosts {
            host.terms = fast(host.watchdog);
        }
        let at = self.between(UP, UP + 3 * S);
        let takes = self.between(6 * S, 13 * S);
        for _ in 0..2 + self.rng.u8(..2) {
            self.at(at, VICTIM, FaultKind::SlowWrite { sector: Sector::Record, takes, fails: true });
        }
        let raised = at + self.between(600 * MS, 2 * S);
        self.at(raised, VICTIM, FaultKind::NewTerms { ttl: 20 * S });
        let stops = at + takes - self.between(0, 2 * S);
        let stop = if self.rng.bool() {
            FaultKind::FrozenAtLastPet
        } else {
            FaultKind::AgentPaused { lasts: 60 * S, before_command: 0 }
        };
        self.at(stops, VICTIM, stop);
        self.plan.mended_at = stops + 30 * S;
    }

    /// All others want the victim's domains at once, and have room for them. Gives when it is lost.
    fn victim_is_taken_over(&mut self) -> u64 {
        self.quick();
        self.plan.cluster.rank_delay = 0;
        self.plan.cluster.pages = 1;
        for host in &mut self.plan.hosts {
            host.memory_mib = 100_000;
            host.terms = fast(host.watchdog);
        }
        self.all_on_victim();
        self.between(UP + 2 * S, UP + 6 * S)
    }

    /// A survivor's want is on its way while another takes the same domains, fails or is asked to stop them, and gives them
    /// back.
    pub(super) fn looks(&mut self) {
        let at = self.victim_is_taken_over();
        self.at(at, VICTIM, FaultKind::PowerLoss { back_after: 300 * S });
        let others = self.plan.hosts.len() - 1;
        let slow = 1 + self.rng.usize(..others);
        let takes = self.between(3 * S, 6_500 * MS);
        self.slow_write(at + S, slow, Sector::LeasePage, takes);
        for host in (1..=others).filter(|host| *host != slow) {
            let starts = self.rng.u8(..5);
            self.at(at, host, FaultKind::StartsFail { starts });
        }
        for domain in 0..self.plan.domains.len() {
            if self.rng.u8(..3) == 0 {
                let stopped = at + 12 * S + self.between(0, 6 * S);
                self.at(stopped, VICTIM, FaultKind::Operator(Operator::Stop { domain }));
            }
        }
        self.plan.mended_at = at + 40 * S;
    }

    /// A host is lost, or fenced and back with orphans; of those who take its domains one cannot know whether the write that says so
    /// has landed, with others about that have old entries of them, since starts fail here and there. All run in the end.
    pub(super) fn takes(&mut self) {
        self.plan.heals_within = 60 * S;
        let at = self.victim_is_taken_over();
        if self.rng.bool() {
            let back_after = pick(&mut self.rng, [S, 10 * S, 600 * S]);
            self.at(at, VICTIM, FaultKind::PowerLoss { back_after });
        } else {
            self.at(at, 1, FaultKind::Operator(Operator::Fence { of: VICTIM }));
        }
        // It recovers nothing itself.
        self.plan.hosts[VICTIM].memory_mib = 1;
        for host in 1..self.plan.hosts.len() {
            // So few that no domain goes on hold.
            let starts = self.rng.u8(..2);
            self.at(at, host, FaultKind::StartsFail { starts });
            let (second, later) = (self.rng.bool(), self.between(0, 12 * S));
            let after = pick(&mut self.rng, [0, 0, later]);
            let takes = at + self.between(0, 20 * S);
            self.at(takes, host, FaultKind::FailsAtOwn { second, after });
            // A renewal that fails has the hold begin anew: old entries are dropped meanwhile.
            let mut breaks = takes;
            for _ in 0..self.rng.u8(..4) {
                breaks += self.between(5 * S, 19 * S);
                self.at(breaks, host, FaultKind::AckLost { writes: 1 });
            }
            if self.rng.u8(..4) == 0 {
                let (dies, back_after) = (takes + self.between(S, 15 * S), self.between(50 * MS, 3 * S));
                self.at(dies, host, FaultKind::AgentCrash { back_after });
            }
        }
        self.plan.mended_at = at + 100 * S;
    }
}
