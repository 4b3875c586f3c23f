//! The lease file, as any machine could read it: when did a host last renew?

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasefence_core::format::{Copies, Header, HostRecord, SECTOR_LEN};

use crate::direct::DirectFile;

/// A lease file, open for reading.
#[derive(Debug)]
pub struct LeaseFile {
    file: DirectFile,
    header: Header,
}

impl LeaseFile {
    /// Opens it and reads its header.
    ///
    /// # Errors
    /// When it cannot be opened, or does not begin with a header.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = DirectFile::open(path)?;
        let header = Header::decode(0, &file.read(0, SECTOR_LEN)?).map_err(io::Error::other)?;
        Ok(Self { file, header })
    }

    /// The record of the host with this name; of two, the one with the later time.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no such host.
    pub fn record(&self, host: &str) -> io::Result<HostRecord> {
        let layout = &self.header.layout;
        let range = layout.host_records();
        let as_usize = |number: u64| usize::try_from(number).map_err(io::Error::other);
        let scan = self.file.read(as_usize(range.start)?, as_usize(range.end - range.start)?)?;
        let newest =
            |slot| Copies::<HostRecord>::in_scan(layout, slot, &scan).newest().map(|(_, r)| r.clone());
        let records = layout.slots().filter_map(newest).filter(|record| record.host_name.to_string() == host);
        records
            .max_by_key(|record| record.wall_ns)
            .ok_or_else(|| io::Error::other(format!("{host} has no record")))
    }

    /// When the host issued the record that is there now, by the wall clock that all hosts of this machine share.
    ///
    /// # Errors
    /// As [`LeaseFile::record`].
    pub fn last_renewal(&self, host: &str) -> io::Result<SystemTime> {
        Ok(UNIX_EPOCH + Duration::from_nanos(self.record(host)?.wall_ns))
    }
}
