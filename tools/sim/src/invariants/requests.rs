//! A fence request of a host that is gone is not obeyed.

use super::{Happened, Judge};
use crate::plan::{Fault, FaultKind, Operator};
use crate::world::World;

/// In plans in which the one who asks dies before the one who is asked can read it: that one goes on.
#[derive(Debug)]
pub(super) struct Requests;

impl Judge for Requests {
    fn sentence(&self) -> &'static str {
        "A fence request of a host that is gone is not obeyed."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Published { host } = *happened else { return None };
        let this = &world.hosts[host];
        let half = &this.fencer.half;
        let now = this.clock.now(world.at).instant;
        if half.latched.is_none() || this.fencer.guarded.reached(now) {
            return None;
        }
        let faults = || world.plan.kept().map(|(_, fault)| fault);
        let asks = |fault: &&Fault| fault.kind == FaultKind::Operator(Operator::Fence { of: host });
        let asker = faults().find(asks)?.host;
        let dies = |fault: &&Fault| fault.host == asker && matches!(fault.kind, FaultKind::PowerLoss { .. });
        let dead = faults().find(dies)?.at;
        let blind = |fault: &&Fault| {
            let until = match fault.kind {
                FaultKind::AgentPaused { lasts, .. } => fault.at + lasts,
                _ => 0,
            };
            fault.host == host && fault.at < dead && until > dead + crate::time::S
        };
        faults().any(|fault| blind(&fault)).then(|| format!("host-{host} obeys host-{asker}, which is off"))
    }
}
