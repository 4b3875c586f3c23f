//! A lease that ended: everything must die in time, nobody may start it too early, and all must come back.

use super::{Case, Check, Facts, took_ms};

/// A millisecond is what the agent tells times by.
const ROUNDING_NS: u64 = 2_000_000;

pub(super) fn checks(case: &Case, facts: &Facts) -> Vec<Check> {
    let mut checks = vec![lease_end(case, facts)];
    checks.extend(fenced(case, facts));
    checks.push(proof(case, facts));
    checks.push(not_too_early(facts));
    checks.push(restart(case, facts));
    let writers = facts.two_writers.clone();
    checks.push(Check::must(
        "one writer",
        writers.is_none(),
        writers.map_or_else(
            || "no two lives of the canary counted at once".to_owned(),
            |why| format!("SPLIT BRAIN: {why}"),
        ),
    ));
    checks.push(back(case, facts));
    checks
}

fn lease_end(case: &Case, facts: &Facts) -> Check {
    if case.runs_out() {
        let measured = took_ms(facts.last_renewal_ns, facts.lease_end_ns);
        return Check::told("lease end", Some(case.promise.lease_ttl_ms), measured, "from the last renewal");
    }
    Check::told(
        "lease end",
        None,
        took_ms(Some(case.acted_ns), facts.lease_end_ns),
        "from what the drill did",
    )
}

fn fenced(case: &Case, facts: &Facts) -> [Check; 2] {
    let budget = case.promise.fence_budget_ms;
    let (killed, clean) =
        (took_ms(facts.lease_end_ns, facts.killed_ns), took_ms(facts.lease_end_ns, facts.clean_ns));
    [
        Check::within("canary killed", budget, killed, "from the lease's end"),
        Check::within("storage quiet (CLEAN)", budget, clean, "from the lease's end"),
    ]
}

fn proof(case: &Case, facts: &Facts) -> Check {
    let first = facts.convictions.iter().min();
    match first {
        Some((at, peer)) if case.runs_out() && facts.receipt_ns.is_none_or(|receipt| *at <= receipt) => {
            Check::within(
                "proof: a peer's verdict",
                case.promise.verdict_seen_ms,
                took_ms(facts.last_renewal_ns, Some(*at)),
                format!("`expired` by {peer}, from the last renewal, as seen in its record"),
            )
        }
        _ if case.runs_out() && case.expires => {
            let how = "no peer called it expired, though they may";
            Check::within("proof: a peer's verdict", case.promise.verdict_seen_ms, None, how)
        }
        _ => {
            let undone = case.undone.as_ref().map(|(at, _)| *at).filter(|_| case.runs_out());
            let from = undone.max(facts.clean_ns);
            let how = if case.runs_out() {
                "peers may not call this host expired: they wait for it; from CLEAN, or from when it could write again"
            } else {
                "from CLEAN"
            };
            Check::within(
                "proof: the receipt",
                case.promise.receipt_seen_ms,
                took_ms(from, facts.receipt_ns),
                how,
            )
        }
    }
}

/// R8: neither proof nor restart may come before the canary is gone.
fn not_too_early(facts: &Facts) -> Check {
    let what = "nobody was too early";
    let Some(killed) = facts.killed_ns else {
        let harmless = facts.proof_ns().is_none() && facts.restart.is_none();
        return Check::must(what, harmless, "the canary was not killed");
    };
    let early = |at: u64| at + ROUNDING_NS < killed;
    if facts.proof_ns().is_some_and(early) {
        return Check::must(what, false, "there was a proof while the canary still ran");
    }
    let restart = facts.restart.as_ref().map(|(at, _)| *at);
    if restart.is_some_and(early) {
        return Check::must(what, false, "SPLIT BRAIN: the canary counted elsewhere while it still ran here");
    }
    Check::must(what, true, "proof and restart came after the canary's end")
}

fn restart(case: &Case, facts: &Facts) -> Check {
    let at = facts.restart.as_ref().map(|(at, _)| *at);
    let how = match &facts.restart {
        Some((_, host)) => format!("on {host}, from the proof"),
        None => "the canary was not started elsewhere: see `leasefence status` on the peers, and whether its disk's directory is \
                 mounted there"
            .to_owned(),
    };
    Check::within("restart on a peer", case.promise.restart_ms, took_ms(facts.proof_ns(), at), how)
}

fn back(case: &Case, facts: &Facts) -> Check {
    let undone = case.undone.as_ref().map(|(at, _)| *at);
    let from = facts.proof_ns().max(undone);
    let how = "a lease of the next generation, from the proof, or from when the drill took back what it did";
    Check::within("host back", case.promise.return_ms, took_ms(from, facts.back_ns), how)
}
