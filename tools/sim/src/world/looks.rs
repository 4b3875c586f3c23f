//! What the storage has shown a host of a lease page, and what it writes there after that: what lease rules decide on, and
//! judges look at.

use std::collections::BTreeMap;

use leasefence_core::format::{LeaseEntry, LeasePage, RecordCopy};
use leasefence_core::ids::{DomainId, Slot};
use leasefence_core::storage::IoOp;

use super::World;

/// A host's sector that it is about to write.
#[derive(Debug)]
pub(crate) struct Writing {
    /// Which process of the host does.
    pub(crate) process: u32,
    /// Which page.
    pub(crate) number: u8,
    /// Whose sector.
    pub(crate) slot: Slot,
    /// What it will say.
    pub(crate) page: LeasePage,
}

impl Writing {
    /// What the client has just issued, if that is a sector of a lease page.
    pub(crate) fn of(world: &World, client: usize) -> Option<Self> {
        let process = world.hosts.get(client)?.agent.process;
        let IoOp::Write { offset, data } = &world.clients[client].flight.as_ref()?.request.op else {
            return None;
        };
        let (number, slot, copy) = world.file.sector_at(*offset)?;
        let page = LeasePage::decode(&world.file.layout.lease_page(number, slot, copy), data).ok()?;
        Some(Self { process, number, slot, page })
    }
}

/// The last two reads of all of a page that the storage has answered to each host, as bytes: few of them are ever judged.
#[derive(Debug, Default)]
pub(crate) struct Looks(BTreeMap<(usize, u8), [Vec<u8>; 2]>);

impl Looks {
    /// The answer to a read that begins so far into the page, all of which is so long. A sector that is read by itself belongs
    /// to the look before it: it could not be understood in that.
    fn note(&mut self, client: usize, page: u8, from: usize, whole: u64, bytes: &[u8]) {
        let looks = self.0.entry((client, page)).or_default();
        if u64::try_from(bytes.len()) == Ok(whole) {
            looks.swap(0, 1);
            bytes.clone_into(&mut looks[1]);
        } else if let Some(sector) = looks[1].get_mut(from..from.saturating_add(bytes.len())) {
            sector.copy_from_slice(bytes);
        }
    }

    /// The other hosts' entries of a domain in the look before the last one, and in the last one; none for a look in which a
    /// sector could not be read.
    pub(crate) fn others(
        &self,
        world: &World,
        client: usize,
        writing: &Writing,
        domain: DomainId,
    ) -> [Option<Vec<LeaseEntry>>; 2] {
        let Some(looks) = self.0.get(&(client, writing.number)) else { return [None, None] };
        looks.each_ref().map(|bytes| others(world, writing, domain, bytes))
    }
}

impl World {
    /// The storage answers a read.
    pub(super) fn note_look(&mut self, client: usize, offset: u64, bytes: &[u8]) {
        if let Some((page, from)) = self.file.page_at(offset) {
            let range = self.file.layout.lease_page_range(page);
            self.looks.note(client, page, from, range.end - range.start, bytes);
        }
    }
}

fn others(world: &World, writing: &Writing, domain: DomainId, bytes: &[u8]) -> Option<Vec<LeaseEntry>> {
    if bytes.is_empty() {
        return None;
    }
    let layout = &world.file.layout;
    let start = layout.lease_page_range(writing.number).start;
    let mut entries = Vec::new();
    for slot in layout.slots().filter(|slot| *slot != writing.slot) {
        let sectors = RecordCopy::BOTH.map(|copy| {
            let place = layout.lease_page(writing.number, slot, copy);
            let from = usize::try_from(place.offset - start).unwrap_or(usize::MAX);
            (place, bytes.get(from..from.saturating_add(place.len)).unwrap_or_default())
        });
        if sectors.iter().all(|(_, sector)| sector.iter().all(|byte| *byte == 0)) {
            continue;
        }
        let pages = sectors.iter().filter_map(|(place, sector)| LeasePage::decode(place, sector).ok());
        let newest = pages.max_by_key(|page| (page.incarnation.generation, page.sequence))?;
        entries.extend(newest.get(domain));
    }
    Some(entries)
}
