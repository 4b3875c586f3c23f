//! No incarnation is called gone before the last write that it may make has landed.

use std::collections::{BTreeMap, BTreeSet};

use leasefence_core::ids::Incarnation;

use super::{Happened, Judge};
use crate::plan::{Fault, FaultKind, Operator};
use crate::time::MS;
use crate::world::World;

/// Looks at each verdict once, at the moment at which it is given.
#[derive(Debug, Default)]
pub(super) struct EvidenceIsTrue {
    /// What has been looked at: by whom, in which process of his, of whom.
    seen: BTreeMap<usize, (u32, Vec<Incarnation>)>,
    /// Who has promised anything: before it is armed an incarnation has not, and that is no promise which is over.
    promised: BTreeSet<Incarnation>,
    /// Whose promise was over once: a fencer that loses its page after that begins anew, and promises nothing.
    over: BTreeSet<Incarnation>,
}

impl Judge for EvidenceIsTrue {
    fn sentence(&self) -> &'static str {
        "No incarnation is called gone before the last write that it may make has landed."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Scanned { host } = *happened else { return None };
        let process = world.process_of(host);
        let seen = self.seen.entry(host).or_default();
        if seen.0 != process {
            *seen = (process, Vec::new());
        }
        for incarnation in world.lives() {
            let is_over = self.over.contains(&incarnation) || world.promise_is_over(incarnation);
            if !is_over {
                self.promised.insert(incarnation);
            } else if self.promised.contains(&incarnation) {
                self.over.insert(incarnation);
            }
            if seen.1.contains(&incarnation) {
                continue;
            }
            let Some(evidence) = world.evidence_of(host, incarnation) else { continue };
            seen.1.push(incarnation);
            if evidence == "expired"
                && let Some(why) = too_soon(world, host, incarnation, is_over)
            {
                return Some(why);
            }
            // An operator's word is taken for what it is.
            if evidence == "confirmed" && world.plan.faults.iter().any(is_mistake) {
                continue;
            }
            if let Some(run) = world.writer_of(incarnation) {
                let run = &world.runs[run];
                // He says that the machine is off. What the storage has received from it is the barrier's, before a start.
                let there = &world.hosts[run.host];
                if evidence == "confirmed" && !(there.powered && there.boot == run.boot) {
                    continue;
                }
                return Some(format!(
                    "{} says that {incarnation} is {evidence}, and domain {} of it on host-{} may still write",
                    world.name_of(host),
                    run.domain,
                    run.host
                ));
            }
            // A life that goes on: its host holds its lease, and may start what it likes.
            if let Some(victim) = world.host_of(incarnation)
                && world.hosts[victim].life() == Some(incarnation)
                && world.holds(victim)
                && !world.end_has_passed(victim)
            {
                return Some(format!(
                    "{} says that {incarnation} is {evidence}, and host-{victim} holds its lease under it",
                    world.name_of(host)
                ));
            }
        }
        None
    }
}

fn is_mistake(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Operator(Operator::Mistake { .. }))
}

/// A host that is stopped now, and goes on with the last renewal that counts, may write until the end of its promise.
fn too_soon(world: &World, observer: usize, incarnation: Incarnation, is_over: bool) -> Option<String> {
    let name = world.name_of(observer);
    if !is_over {
        return Some(format!(
            "{name} says that {incarnation} is expired, and what it has promised is not over"
        ));
    }
    let this = world.hosts.get(observer)?;
    // What was judged before the same turn ended the own lease counts: a moment ago is looked at.
    let now = this.clock.now(world.at.saturating_sub(MS)).instant;
    let ended = this.page.as_ref().is_none_or(|page| page.lease_end.reached(now));
    (ended && this.agent.held.is_none())
        .then(|| format!("{name} says that {incarnation} is expired, and its own lease is over"))
}
