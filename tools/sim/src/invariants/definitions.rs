//! A domain is never restarted from an older definition than an entry that has reached the storage names.

use std::collections::BTreeMap;

use leasefence_core::format::{LeaseState, RecordCopy};
use leasefence_core::ids::DomainId;

use super::{Happened, Judge};
use crate::world::World;

/// Remembers the newest chain that an own entry named.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    newest: BTreeMap<DomainId, u64>,
}

impl Judge for Definitions {
    fn sentence(&self) -> &'static str {
        "A domain is never restarted from an older definition."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::Landed { client, offset, len } => self.landed(world, client, offset, len),
            Happened::Began { run } => {
                let run = &world.runs[run];
                run.term?;
                let newest = *self.newest.get(&world.domains[run.domain].id)?;
                return (run.chain < newest).then(|| {
                    format!(
                        "domain {} begins from chain {}, and an entry names chain {newest}",
                        run.domain, run.chain
                    )
                });
            }
            _ => {}
        }
        None
    }
}

impl Definitions {
    fn landed(&mut self, world: &World, client: usize, offset: u64, len: usize) {
        let Some(own) = world.hosts.get(client).and_then(|host| Some(host.life()?.slot)) else { return };
        // Both copies are there when the second is.
        let Some((page, slot, RecordCopy::B)) = world.file.sector_at(offset) else { return };
        if slot != own || len != world.file.layout.lease_page(page, slot, RecordCopy::B).len {
            return;
        }
        let Some(page) = world.file.lease_page(page, slot, RecordCopy::B) else { return };
        for entry in page.entries().filter(|entry| entry.state == LeaseState::Own) {
            let newest = self.newest.entry(entry.domain).or_default();
            *newest = (*newest).max(entry.definition_hash);
        }
    }
}
