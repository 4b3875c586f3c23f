//! A scene of a slot that is freed while another machine waits for one.

use super::{Scene, UP, VICTIM};
use crate::plan::{FaultKind, Operator, Sector};
use crate::time::{MS, S};

impl Scene<'_> {
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
