//! In scenes of one victim: once its `fencing` lies on the storage, whoever scans without hindrance says within the cap that it
//! is gone.

use std::collections::BTreeMap;

use leasefence_core::format::HostState;
use leasefence_core::ids::Incarnation;

use super::{Happened, Judge};
use crate::plan::Class;
use crate::time::{S, nanos};
use crate::world::World;

/// A scan, and what is slow about it.
const SLACK: u64 = 3 * S;

/// Remembers since when `fencing` has been there.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    fencing: BTreeMap<Incarnation, u64>,
}

impl Judge for Verdicts {
    fn sentence(&self) -> &'static str {
        "A host that says `fencing` is called gone within the cap."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::Landed { client, offset, .. } if world.plan.classes == [Class::Fences] => {
                let record = world.file.layout.host_records().contains(&offset);
                let host = world.hosts.get(client)?;
                if record && world.file.byte(offset + 92) == HostState::Fencing.code() {
                    self.fencing.entry(host.life()?).or_insert(world.at);
                }
                None
            }
            Happened::Scanned { host } => {
                let observer = world.hosts.get(host)?;
                let free = world.clients[host].path.is_whole() && observer.agent.held.is_none();
                let late = |(incarnation, since): (&Incarnation, &u64)| {
                    let victim = world.host_of(*incarnation).filter(|victim| *victim != host)?;
                    let terms = world.plan.hosts[victim].terms;
                    let slow = 4 * world.clients[host].path.slow;
                    let within = nanos(terms.cap_after_fencing()) + SLACK + slow;
                    let late = world.at - since > within && world.evidence_of(host, *incarnation).is_none();
                    late.then(|| {
                        format!("host-{host} has seen {incarnation} fencing for long, and waits still")
                    })
                };
                (free && !world.mended && world.holds(host))
                    .then(|| self.fencing.iter().find_map(late))
                    .flatten()
            }
            _ => None,
        }
    }
}
