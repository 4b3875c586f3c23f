//! When all faults are over, within a bound every host holds its lease and every HA domain runs.

use super::{Happened, Judge};
use crate::world::World;

/// Looks at the end. A host that refuses to take part has said why; then its slot or an operator is missing.
#[derive(Debug)]
pub(super) struct Liveness;

impl Judge for Liveness {
    fn sentence(&self) -> &'static str {
        "When all faults are over, every host holds its lease and every HA domain runs."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        if *happened != Happened::End {
            return None;
        }
        let mut wrong = Vec::new();
        let scene = world.plan.is_scene();
        for (index, host) in world.hosts.iter().enumerate() {
            let excused = scene || world.plan.begins_off(index) || host.refused.is_some();
            if !excused && !world.holds(index) {
                let status =
                    host.agent.member.as_ref().map(|member| member.status(&host.clock.now(world.at)));
                let says = status.map_or_else(
                    || "no agent".to_owned(),
                    |status| format!("{} {:?}", status.summary, status.warnings),
                );
                wrong.push(format!("host-{index} holds no lease ({says})"));
            }
        }
        if world.needs_an_operator() {
            return None;
        }
        let idle =
            (0..world.domains.len()).filter(|domain| world.should_run(*domain) && !world.runs_now(*domain));
        wrong.extend(idle.map(|domain| format!("domain {domain} runs nowhere")));
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}
