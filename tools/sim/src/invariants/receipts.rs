//! A receipt never lies: when `fenced` or `released` lands, no domain of that life runs and no write of it is on its way.

use leasefence_core::format::{HostRecord, HostState, RecordCopy};

use super::{Happened, Judge};
use crate::world::World;

/// The state's byte in a record: it alone decides whether the rest is worth decoding.
const STATE_AT: u64 = 92;

/// Reads each record as it lands.
#[derive(Debug)]
pub(super) struct Receipts;

impl Judge for Receipts {
    fn sentence(&self) -> &'static str {
        "A receipt never lies."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Landed { client, offset, .. } = *happened else { return None };
        let host = world.hosts.get(client)?;
        let layout = &world.file.layout;
        if !layout.host_records().contains(&offset) {
            return None;
        }
        let state = world.file.byte(offset + STATE_AT);
        if state != HostState::Fenced.code() && state != HostState::Released.code() {
            return None;
        }
        let slot = host.lives.keys().next_back()?.slot;
        let places = RecordCopy::BOTH.map(|copy| layout.host_record(slot, copy));
        let place = places.into_iter().find(|place| place.offset == offset)?;
        let record = HostRecord::decode(&place, &world.file.read(offset, place.len)).ok()?;
        let run = world.writer_of(record.incarnation)?;
        let run = &world.runs[run];
        Some(format!(
            "host-{client} says that {} is {:?}, and domain {} of it on host-{} may still write",
            record.incarnation, record.state, run.domain, run.host
        ))
    }
}
