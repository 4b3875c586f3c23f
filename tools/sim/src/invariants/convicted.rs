//! A host that can read a conviction of itself ends its lease.

use std::collections::BTreeMap;

use leasefence_core::format::RecordCopy;
use leasefence_core::ids::Incarnation;

use super::{Happened, Judge};
use crate::time::S;
use crate::world::World;

/// Longer than a scan and the latch after it take.
const SOON: u64 = 5 * S;

/// Remembers since when an incarnation has been convicted.
#[derive(Debug, Default)]
pub(super) struct Convicted {
    since: BTreeMap<Incarnation, u64>,
}

impl Judge for Convicted {
    fn sentence(&self) -> &'static str {
        "A host that is convicted ends its lease."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::Landed { client, offset, len } => {
                let layout = &world.file.layout;
                // The first conviction's generation: without one there is nothing to decode.
                let none = (0..8).all(|index| world.file.byte(offset + 352 + 12 * index) == 0);
                if none || client >= world.hosts.len() || !layout.host_records().contains(&offset) {
                    return None;
                }
                let slot = world.hosts[client].life()?.slot;
                let here = |copy: &RecordCopy| {
                    let place = layout.host_record(slot, *copy);
                    place.offset == offset && place.len == len
                };
                let record = world.file.record(slot, RecordCopy::BOTH.into_iter().find(here)?)?;
                for conviction in record.convictions.iter().flatten() {
                    self.since.entry(conviction.target).or_insert(world.at);
                }
                None
            }
            Happened::Scanned { host } => {
                let life = world.hosts.get(host)?.life()?;
                let since = self.since.get(&life)?;
                let reads = world.clients[host].path.is_whole();
                (reads
                    && world.at - since > SOON
                    && world.holds(host)
                    && !world.end_has_passed(host)
                    && world.hosts[host].fencer.paused_until <= world.at
                    && world.reads_since(host) > SOON)
                    .then(|| format!("host-{host} goes on as {life}, of which a record says that it is gone"))
            }
            _ => None,
        }
    }
}
