//! What the guest writes: one line of text a sector. This reads it back, past the page cache.

use std::fmt;
use std::io;
use std::path::Path;

use crate::direct::DirectFile;

/// Size of a sector of the guest's disk.
pub const SECTOR_BYTES: usize = 512;

/// One write of the guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place in the log: one after the latest record that its writer found on the disk.
    pub position: u32,
    /// Which start of the guest wrote it: one after the last start that its writer found on the disk.
    pub generation: u32,
    /// Random, drawn anew for each start: two copies may have the same generation, never the same boot.
    pub boot: String,
    /// The host that the writer runs on.
    pub host: String,
    /// Counts the records of this boot from 1.
    pub counter: u32,
    /// The guest's own time since its start, in milliseconds.
    pub uptime_ms: u32,
}

impl Record {
    /// Reads a sector. An empty one holds no record.
    ///
    /// # Errors
    /// With the text, when it is no record.
    pub fn parse(sector: &[u8]) -> Result<Option<Self>, String> {
        let text = sector.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        if text.is_empty() { Ok(None) } else { parse_line(&text).map(Some).ok_or_else(|| text.into_owned()) }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, generation, boot, host, counter, .. } = self;
        write!(f, "position {position}: write {counter} of start {generation} (boot {boot}) on {host}")
    }
}

fn parse_line(line: &str) -> Option<Record> {
    let mut words = line.split_whitespace();
    let mut field = |name: &str| (words.next()? == name).then(|| words.next()).flatten();
    Some(Record {
        position: field("position")?.parse().ok()?,
        generation: field("generation")?.parse().ok()?,
        boot: field("boot")?.into(),
        host: field("host")?.into(),
        counter: field("counter")?.parse().ok()?,
        uptime_ms: field("uptime_ms")?.parse().ok()?,
    })
}

/// The guest's disk, open for reading.
#[derive(Debug)]
pub struct Disk {
    file: DirectFile,
    sectors: u32,
}

impl Disk {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be opened for direct I/O.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = DirectFile::open(path)?;
        let sectors = u32::try_from(file.size_bytes()? / SECTOR_BYTES).map_err(io::Error::other)?;
        Ok(Self { file, sectors })
    }

    /// The latest record, from sector 0.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn latest(&self) -> io::Result<Option<Record>> {
        self.sector(0)
    }

    /// The record at a position of the log.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn at(&self, position: u32) -> io::Result<Option<Record>> {
        self.sector(1 + position % (self.sectors - 1))
    }

    /// The whole log, in the order of positions.
    ///
    /// # Errors
    /// When it cannot be read, or a sector holds no record.
    pub fn log(&self) -> io::Result<Vec<Record>> {
        let bytes = self.file.read(0, self.file.size_bytes()?)?;
        let sectors = bytes.chunks_exact(SECTOR_BYTES).zip(0..).skip(1);
        let records: io::Result<Vec<_>> =
            sectors.map(|(bytes, sector)| parse_sector(sector, bytes)).collect();
        let mut records: Vec<_> = records?.into_iter().flatten().collect();
        records.sort_by_key(|record| record.position);
        Ok(records)
    }

    fn sector(&self, sector: u32) -> io::Result<Option<Record>> {
        let index = usize::try_from(sector).map_err(io::Error::other)?;
        parse_sector(sector, &self.file.read(index * SECTOR_BYTES, SECTOR_BYTES)?)
    }
}

fn parse_sector(sector: u32, bytes: &[u8]) -> io::Result<Option<Record>> {
    Record::parse(bytes)
        .map_err(|text| io::Error::other(format!("sector {sector} holds no record: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_guest_is_read_back() {
        let mut sector = [0; SECTOR_BYTES];
        let line = b"position 12 generation 3 boot 5f1c09aa host host-2 counter 7 uptime_ms 620\n";
        sector[..line.len()].copy_from_slice(line);
        let record = Record::parse(&sector).unwrap().unwrap();
        assert_eq!((record.position, record.generation, record.counter, record.uptime_ms), (12, 3, 7, 620));
        assert_eq!((record.boot.as_str(), record.host.as_str()), ("5f1c09aa", "host-2"));
    }

    #[test]
    fn an_empty_sector_holds_no_record_and_a_torn_one_is_an_error() {
        assert_eq!(Record::parse(&[0; SECTOR_BYTES]), Ok(None));
        assert!(Record::parse(b"position 12 generat").is_err());
    }
}
