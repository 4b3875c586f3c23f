//! Domain leases as they stand in the lease pages.

use serde::{Deserialize, Serialize};

/// The entries of all domains, or of one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LeaseList {
    /// The entries, by domain and then by descending term.
    pub entries: Vec<LeaseEntry>,
    /// How long ago the pages were read; absent when they never were.
    pub age_ms: Option<u64>,
    /// Sectors that could not be read, each named in a sentence: what they hold is not in the list.
    pub unreadable: Vec<String>,
}

/// One entry of one host for one domain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseEntry {
    /// The domain's uuid.
    pub uuid: String,
    /// Its name, where this host's libvirt knows it.
    pub name: Option<String>,
    /// The slot of the host that wrote it.
    pub slot: u16,
    /// The generation of the sector that it stands in.
    pub generation: u32,
    /// The host's name.
    pub host: Option<String>,
    /// `own`, `orphan`, `stopped`, `incoming` or `saved`.
    pub state: String,
    /// Its term: the highest of a domain's is its top.
    pub term: u32,
    /// The term that the host is trying to get; zero for none.
    pub want_term: u32,
    /// True when this is the domain's top entry.
    pub top: bool,
    /// True when it is restarted after its host's death.
    pub ha: bool,
    /// True when recovery leaves it alone until `leasefence ha resume`.
    pub hold: bool,
    /// Among HA domains, higher goes first.
    pub priority: u8,
    /// Starts that failed since it last ran for ten minutes.
    pub failures: u8,
    /// Hosts that died under it since then.
    pub deaths: u8,
    /// When it was written: wall time, milliseconds since 1970.
    pub changed_unix_ms: u64,
}
