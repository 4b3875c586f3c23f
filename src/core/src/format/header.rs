//! The file's header: what `leasefence init` decided for the whole cluster. Written at both ends of the file.
//!
//! ```text
//!  64 cluster name 64     128 cluster uuid 16
//! 144 unit 4              148 max_hosts 2 | pages 2
//! 152 policy 4            156 minimum write_drain ms 4
//! 160 longest verdict_after ms 4 | spare 4
//! 168 features incompat 8 | ro_compat 8 | compat 8
//! 192 spare up to 4096
//! ```

use std::time::Duration;

use super::layout::{Layout, Place, SECTOR_LEN, Unit};
use super::raw;
use super::sector::{DecodeError, HEADER_LEN, SectorHeader, SectorKind};
use super::text::ClusterName;
use crate::ids::{ClusterId, FileId};

/// The longest `verdict_after` that a header allows unless told otherwise.
pub const LONGEST_VERDICT_AFTER_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// The incompatible features that this version can read: a file with any other one gives `unknown`, never a verdict.
pub const READABLE_INCOMPAT: u64 = 0;
/// The read-only compatible features that this version may write beside: a file with any other one is not written.
pub const WRITABLE_RO_COMPAT: u64 = 0;

const NAME_LEN: usize = 64;
const NAME_AT: usize = HEADER_LEN;
const UUID_AT: usize = NAME_AT + NAME_LEN;
const UNIT_AT: usize = UUID_AT + 16;
const MAX_HOSTS_AT: usize = UNIT_AT + 4;
const PAGES_AT: usize = MAX_HOSTS_AT + 2;
const POLICY_AT: usize = PAGES_AT + 2;
const MIN_DRAIN_AT: usize = POLICY_AT + 4;
const LONGEST_AT: usize = MIN_DRAIN_AT + 4;
const SPARE_AT: usize = LONGEST_AT + 4;
const INCOMPAT_AT: usize = SPARE_AT + 4;
const RO_COMPAT_AT: usize = INCOMPAT_AT + 8;
const COMPAT_AT: usize = RO_COMPAT_AT + 8;
const END: usize = COMPAT_AT + 8;
const _: () = assert!(UUID_AT == 128 && INCOMPAT_AT == 168 && END == 192 && END <= SECTOR_LEN);

/// Which weaker ways of ending a host the cluster accepts as proof (ARCHITECTURE 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Policy(pub u32);

impl Policy {
    /// `expired` counts for hosts with a software watchdog.
    pub const ACCEPT_SOFT: Self = Self(1);
    /// `expired` counts for virtual machines as hosts.
    pub const ACCEPT_VIRTUAL: Self = Self(2);
    /// `expired` counts for hosts without a watchdog.
    pub const ACCEPT_NONE: Self = Self(4);
    /// A test cluster: hosts that cannot reset themselves, and "hosts" on one kernel, are allowed.
    pub const TEST: Self = Self(8);

    /// True when every bit of `other` is set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The words for the bits that are set, in the order of the bits; unknown bits as a number.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        let known = [
            (Self::ACCEPT_SOFT, "accept-soft"),
            (Self::ACCEPT_VIRTUAL, "accept-virtual"),
            (Self::ACCEPT_NONE, "accept-none"),
            (Self::TEST, "test"),
        ];
        let rest = known.iter().fold(self.0, |rest, (bit, _)| rest & !bit.0);
        let unknown = (rest != 0).then(|| format!("unknown-{rest:#x}"));
        let set = known.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, word)| (*word).to_owned());
        set.chain(unknown).collect()
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policy({})", self.words().join(" "))
    }
}

/// Features of the file, one a bit: how an older program behaves that does not know one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Features {
    /// Unknown here: do not even read.
    pub incompat: u64,
    /// Unknown here: read, but do not write.
    pub ro_compat: u64,
    /// Unknown here: no matter.
    pub compat: u64,
}

impl Features {
    /// True when this program may believe what it reads in the file.
    #[must_use]
    pub fn readable(self) -> bool {
        self.incompat & !READABLE_INCOMPAT == 0
    }

    /// True when this program may also write into the file.
    #[must_use]
    pub fn writable(self) -> bool {
        self.readable() && self.ro_compat & !WRITABLE_RO_COMPAT == 0
    }
}

/// The header of a lease file.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// Where everything lies, and the file's identity.
    pub layout: Layout,
    /// The cluster's name.
    pub cluster_name: ClusterName,
    /// The cluster's identity.
    pub cluster_id: ClusterId,
    /// What counts as proof.
    pub policy: Policy,
    /// The smallest `write_drain` that a host may have: a property of the storage. Whole milliseconds.
    pub min_write_drain: Duration,
    /// The longest `verdict_after` that a host may have, survival maximum included. Whole milliseconds.
    pub longest_verdict_after: Duration,
    /// Features of the file.
    pub features: Features,
}

impl Header {
    /// The 4096 bytes of the header at one of the two header places of its layout.
    #[must_use]
    pub fn encode(&self, place: &Place) -> Vec<u8> {
        SectorHeader::default().encode(SectorKind::Header, place, |record| self.fill(record))
    }

    /// The header in these 4096 bytes, read at byte `offset` of a file whose identity is not known yet.
    ///
    /// # Errors
    /// When the bytes are not a header of format 1 written for this offset. Unknown features are no error here: ask
    /// [`Features::readable`].
    pub fn decode(offset: u64, bytes: &[u8]) -> Result<Self, DecodeError> {
        let header = Self::decode_anywhere(offset, bytes)?;
        let (first, last) = (header.layout.first_header().offset, header.layout.last_header().offset);
        if offset != first && offset != last {
            return Err(DecodeError::BadValue {
                field: "max_hosts",
                value: header.layout.max_hosts().into(),
            });
        }
        Ok(header)
    }

    fn decode_anywhere(offset: u64, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut place = Place { file_id: FileId::ZERO, offset, len: SECTOR_LEN, slot: None };
        let (_, file_id) = SectorHeader::decode_of_any_file(SectorKind::Header, &place, bytes)?;
        place.file_id = file_id;
        let (_, record) = SectorHeader::decode(SectorKind::Header, &place, bytes)?;
        Ok(Self {
            layout: layout_of(file_id, record)?,
            cluster_name: ClusterName::decode(&record[NAME_AT..UUID_AT], "cluster name")?,
            cluster_id: ClusterId(raw::get(record, UUID_AT)),
            policy: Policy(raw::get_u32(record, POLICY_AT)),
            min_write_drain: raw::get_ms(record, MIN_DRAIN_AT),
            longest_verdict_after: raw::get_ms(record, LONGEST_AT),
            features: Features {
                incompat: raw::get_u64(record, INCOMPAT_AT),
                ro_compat: raw::get_u64(record, RO_COMPAT_AT),
                compat: raw::get_u64(record, COMPAT_AT),
            },
        })
    }

    fn fill(&self, record: &mut [u8]) {
        self.cluster_name.encode(&mut record[NAME_AT..UUID_AT]);
        raw::put(record, UUID_AT, &self.cluster_id.0);
        raw::put_u32(record, UNIT_AT, u32::try_from(self.layout.unit().len_bytes()).unwrap_or(0));
        raw::put_u16(record, MAX_HOSTS_AT, self.layout.max_hosts());
        raw::put_u16(record, PAGES_AT, self.layout.pages().into());
        raw::put_u32(record, POLICY_AT, self.policy.0);
        raw::put_ms(record, MIN_DRAIN_AT, self.min_write_drain);
        raw::put_ms(record, LONGEST_AT, self.longest_verdict_after);
        raw::put_u64(record, INCOMPAT_AT, self.features.incompat);
        raw::put_u64(record, RO_COMPAT_AT, self.features.ro_compat);
        raw::put_u64(record, COMPAT_AT, self.features.compat);
    }
}

fn layout_of(file_id: FileId, record: &[u8]) -> Result<Layout, DecodeError> {
    let unit_len = raw::get_u32(record, UNIT_AT);
    let unit = Unit::from_len_bytes(unit_len)
        .ok_or(DecodeError::BadValue { field: "unit", value: unit_len.into() })?;
    let (hosts, pages) = (raw::get_u16(record, MAX_HOSTS_AT), raw::get_u16(record, PAGES_AT));
    let bad_pages = DecodeError::BadValue { field: "pages", value: pages.into() };
    let Ok(few_pages) = u8::try_from(pages) else { return Err(bad_pages) };
    Layout::new(file_id, unit, hosts, few_pages).map_err(|error| match error {
        super::LayoutError::MaxHosts(value) => {
            DecodeError::BadValue { field: "max_hosts", value: value.into() }
        }
        super::LayoutError::Pages(_) => bad_pages,
    })
}
