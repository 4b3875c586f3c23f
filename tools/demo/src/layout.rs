//! Where on its disk the guest writes what. `guest/guest.c` has the picture, and the same numbers.

use crate::record::Record;

/// The guest writes whole blocks, aligned.
pub const BLOCK_BYTES: usize = 4096;

/// Each sector of a block holds the same line.
pub const SECTOR_BYTES: usize = 512;

/// Records in a burst, each written into a lane of its own.
pub const LANES: u32 = 8;

/// Bursts that the journal holds.
pub const ROWS: u32 = 13;

/// Blocks of a region, one region a life.
pub const REGION_BLOCKS: u32 = LANES * LANE_BLOCKS;

const LANE_BLOCKS: u32 = 16;
const JOURNAL: u32 = 2;
const MOST_LIVES: u64 = 256;

/// The places on a disk of a given size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// How many lives it has room for.
    pub lives: u32,
}

impl Layout {
    /// The layout of a disk of so many bytes; `None` if not even one life fits.
    #[must_use]
    pub fn of(bytes: usize) -> Option<Self> {
        let blocks = u64::try_from(bytes / BLOCK_BYTES).ok()?;
        let lives = (blocks / u64::from(1 + REGION_BLOCKS)).min(MOST_LIVES);
        u32::try_from(lives).ok().filter(|lives| *lives > 0).map(|lives| Self { lives })
    }

    /// Bytes that a disk for so many lives needs.
    #[must_use]
    pub const fn bytes(lives: usize) -> usize {
        lives * (1 + REGION_BLOCKS as usize) * BLOCK_BYTES
    }

    /// First block of a life's region.
    #[must_use]
    pub fn region(self, life: u32) -> u32 {
        self.lives + life * REGION_BLOCKS
    }
}

/// A block within a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// The page of the table in a lane.
    Table {
        /// From 0.
        lane: u32,
    },
    /// A row of the journal in a lane.
    Journal {
        /// From 0.
        lane: u32,
        /// From 0.
        row: u32,
    },
}

impl Place {
    /// Where a record of this number is kept in the journal.
    #[must_use]
    pub fn in_journal(counter: u32) -> Self {
        Self::Journal { lane: lane_of(counter), row: burst_of(counter) % ROWS }
    }

    /// Where it is in the table.
    #[must_use]
    pub fn in_table(counter: u32) -> Self {
        Self::Table { lane: lane_of(counter) }
    }

    /// All places of a region.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LANES).flat_map(|lane| {
            std::iter::once(Self::Table { lane }).chain((0..ROWS).map(move |row| Self::Journal { lane, row }))
        })
    }

    /// The block, counted from the region's first.
    #[must_use]
    pub fn block(self) -> u32 {
        match self {
            Self::Table { lane } => lane * LANE_BLOCKS,
            Self::Journal { lane, row } => lane * LANE_BLOCKS + JOURNAL + row,
        }
    }
}

/// The lane of a record: in which eighth of its burst it is.
#[must_use]
pub fn lane_of(counter: u32) -> u32 {
    counter.saturating_sub(1) % LANES
}

/// The burst of a record, counted from 0.
#[must_use]
pub fn burst_of(counter: u32) -> u32 {
    counter.saturating_sub(1) / LANES
}

/// The record of a burst in a lane.
#[must_use]
pub fn counter_of(burst: u32, lane: u32) -> u32 {
    burst * LANES + lane + 1
}

/// What a block holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Nothing was ever written here, or it was wiped.
    Empty,
    /// What the guest wrote.
    Record(Record),
    /// Something else, described.
    Damaged(String),
}

impl Content {
    /// Reads a block.
    #[must_use]
    pub fn parse(block: &[u8]) -> Self {
        if block.iter().all(|byte| *byte == 0) {
            return Self::Empty;
        }
        let mut sectors = block.chunks(SECTOR_BYTES);
        let first = sectors.next().unwrap_or_default();
        if let Some(number) = sectors.position(|sector| sector != first) {
            let other = block.chunks(SECTOR_BYTES).nth(number + 1).unwrap_or_default();
            return Self::Damaged(format!(
                "torn: its first sector holds {}, but sector {} {}",
                text(first),
                number + 1,
                text(other)
            ));
        }
        let line = String::from_utf8_lossy(until_zero(first));
        Record::parse(&line)
            .map_or_else(|| Self::Damaged(format!("no record: {}", text(first))), Self::Record)
    }
}

fn until_zero(sector: &[u8]) -> &[u8] {
    sector.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(sector: &[u8]) -> String {
    match until_zero(sector) {
        [] => "nothing".into(),
        line => format!("{:?}", String::from_utf8_lossy(line).trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: [&str; 8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES];
        for (sector, line) in block.chunks_mut(SECTOR_BYTES).zip(lines) {
            sector[..line.len()].copy_from_slice(line.as_bytes());
        }
        block
    }

    const LINE: &str =
        "write generation 3 boot a host host-2 counter 7 uptime_ms 620 at 2026-11-26T04:49:10Z\n";

    #[test]
    fn a_whole_block_holds_a_record_and_an_empty_one_nothing() {
        assert!(matches!(Content::parse(&block([LINE; 8])), Content::Record(record) if record.counter == 7));
        assert_eq!(Content::parse(&[0; BLOCK_BYTES]), Content::Empty);
    }

    #[test]
    fn a_block_of_two_writes_is_torn() {
        let newer = LINE.replace("counter 7", "counter 15");
        let torn = block([LINE, LINE, LINE, &newer, &newer, &newer, &newer, &newer]);
        let Content::Damaged(what) = Content::parse(&torn) else { panic!("it is torn") };
        assert!(
            what.starts_with("torn") && what.contains("sector 3") && what.contains("counter 15"),
            "{what}"
        );
        let half = block([LINE, LINE, "", "", "", "", "", ""]);
        let Content::Damaged(what) = Content::parse(&half) else { panic!("it is torn") };
        assert!(what.contains("sector 2 nothing"), "{what}");
    }

    #[test]
    fn no_two_blocks_of_a_burst_are_neighbours() {
        for burst in 0..2 * ROWS {
            let counters = (0..LANES).map(|lane| counter_of(burst, lane));
            let mut blocks: Vec<_> =
                counters.flat_map(|c| [Place::in_journal(c).block(), Place::in_table(c).block()]).collect();
            blocks.sort_unstable();
            assert!(blocks.windows(2).all(|pair| pair[0] + 1 < pair[1]), "{blocks:?}");
        }
    }

    #[test]
    fn a_disk_has_room_for_the_lives_it_was_made_for() {
        assert_eq!(Layout::of(Layout::bytes(64)), Some(Layout { lives: 64 }));
        assert_eq!(Layout::of(1 << 40), Some(Layout { lives: 256 }));
        assert_eq!(Layout::of(4096), None);
    }
}
