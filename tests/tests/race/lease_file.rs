//! The round's lease file: made, and read to see who owns what.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use leasefence_core::format::init::InitParameters;
use leasefence_core::format::{Layout, LeaseEntry, LeasePage, LeaseState, Policy, RecordCopy};
use leasefence_core::ids::{ClusterId, DomainId, FileId, Incarnation};

pub(crate) const CLUSTER: &str = "race";

/// A small lease file of a test cluster.
pub(crate) fn create(path: &Path) -> Layout {
    let header = InitParameters {
        file_id: FileId([7; 16]),
        cluster_id: ClusterId([8; 16]),
        cluster_name: CLUSTER.to_owned(),
        sector_size: 4096,
        max_hosts: 8,
        pages: 2,
        policy: Policy::ACCEPT_NONE.with(Policy::TEST),
        min_write_drain: Duration::from_millis(1),
        longest_verdict_after: Duration::from_secs(900),
    }
    .header()
    .expect("good parameters");
    let file = File::create(path).expect("a file");
    file.write_all_at(&vec![0; usize::try_from(header.layout.total_size()).expect("small")], 0)
        .expect("room");
    for place in [header.layout.first_header(), header.layout.last_header()] {
        file.write_all_at(&header.encode(&place), place.offset).expect("room");
    }
    file.sync_all().expect("a disk");
    header.layout
}

/// Whose the entry with the domain's highest term is, if it is `own`.
pub(crate) fn top_owner(path: &Path, layout: &Layout, domain: DomainId) -> Option<Incarnation> {
    let file = File::open(path).ok()?;
    let pages = (0..layout.pages()).flat_map(|page| layout.slots().map(move |slot| (page, slot)));
    let sectors = pages.filter_map(|(page, slot)| {
        let copies = RecordCopy::BOTH.into_iter().filter_map(|copy| {
            let place = layout.lease_page(page, slot, copy);
            let mut bytes = vec![0; place.len];
            file.read_exact_at(&mut bytes, place.offset).ok()?;
            LeasePage::decode(&place, &bytes).ok()
        });
        copies.max_by_key(|sector| (sector.incarnation.generation, sector.sequence))
    });
    let entries =
        sectors.filter_map(|sector| sector.get(domain).copied().map(|entry| (sector.incarnation, entry)));
    let standing = entries.filter(|(_, entry): &(_, LeaseEntry)| entry.state != LeaseState::Empty);
    let (incarnation, top) = standing.max_by_key(|(_, entry)| entry.term)?;
    (top.state == LeaseState::Own).then_some(incarnation)
}
