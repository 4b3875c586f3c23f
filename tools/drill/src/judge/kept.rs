//! A failure that must end no lease.

use super::{Case, Check, Facts, took_ms};
use crate::scenario::Scenario;

pub(super) fn checks(case: &Case, facts: &Facts) -> Vec<Check> {
    let kept = facts.left_held_ns.is_none() && facts.lease_end_ns.is_none() && facts.back_ns.is_none();
    let how = if kept { "the same incarnation holds it" } else { "this incarnation's lease is over" };
    let mut checks = vec![
        Check::must("lease kept", kept, how),
        Check::within(
            "longest time without a renewal",
            case.promise.lease_ttl_ms,
            Some(facts.longest_gap_ns / 1_000_000),
            "as issued",
        ),
    ];
    let alive = facts.killed_ns.is_none() && facts.counts_on && facts.restart.is_none();
    let how = if alive { "its process lives and counts" } else { "it does not run here any more" };
    checks.push(Check::must("canary unharmed", alive, how));
    checks.push(Check::told(
        "longest silence of the canary",
        None,
        Some(facts.longest_silence_ns / 1_000_000),
        "between two counts that were seen",
    ));
    match case.scenario {
        Scenario::AgentKilled => {
            let took = took_ms(Some(case.acted_ns), facts.agent_back_ns);
            checks.push(Check::within("agent back", case.promise.stall_survived_ms, took, "from its end"));
        }
        _ => {
            checks.push(Check::told(
                "libvirt missed",
                None,
                took_ms(Some(case.acted_ns), facts.libvirt_away_ns),
                "from its stop until the agent says so",
            ));
            let undone = case.undone.as_ref().map(|(at, _)| *at);
            let back = facts.libvirt_back_ns.or(undone.filter(|_| facts.libvirt_away_ns.is_none()));
            let took = took_ms(undone, back);
            checks.push(Check::within(
                "libvirt back",
                case.promise.return_ms,
                took,
                "from when it was let on",
            ));
        }
    }
    checks
}
