//! A domain comes in under its host's incoming entry alone, and beside its source alone.

use leasefence_core::format::LeaseState;

use super::{Happened, Judge};
use crate::world::World;

/// Reads the page when the CPUs of a domain run that has come in: by then libvirt has asked at each step. Not where its host's
/// lease is over, or was when a domain came in that stood still for long: what runs there is being killed.
#[derive(Debug)]
pub(super) struct Moves;

impl Judge for Moves {
    fn sentence(&self) -> &'static str {
        "A domain comes in under an incoming entry, beside its source alone."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Resumed { run, .. } = *happened else { return None };
        let run = &world.runs[run];
        let life = world.hosts[run.host].life()?;
        let source = world.moves.iter().rev().find(|moving| moving.domain == run.domain)?.source;
        let lives = world.holds(run.host) && !world.end_has_passed(run.host) && run.incarnation == Some(life);
        if !run.comes_in || run.ran_at != Some(world.at) || !lives {
            return None;
        }
        let entries = world.entries_of(run.domain);
        let has = |state: LeaseState| matches!(state, LeaseState::Own | LeaseState::Incoming);
        let mine = entries.iter().find(|(slot, _)| *slot == life.slot);
        if mine.is_none_or(|(_, entry)| !has(entry.state)) {
            return Some(format!(
                "domain {} comes in on host-{}, which has no entry of it",
                run.domain, run.host
            ));
        }
        let other = entries.iter().find_map(|(slot, entry)| {
            let alive = |host: &usize| {
                let holds = world.holds(*host) && !world.end_has_passed(*host);
                holds && world.hosts[*host].life().is_some_and(|life| life.slot == *slot)
            };
            let host = (0..world.hosts.len()).find(alive)?;
            let counts = host != run.host && host != world.runs[source].host && has(entry.state);
            counts.then_some(host)
        })?;
        Some(format!("domain {} comes in on host-{}, and host-{other} has it too", run.domain, run.host))
    }
}
