//! A receipt never lies: when `fenced` or `released` lands, no domain of that life runs and no write of it is on its way.

use leasefence_core::format::{HostState, RecordCopy};

use super::{Happened, Judge};
use crate::world::World;

/// Reads each record as it lands.
#[derive(Debug)]
pub(super) struct Receipts;

impl Judge for Receipts {
    fn sentence(&self) -> &'static str {
        "A receipt never lies."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        if let Happened::Published { host } = *happened {
            return self.proven(world, host);
        }
        let Happened::Landed { client, offset, .. } = *happened else { return None };
        let host = world.hosts.get(client)?;
        let layout = &world.file.layout;
        if !layout.host_records().contains(&offset) {
            return None;
        }
        let state = world.file.state_at(offset);
        let says = |wanted: HostState| state == wanted.code();
        if !says(HostState::Fenced) && !says(HostState::Released) && !says(HostState::Fencing) {
            return None;
        }
        let slot = host.lives.last()?.slot;
        let here = |copy: &RecordCopy| layout.host_record(slot, *copy).offset == offset;
        let record = world.file.record(slot, RecordCopy::BOTH.into_iter().find(here)?)?;
        if record.state == HostState::Fencing {
            let half = &host.fencer.half;
            let guards = host.powered && half.incarnation == record.incarnation && half.latched.is_none();
            return (guards && half.armed && host.fencer.pages_lost == 0)
                .then(|| format!("host-{client} says `fencing`, and its fencer has not latched the end"));
        }
        let run = world.writer_of(record.incarnation)?;
        let run = &world.runs[run];
        Some(format!(
            "host-{client} says that {} is {:?}, and domain {} of it on host-{} may still write",
            record.incarnation, record.state, run.domain, run.host
        ))
    }
}

impl Receipts {
    /// CLEAN is said only once no start can produce a process any more.
    fn proven(&self, world: &World, host: usize) -> Option<String> {
        let this = &world.hosts[host];
        let clean = this.fencer.half.clean.is_some_and(|clean| {
            this.fencer.half.latched.is_some() && clean.generation == this.fencer.half.incarnation.generation
        });
        (clean && this.libvirt_starts > 0)
            .then(|| format!("host-{host} is called clean, and libvirt is about to start a domain there"))
    }
}
