//! The lease model's states in canonical form: of the numbers of writes only their order in a sector counts, and of a sector
//! that a read has passed only what it says.

use leasefence_core::ids::{Generation, Sequence, Term};

use super::host::{Process, Waits};
use super::sectors::{Sector, newest};
use super::world::World;

impl std::hash::Hash for World {
    /// In canonical form: of the numbers of writes only their order in a sector counts.
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        let ranks: Vec<Vec<_>> =
            (0_u16..).zip(&self.disk).map(|(slot, copies)| self.versions(slot, *copies)).collect();
        let ranked = |slot: u16, sector: Sector| {
            let at =
                ranks.get(usize::from(slot)).and_then(|ranks| ranks.binary_search(&sector.version()).ok());
            (sector.body(), at.unwrap_or(usize::MAX))
        };
        for host in &self.hosts {
            (host.generation, host.dead, &host.mind, host.process, host.asked, host.unsettled, host.drops)
                .hash(hasher);
            host.unknown.hash(hasher);
            host.rejoining.map(|sector| ranked(host.slot, sector)).hash(hasher);
            // Only while an acquire is at work does it matter what the last scan has shown.
            let seen_top =
                if host.is_idle() && host.process != Process::Permitted { Term(0) } else { host.seen_top };
            seen_top.hash(hasher);
            match &host.waits {
                Waits::Nothing => 0_u8.hash(hasher),
                Waits::Write(copy, sector) => (1_u8, copy, ranked(host.slot, *sector)).hash(hasher),
                Waits::Scan(seen) => {
                    2_u8.hash(hasher);
                    for copies in seen {
                        // Of two copies that both were read only the newer counts, unless one is damaged.
                        let damaged = |[a, b]: &[Sector; 2]| (*a == Sector::DAMAGED, *b == Sector::DAMAGED);
                        copies.map(|copies| (damaged(&copies), newest(copies).body())).hash(hasher);
                    }
                }
            }
        }
        for (slot, copies) in (0_u16..).zip(&self.disk) {
            copies.map(|sector| ranked(slot, sector)).hash(hasher);
        }
        let mut late: Vec<_> =
            self.late.iter().map(|late| (late.slot, late.copy, ranked(late.slot, late.sector))).collect();
        late.sort_unstable();
        late.hash(hasher);
        (self.left, self.wish, &self.recovered, self.wrong).hash(hasher);
    }
}

impl World {
    /// The numbers of all writes of a sector that are there or may come to be, in order.
    fn versions(&self, slot: u16, copies: [Sector; 2]) -> Vec<Option<(Generation, Sequence)>> {
        let host = self.host(slot);
        let mut versions: Vec<_> = copies.iter().map(|sector| sector.version()).collect();
        versions.extend(host.rejoining.map(Sector::version));
        if let Waits::Write(_, sector) = host.waits {
            versions.push(sector.version());
        }
        versions.extend(self.late.iter().filter(|late| late.slot == slot).map(|late| late.sector.version()));
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}
