//! What `leasefence init` writes, and the judgement of what lies on a medium before anything is written.
//!
//! It checks parameters and builds the two headers; all other sectors of a new file are zero. It never writes, and it
//! never watches a clock: whoever overwrites a lease file first watches its records for [`WatchPlan::at_least`].

use std::ops::Range;
use std::time::Duration;

use super::copies::Copies;
use super::header::{Features, Header, Policy};
use super::host_state::HostState;
use super::layout::{Layout, LayoutError, MAX_PAGES, MIB, Place, SECTOR_LEN, Unit};
use super::sector::{DecodeError, MAGIC};
use super::text::ClusterName;
use crate::ids::{ClusterId, FileId, MAX_HOSTS};

/// The smallest minimum of `write_drain` outside a test cluster: no storage that hosts share applies its writes at once.
pub const SMALLEST_MIN_WRITE_DRAIN: Duration = Duration::from_secs(1);
/// The size of the largest lease file: how far a medium is looked at before it is called empty.
pub const LARGEST_SIZE: u64 = 40 * MIB;
/// A lease file without any record is watched for this long all the same: longer than a machine waits between its
/// claim and its first record.
pub const SHORTEST_WATCH: Duration = Duration::from_secs(5);

/// What a new lease file is to be.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InitParameters {
    /// 16 random bytes.
    pub file_id: FileId,
    /// 16 random bytes.
    pub cluster_id: ClusterId,
    /// The cluster's name: 1 to 64 bytes without control characters.
    pub cluster_name: String,
    /// 512 or 4096 bytes.
    pub sector_size: u32,
    /// 1 to 256.
    pub max_hosts: u16,
    /// 1 to 16.
    pub pages: u8,
    /// What counts as proof.
    pub policy: Policy,
    /// The smallest `write_drain` that a host may have.
    pub min_write_drain: Duration,
    /// The longest `verdict_after` that a host may have.
    pub longest_verdict_after: Duration,
}

/// Why a lease file cannot be made like that.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum InitError {
    /// Neither 512 nor 4096.
    #[error("the sector size is 512 or 4096 bytes, not {0}")]
    SectorSize(u32),
    /// Too few or too many hosts or pages.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A name is what tells two clusters apart.
    #[error("the cluster's name is empty: give it one, as in --cluster prod")]
    NoName,
    /// It would not fit, or not print.
    #[error("the cluster's name {0:?} is longer than 64 bytes or holds control characters")]
    Name(String),
    /// Outside a test cluster nothing below a second is believed.
    #[error("a minimum write_drain of {0:?} is too short: at least {least:?}, or 1 ms with --test", least = SMALLEST_MIN_WRITE_DRAIN)]
    WriteDrain(Duration),
    /// No host could ever keep both bounds.
    #[error(
        "the longest verdict_after ({longest:?}) must be more than the minimum write_drain ({drain:?}) and at most 24 h"
    )]
    Longest {
        /// The longest `verdict_after`.
        longest: Duration,
        /// The minimum `write_drain`.
        drain: Duration,
    },
}

impl InitParameters {
    /// The header of such a file; its layout gives the size, and the places for [`Header::encode`].
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn header(&self) -> Result<Header, InitError> {
        let unit = Unit::from_len_bytes(self.sector_size).ok_or(InitError::SectorSize(self.sector_size))?;
        let layout = Layout::new(self.file_id, unit, self.max_hosts, self.pages)?;
        self.check_durations()?;
        Ok(Header {
            layout,
            cluster_name: self.name()?,
            cluster_id: self.cluster_id,
            policy: self.policy,
            min_write_drain: self.min_write_drain,
            longest_verdict_after: self.longest_verdict_after,
            features: Features::default(),
        })
    }

    fn name(&self) -> Result<ClusterName, InitError> {
        if self.cluster_name.is_empty() {
            return Err(InitError::NoName);
        }
        ClusterName::exact(&self.cluster_name).ok_or_else(|| InitError::Name(self.cluster_name.clone()))
    }

    fn check_durations(&self) -> Result<(), InitError> {
        let (drain, longest) = (self.min_write_drain, self.longest_verdict_after);
        let test = self.policy.contains(Policy::TEST);
        let least = if test { Duration::from_millis(1) } else { SMALLEST_MIN_WRITE_DRAIN };
        if drain < least {
            return Err(InitError::WriteDrain(drain));
        }
        if longest <= drain || longest > Duration::from_secs(24 * 3600) {
            return Err(InitError::Longest { longest, drain });
        }
        Ok(())
    }
}

/// What lies on a medium.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Contents {
    /// Nothing, or zeroes only.
    Empty,
    /// A lease file: one of its headers is whole.
    LeaseFile(Box<Header>),
    /// Sectors of a lease file, but neither header is whole.
    Headless {
        /// Byte offset of the first such sector.
        at: u64,
    },
    /// A lease file of a version or with features that this program does not know.
    Newer(DecodeError),
    /// Something else.
    Foreign {
        /// Byte offset of the first byte that is not zero.
        at: u64,
        /// What begins there.
        bytes: Vec<u8>,
    },
}

/// Judges what lies on a medium from its bytes, fed piece by piece: the first [`LARGEST_SIZE`] bytes at least.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    header: Option<Box<Header>>,
    newer: Option<DecodeError>,
    sector: Option<u64>,
    foreign: Option<(u64, Vec<u8>)>,
}

impl Inspection {
    /// Takes the bytes at byte `offset`, a multiple of 4096. Pieces may come in any order and may overlap.
    pub fn feed(&mut self, offset: u64, bytes: &[u8]) {
        for (index, sector) in bytes.chunks(SECTOR_LEN).enumerate() {
            self.feed_sector(offset + (index * SECTOR_LEN) as u64, sector);
        }
    }

    /// What was found.
    #[must_use]
    pub fn contents(self) -> Contents {
        match (self.header, self.newer, self.sector, self.foreign) {
            (_, Some(newer), ..) => Contents::Newer(newer),
            (Some(header), ..) => Contents::LeaseFile(header),
            (None, None, Some(at), _) => Contents::Headless { at },
            (None, None, None, Some((at, bytes))) => Contents::Foreign { at, bytes },
            (None, None, None, None) => Contents::Empty,
        }
    }

    fn feed_sector(&mut self, offset: u64, sector: &[u8]) {
        let Some(first) = sector.iter().position(|byte| *byte != 0) else { return };
        if is_header_place(offset) {
            self.feed_header(offset, sector);
        }
        // With 512-byte units, eight sectors of a lease file lie in these 4096 bytes.
        let found = sector.chunks(512).position(|unit| unit.starts_with(&MAGIC));
        let at = offset + first as u64;
        match found {
            Some(index) if self.sector.is_none() => self.sector = Some(offset + (index * 512) as u64),
            None if self.foreign.is_none() => {
                let end = sector.len().min(first + 16);
                self.foreign = Some((at, sector[first..end].to_vec()));
            }
            _ => {}
        }
    }

    fn feed_header(&mut self, offset: u64, sector: &[u8]) {
        match Header::decode(offset, sector) {
            // Whoever may not write beside a feature cannot know when its hosts are gone either.
            Ok(header) if !header.features.writable() => {
                let value = header.features.incompat | header.features.ro_compat;
                self.newer = Some(DecodeError::BadValue { field: "features", value });
            }
            Ok(header) if self.header.is_none() => self.header = Some(Box::new(header)),
            Err(error @ DecodeError::WrongVersion(_)) => self.newer = Some(error),
            Ok(_) | Err(_) => {}
        }
    }
}

/// A header lies at the beginning, or in the last 4096 bytes before a whole MiB.
fn is_header_place(offset: u64) -> bool {
    offset == 0 || (offset + SECTOR_LEN as u64).is_multiple_of(MIB)
}

/// What must be watched, and for how long, before a lease file may be overwritten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchPlan {
    /// The bytes that no host may change meanwhile.
    pub range: Range<u64>,
    /// A read that starts at least this long after the first read's end must show all of them unchanged.
    pub at_least: Duration,
    /// Hosts in maintenance: they may run domains without renewing, so that watching proves nothing about them.
    pub disarmed: Vec<String>,
}

impl WatchPlan {
    /// The plan for a lease file of which `scan` is a read of all claims and host records, from [`Self::range_of`].
    ///
    /// The time is the longest `verdict_after` of any valid copy; where a copy is damaged, or the last of them is not
    /// known, the longest that the header allows.
    #[must_use]
    pub fn of(header: &Header, scan: &[u8]) -> Self {
        let range = Self::range_of(&header.layout);
        let mut plan = Self { range, at_least: SHORTEST_WATCH, disarmed: Vec::new() };
        let records = header.layout.host_records();
        let skipped = usize::try_from(records.start - plan.range.start).unwrap_or(usize::MAX);
        let scan = scan.get(skipped..).unwrap_or_default();
        for slot in header.layout.slots() {
            plan.add(header, &Copies::in_scan(&header.layout, slot, scan));
        }
        plan
    }

    /// What is watched of a lease file: all claims and host records.
    #[must_use]
    pub fn range_of(layout: &Layout) -> Range<u64> {
        layout.claims().start..layout.host_records().end
    }

    /// The plan where no header says what is where: all of the medium, for as long as a header allows at most by default.
    #[must_use]
    pub fn of_headless(size: u64) -> Self {
        Self {
            range: 0..size.min(LARGEST_SIZE),
            at_least: super::LONGEST_VERDICT_AFTER_DEFAULT,
            disarmed: Vec::new(),
        }
    }

    fn add(&mut self, header: &Header, copies: &Copies<super::HostRecord>) {
        let damaged =
            [&copies.a, &copies.b].iter().any(|copy| !matches!(copy, Ok(_) | Err(DecodeError::Empty)));
        if damaged {
            self.at_least = self.at_least.max(header.longest_verdict_after);
        }
        let survival = copies.valid().map(|record| record.survival_max).max().unwrap_or_default();
        for record in copies.valid() {
            let terms = record.effective_terms();
            self.at_least = self.at_least.max(terms.verdict_after_with_survival(survival));
        }
        if let Some((_, record)) = copies.newest()
            && record.state == HostState::Disarmed
        {
            self.disarmed.push(record.host_name.as_str().to_owned());
        }
    }
}

/// The two places of a header and the bytes to write there, the last one first: while it is being written, the file has
/// no header at its beginning, and nobody takes it for whole.
#[must_use]
pub fn header_writes(header: &Header) -> [(Place, Vec<u8>); 2] {
    [header.layout.last_header(), header.layout.first_header()].map(|place| (place, header.encode(&place)))
}

const _: () = assert!(MAX_HOSTS == 256 && MAX_PAGES == 16, "LARGEST_SIZE follows from these");
