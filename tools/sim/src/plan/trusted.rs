//! What a host without a watchdog takes for granted (class `none`): when its lease ends, its fencer or its agent is there to kill.

use super::{Fault, FaultKind, Plan};
use crate::time::{S, nanos};

/// A fencer that is back within this has enough of the budget left to kill in time.
const SOON: u64 = S;
/// An agent that is back takes up its lease in less; one that is to stop or to die in the middle of its work does so within this.
const MARGIN: u64 = 5 * S;
/// The longest ttl that a change of terms draws.
const LONGEST_TTL: u64 = 20 * S;

/// A fencer that dies while its agent is away, on a host that nothing resets, is back soon: with both dead at the lease's end nobody
/// kills its guests, which its operator has chosen to trust in. Only its time is changed: nothing is drawn anew, and all faults keep
/// their numbers.
pub(super) fn bring_fencers_back(plan: &mut Plan) {
    let late: Vec<usize> = (0..plan.faults.len()).filter(|number| is_missed(plan, *number)).collect();
    for number in late {
        if let FaultKind::FencerCrash { back_after, .. } = &mut plan.faults[number].kind {
            *back_after = SOON;
        }
    }
}

/// True for a fencer's death that may outlast the lease's end of a host which trusts in its kill, its agent being away.
fn is_missed(plan: &Plan, number: usize) -> bool {
    let fault = &plan.faults[number];
    let FaultKind::FencerCrash { back_after, .. } = fault.kind else { return false };
    let terms = &plan.hosts[fault.host].terms;
    let fenced = nanos(terms.lease_ttl).max(LONGEST_TTL) + nanos(terms.fence_budget);
    let strikes_then = |other: &Fault| {
        let Some(away) = agent_is_away(&other.kind) else { return false };
        let over = other.at + MARGIN + away.min(fenced);
        other.host == fault.host && other.at <= fault.at + back_after && fault.at <= over
    };
    back_after > SOON && !plan.is_reset_at_last(fault.host) && plan.faults.iter().any(strikes_then)
}

/// How long a fault takes a host's agent away.
fn agent_is_away(kind: &FaultKind) -> Option<u64> {
    match *kind {
        FaultKind::AgentPaused { lasts, .. } => Some(lasts),
        FaultKind::AgentCrash { back_after } | FaultKind::DiesWritingPage { back_after, .. } => {
            Some(back_after)
        }
        FaultKind::StopsAtLettingGo { lasts } => Some(LETS_GO_WITHIN + lasts),
        FaultKind::MadAgent => Some(MAD),
        _ => None,
    }
}

/// An agent that is to stop as its fencer is asked to let go does so within this, or not at all.
pub(crate) const LETS_GO_WITHIN: u64 = 30 * S;

/// From an agent that goes mad, and dies of it, to the next one.
pub(crate) const MAD: u64 = 20 * S;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Class, Options};

    /// Seed 242015: a mad agent has died, its fencer dies right before the lease's end and is away beyond the budget.
    #[test]
    fn a_fencer_that_dies_beside_its_mad_agent_is_back_soon_where_nothing_resets_the_host() {
        let plan = Plan::draw(242_015, &Options::default());
        let (mad, fencer) = (&plan.faults[94], &plan.faults[99]);
        assert_eq!((mad.host, mad.kind, fencer.host), (1, FaultKind::MadAgent, 1));
        assert_eq!(fencer.kind, FaultKind::FencerCrash { back_after: SOON, page_kept: false });
    }

    #[test]
    fn a_fencer_is_away_for_as_long_as_was_drawn_where_its_agent_is_there_or_something_resets_its_host() {
        let back_after = 3 * S;
        let plan = |watched: bool, kind: FaultKind, at: u64| {
            let mut plan = Plan::draw(0, &Options { classes: vec![Class::Crashes], ..Options::default() });
            let (watchdogs, reset) = if watched {
                (leasefence_core::format::WatchdogClass::Hardware, crate::plan::Reset::Off)
            } else {
                (leasefence_core::format::WatchdogClass::None, crate::plan::Reset::Refused)
            };
            for host in &mut plan.hosts {
                (host.watchdog, host.reset) = (watchdogs, reset);
            }
            let crash = FaultKind::FencerCrash { back_after, page_kept: true };
            plan.faults = vec![Fault { at: 100 * S, host: 0, kind }, Fault { at, host: 0, kind: crash }];
            bring_fencers_back(&mut plan);
            plan.faults[1].kind == crash
        };
        let crash = FaultKind::AgentCrash { back_after: 60 * S };
        assert!(!plan(false, crash, 107 * S));
        assert!(plan(true, crash, 107 * S), "a watchdog ends it");
        assert!(plan(false, crash, 99 * S - back_after), "it is back before the agent dies");
        assert!(plan(false, crash, 200 * S), "its lease is over long since");
        assert!(plan(false, FaultKind::AgentCrash { back_after: S }, 107 * S), "the agent is back");
        assert!(plan(false, FaultKind::PageStruck, 101 * S), "the agent is there");
    }
}
