//! Maintenance of the whole cluster: asked for on one host, and ended, mostly on another one, some time later.

use leasefence_core::member::ClusterAsk;

use super::draw::pick;
use super::{Class, Fault, FaultKind, Operator, Plan};
use crate::time::S;

/// In a quarter of the plans with operators, once or twice. Drawn apart, so that what seeds stood for before is still there.
pub(super) fn draw(plan: &Plan) -> Vec<Fault> {
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
    faults.retain(|fault| fault.at < plan.mended_at);
    faults
}
