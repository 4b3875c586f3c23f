//! Format 1: the bytes of the lease file (PROTOCOL 1).
//!
//! It owns the layout, the records and their codecs, what `init` writes and what `dump` reads. It never does I/O and
//! never decides what a record means for anybody: bytes come in, values or named errors go out.
//!
//! ```text
//! header | claims | host records A | host records B | observer sectors | journal | lease pages | header again
//! ```
//!
//! [`Layout`] says where each sector lies, as a [`Place`]; each record has `encode(&Place) -> Vec<u8>`, which gives
//! exactly the bytes to write there, and `decode(&Place, &[u8])`, which takes exactly the bytes read there.

mod accusation;
mod claim;
mod codes;
mod copies;
pub mod dump;
mod header;
mod host_record;
mod host_state;
pub mod init;
mod journal;
mod layout;
mod lease_entry;
mod lease_page;
mod observer;
mod raw;
mod sector;
mod text;

pub use accusation::{CONVICTIONS, Conviction, ConvictionKind, FENCE_REQUESTS, FenceRequest};
pub use claim::Claim;
pub use copies::{Copies, Versioned};
pub use header::{
    Features, Header, LONGEST_VERDICT_AFTER_DEFAULT, Policy, READABLE_INCOMPAT, WRITABLE_RO_COMPAT,
};
pub use host_record::HostRecord;
pub use host_state::{HostState, RecordFlags, WatchdogClass};
pub use journal::{JournalEvent, JournalNote};
pub use layout::{
    JOURNAL_RING, Layout, LayoutError, MAX_PAGES, MIB, OBSERVER_SECTORS, Place, RecordCopy, SECTOR_LEN, Unit,
};
pub use lease_entry::{LeaseBase, LeaseEntry, LeaseFlags, LeaseState};
pub use lease_page::{LeasePage, PAGE_ENTRIES, PageFull};
pub use observer::ObserverSector;
pub(crate) use raw::is_zero;
pub use sector::{DecodeError, FORMAT_VERSION, MAGIC, SectorHeader, SectorKind};
pub use text::{ClusterName, FixedText, HostName, JournalText};

#[cfg(test)]
pub(crate) mod tests;
