//! The scene of second runs: a guest dies between two of the fencer's looks, so that the token of its start is still open, and what
//! it wrote waits in its host's kernel; then it is started again.

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::WatchdogClass;

use super::{Scene, UP, VICTIM, fast};
use crate::plan::{FaultKind, HostIndex, Operator};
use crate::time::{MS, S, nanos};

/// From one try of a user to the next.
const ROUND: u64 = 8 * S;
const ROUNDS: u64 = 8;
/// How long starts and crashes follow each other.
const FLOOD: u64 = 3 * S;

impl Scene<'_> {
    /// A user starts again what has just crashed: on a host that holds its lease, or while that host's own start of it hangs.
    pub(super) fn reruns(&mut self) {
        self.quick();
        self.plan.hook = true;
        self.plan.cluster.storages = vec![(StorageKind::Nfs, 100 * MS)];
        self.plan.domains.truncate(1);
        let recovers = self.rng.bool();
        for domain in &mut self.plan.domains {
            (domain.host, domain.storages, domain.ha) = (VICTIM, [Some(0), None], recovers);
            domain.starts_at = UP;
        }
        for host in &mut self.plan.hosts {
            (host.watchdog, host.terms) = (WatchdogClass::Hardware, fast(WatchdogClass::Hardware));
            host.memory_mib = 100_000;
        }
        if recovers {
            return self.started_while_it_is_recovered();
        }
        for round in 1..=ROUNDS {
            let at = UP + round * ROUND;
            self.at(at - 4 * S, VICTIM, FaultKind::Operator(Operator::Stop { domain: 0 }));
            self.flood(VICTIM, at, FLOOD);
        }
        self.plan.mended_at = UP + (ROUNDS + 2) * ROUND;
    }

    fn started_while_it_is_recovered(&mut self) {
        let dies = self.between(UP + 4 * S, UP + 6 * S);
        self.at(dies, VICTIM, FaultKind::PowerLoss { back_after: 60 * S });
        let verdict = dies + nanos(self.plan.hosts[VICTIM].terms.verdict_after());
        for host in 1..self.plan.hosts.len() {
            // An even number: before libvirt's job of it is begun.
            self.at(verdict - 2 * S, host, FaultKind::StartHangs { lasts: 10 * S });
            let at = verdict + self.between(4 * S, 6 * S);
            self.flood(host, at, 12 * S);
        }
        self.plan.mended_at = verdict + 30 * S;
    }

    /// Starts and crashes in turn, while the fencer looks at nothing and the way to the storage is cut for so long.
    fn flood(&mut self, host: HostIndex, from: u64, cut: u64) {
        self.at(from, host, FaultKind::DataCut { lasts: cut });
        let blind = from + self.between(100 * MS, 900 * MS);
        let lasts = self.between(800 * MS, 1_800 * MS);
        self.at(blind, host, FaultKind::FencerPaused { lasts });
        let mut at = from;
        while at < from + FLOOD {
            self.at(at, host, FaultKind::Operator(Operator::StartHere { domain: 0 }));
            let crashes = at + self.between(0, 300 * MS);
            self.at(crashes, host, FaultKind::GuestCrash { domain: 0 });
            at += self.between(100 * MS, 300 * MS);
        }
    }
}
