//! Maintenance is said by both copies of the record before the fencer lets go, and while no earlier record may still land.

use leasefence_core::format::{HostState, RecordCopy};

use super::{Happened, Judge};
use crate::world::{LateWrite, STATE_AT, World, version_in};

/// Looks when a fencer lets go, and when a record says so.
#[derive(Debug)]
pub(super) struct Disarms;

impl Judge for Disarms {
    fn sentence(&self) -> &'static str {
        "A promise is weakened on the storage before the obligation ends."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let layout = &world.file.layout;
        match *happened {
            Happened::LetGo { host } => {
                let life = world.hosts[host].life()?;
                let holds = |copy: &RecordCopy| {
                    let record = world.file.record(life.slot, *copy);
                    record.is_some_and(|record| record.incarnation == life && record.state == HostState::Held)
                };
                RecordCopy::BOTH.iter().any(holds).then(|| {
                    format!("host-{host} lets go, and a copy of its record says that it holds its lease")
                })
            }
            Happened::Landed { client, offset, .. } => {
                world.hosts.get(client)?;
                let is_record = |offset: u64| layout.host_records().contains(&offset);
                if !is_record(offset) || world.file.state_at(offset) != HostState::Disarmed.code() {
                    return None;
                }
                let held = HostState::Held.code();
                // One that was issued after it is of a later arming.
                let landed = version_in(&world.file.read(offset, STATE_AT));
                let late = |write: &&LateWrite| {
                    write.client == client
                        && is_record(write.offset)
                        && write.data.get(STATE_AT) == Some(&held)
                        && version_in(&write.data) < landed
                };
                world.file.late.values().find(late).map(|_| {
                    format!("host-{client} says that it is disarmed, and an earlier record may still land")
                })
            }
            _ => None,
        }
    }
}
