//! Maintenance: of the whole cluster, asked for on one host, and ended, mostly on another one, some time later; and of a host whose agent
//! stops in the middle of it.

use leasefence_core::member::ClusterAsk;

use super::draw::pick;
use super::{Class, Fault, FaultKind, Operator, Plan};
use crate::time::{MS, S, nanos};

/// Drawn apart, so that what seeds stood for before is still there.
pub(super) fn draw(plan: &Plan) -> Vec<Fault> {
    let mut faults = of_the_cluster(plan);
    faults.extend(stopped_midway(plan));
    faults.retain(|fault| fault.at < plan.mended_at);
    faults
}

/// In a quarter of the plans with operators, once or twice.
fn of_the_cluster(plan: &Plan) -> Vec<Fault> {
    let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x00a1_1d15);
    let count = match rng.u8(..8) {
        0 => 1,
        1 => 2,
        _ => return Vec::new(),
    };
    if !plan.classes.contains(&Class::Operator) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for _ in 0..count {
        let at = rng.u64(30 * S..plan.mended_at.max(31 * S));
        // Sometimes while not all have followed yet.
        let most = pick(&mut rng, [4 * S, 40 * S, 100 * S]);
        let lasts = rng.u64(..=most);
        for (at, ask) in [(at, ClusterAsk::Disarm), (at + lasts, ClusterAsk::Arm)] {
            let host = rng.usize(..plan.hosts.len());
            faults.push(Fault { at, host, kind: FaultKind::Operator(Operator::Cluster(ask)) });
        }
    }
    faults
}

/// In a quarter of the plans with operators, once: the agent stops right after its page has asked the fencer to let go, shorter or
/// longer than its lease.
fn stopped_midway(plan: &Plan) -> Vec<Fault> {
    let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x57_0bed);
    if !plan.classes.contains(&Class::Operator) || rng.u8(..4) != 0 {
        return Vec::new();
    }
    let (at, host) = (rng.u64(30 * S..plan.mended_at.max(31 * S)), rng.usize(..plan.hosts.len()));
    let twice = 2 * nanos(plan.hosts[host].terms.lease_ttl);
    let (lasts, back) = (rng.u64(..twice), rng.u64(5 * S..20 * S + twice));
    let kinds = [
        (at, FaultKind::StopsAtLettingGo { lasts }),
        (at + MS, FaultKind::Operator(Operator::Disarm)),
        (at + back, FaultKind::Operator(Operator::Arm)),
    ];
    kinds.map(|(at, kind)| Fault { at, host, kind }).to_vec()
}
