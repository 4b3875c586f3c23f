//! In scenes of one victim: once its `fencing` lies on the storage, whoever scans without hindrance says within the cap that it
//! is gone.

use std::collections::BTreeMap;

use leasefence_core::format::{HostState, RecordCopy};
use leasefence_core::ids::Incarnation;

use super::{Happened, Judge};
use crate::plan::Class;
use crate::time::{S, nanos};
use crate::world::World;

/// A scan, and what is slow about it.
const SLACK: u64 = 3 * S;

/// Remembers since when `fencing` has been there, and since when each process holds a lease: one that has joined only then
/// counts from its own reads.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    fencing: BTreeMap<Incarnation, u64>,
    holding: BTreeMap<(usize, u32), u64>,
}

impl Judge for Verdicts {
    fn sentence(&self) -> &'static str {
        "A host that says `fencing` is called gone within the cap."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::Landed { client, offset, .. } if world.plan.classes == [Class::Fences] => {
                let layout = &world.file.layout;
                let host = world.hosts.get(client)?;
                let fencing = world.file.state_at(offset) == HostState::Fencing.code();
                if !fencing || !layout.host_records().contains(&offset) {
                    return None;
                }
                // Its page may speak of another life: an agent gone mad writes there what it likes.
                let slot = host.life()?.slot;
                let here = |copy: &RecordCopy| layout.host_record(slot, *copy).offset == offset;
                let record = world.file.record(slot, RecordCopy::BOTH.into_iter().find(here)?)?;
                self.fencing.entry(record.incarnation).or_insert(world.at);
                None
            }
            Happened::Scanned { host } => {
                let observer = world.hosts.get(host)?;
                let free = world.clients[host].path.is_whole() && observer.agent.held.is_none();
                if !world.holds(host) {
                    return None;
                }
                let joined = *self.holding.entry((host, observer.agent.process)).or_insert(world.at);
                let late = |(incarnation, since): (&Incarnation, &u64)| {
                    let victim = world.host_of(*incarnation).filter(|victim| *victim != host)?;
                    let terms = world.plan.hosts[victim].terms;
                    // A pass goes four ways; one or two show it, and one or two that begin late enough prove it.
                    let slow = 16 * world.clients[host].path.slow;
                    let within = nanos(terms.cap_after_fencing()) + SLACK + slow;
                    let late = world.at - joined.max(*since) > within
                        && world.evidence_of(host, *incarnation).is_none();
                    late.then(|| {
                        format!("host-{host} has seen {incarnation} fencing for long, and waits still")
                    })
                };
                (free && !world.mended).then(|| self.fencing.iter().find_map(late)).flatten()
            }
            _ => None,
        }
    }
}
