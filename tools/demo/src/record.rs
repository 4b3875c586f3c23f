//! What the guest writes: one line of text a block, about itself. And why no second writer can hide from it.
//!
//! `guest/guest.c` draws the disk. Each life of the guest has a region that only it writes to, except for its *table*,
//! which its successor seals. It begins by reading all claims, then seals its predecessor's table, then reads its
//! predecessor's journal, then claims, and says in the claim what it saw there. Each step is durable before the next.
//! What an older life writes reaches a page of its table before or after the seal, and a row of its journal before or
//! after the reading. Before is on time: the next life has not relied on anything yet. After is too late, and shows for ever:
//!
//! - **A write that comes for the first time** lies in the journal, where nobody ever writes over it but its own life, and
//!   the claim does not know it. It is at most eight records, of the last burst seen and the next: a life gives out a
//!   burst when the one before is done. A record beyond these was *composed* after the handover: then two generations
//!   have run at the same time, and not only their writes have overlapped.
//! - **A write that comes again** (the server had it before, the client did not know) changes nothing in the journal. In
//!   the table it destroys a seal, as it would destroy a page that a real successor had written. Seals are
//!   written before the claim and never again, so that the old record stays in its place.
//! - **A life that nobody saw begin**, since its first write was in flight when the next life read the claims, has the
//!   same generation as that one. Both claims stay: hosts draw their claims from different parts of the disk.
//!   Before its claim is done, a life has given out nothing but seals; a late one of these lies among the seals of
//!   another and names its start.
//! - **A life that runs on**, or goes on after a pause, writes its next burst into its own journal and table, and is
//!   seen by both rules. Nothing that a later life does covers it.
//! - **A torn write** has sectors that differ: each sector of a block holds the same line. **A lost write** leaves an older record
//!   or nothing where the place of the next records says that one must be.
//!
//! What cannot be seen: a second copy that seals, and dies before it has claimed, while the first lives and writes its
//! table anew within 100 ms; a second coming of a write that a second coming of a seal then covers; and two copies on hosts that draw claims from the same part (see `draw_claim`), started at once,
//! in one region by chance, one of which has stopped more than 13 bursts before the other.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a record was written for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "deed")]
pub enum Deed {
    /// The application's own.
    Write,
    /// Written over the predecessor's table.
    Seal {
        /// The predecessor's boot.
        after: String,
    },
    /// The beginning of a life.
    Claim {
        /// The predecessor's boot, unless this is the first life.
        after: Option<String>,
        /// The last of the predecessor's records that was seen in its journal; 0 for none.
        saw: u32,
        /// Earlier ones of the same burst that were not seen.
        without: Vec<u32>,
    },
}

/// One write of the guest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What for.
    #[serde(flatten)]
    pub deed: Deed,
    /// Which life of the guest wrote it: one after the last life that its writer found on the disk.
    pub generation: u32,
    /// Random, drawn anew for each start: two copies may have the same generation, never the same boot.
    pub boot: String,
    /// The host that the writer was started on.
    pub host: String,
    /// Counts the writes of this life from 1; 0 for seals and claims.
    pub counter: u32,
    /// The guest's own time since its start, in milliseconds.
    pub uptime_ms: u32,
    /// When it was composed, by the host's wall clock, in whole seconds.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub at: Timestamp,
}

impl Record {
    /// Reads a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let deed = words.next()?;
        let mut field = |name: &str| (words.next()? == name).then(|| words.next()).flatten();
        let mut record = Self {
            deed: Deed::Write,
            generation: field("generation")?.parse().ok()?,
            boot: field("boot")?.into(),
            host: field("host")?.into(),
            counter: field("counter")?.parse().ok()?,
            uptime_ms: field("uptime_ms")?.parse().ok()?,
            at: field("at")?.parse().ok()?,
        };
        record.deed = match deed {
            "write" => Deed::Write,
            "seal" => Deed::Seal { after: field("after")?.into() },
            "claim" => Deed::Claim {
                after: Some(field("after")?).filter(|boot| *boot != "none").map(Into::into),
                saw: field("saw")?.parse().ok()?,
                without: numbers(words.by_ref(), "without")?,
            },
            _ => return None,
        };
        words.next().is_none().then_some(record)
    }

    /// Of a claim: the last of the predecessor's records that it has seen.
    #[must_use]
    pub fn saw(&self) -> Option<u32> {
        if let Deed::Claim { saw, .. } = &self.deed { Some(*saw) } else { None }
    }

    /// Of a claim: whether it has seen this record of the predecessor in its journal.
    #[must_use]
    pub fn has_seen(&self, counter: u32) -> bool {
        matches!(&self.deed, Deed::Claim { saw, without, .. } if counter <= *saw && !without.contains(&counter))
    }
}

/// The numbers after a word, up to the end; none if the line has ended before.
fn numbers<'a>(mut words: impl Iterator<Item = &'a str>, name: &str) -> Option<Vec<u32>> {
    match words.next() {
        None => Some(Vec::new()),
        Some(word) if word == name => words.map(|word| word.parse().ok()).collect(),
        Some(_) => None,
    }
}

fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, boot, host, counter, at, .. } = self;
        match &self.deed {
            Deed::Write => write!(f, "write {counter}")?,
            Deed::Seal { .. } => write!(f, "a seal")?,
            Deed::Claim { .. } => write!(f, "the claim")?,
        }
        write!(f, " of generation {generation} on {host} (boot {boot}, {at})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_read_back() {
        let line =
            "write generation 3 boot 5f1c09aa host host-2 counter 7 uptime_ms 620 at 2026-11-26T04:49:10Z\n";
        let record = Record::parse(line).unwrap();
        assert_eq!((record.generation, record.counter, record.uptime_ms), (3, 7, 620));
        assert_eq!((record.boot.as_str(), record.host.as_str()), ("5f1c09aa", "host-2"));
        assert_eq!(record.at.to_string(), "2026-11-26T04:49:10Z");
        assert_eq!(
            record.to_string(),
            "write 7 of generation 3 on host-2 (boot 5f1c09aa, 2026-11-26T04:49:10Z)"
        );
    }

    #[test]
    fn a_claim_says_what_was_seen_of_the_predecessor() {
        let line = "claim generation 2 boot b host host-2 counter 0 uptime_ms 30 at 2026-11-26T04:49:08Z after a saw 57 without 55 56";
        let claim = Record::parse(line).unwrap();
        assert_eq!(claim.deed, Deed::Claim { after: Some("a".into()), saw: 57, without: vec![55, 56] });
        let first = "claim generation 1 boot a host host-1 counter 0 uptime_ms 30 at 2026-11-26T04:49:08Z after none saw 0";
        assert_eq!(
            Record::parse(first).unwrap().deed,
            Deed::Claim { after: None, saw: 0, without: Vec::new() }
        );
    }

    #[test]
    fn a_record_survives_json() {
        for line in [
            "claim generation 2 boot b host h counter 0 uptime_ms 30 at 2026-11-26T04:49:08Z after a saw 57 without 55 56",
            "seal generation 2 boot b host h counter 0 uptime_ms 30 at 2026-11-26T04:49:08Z after a",
            "write generation 2 boot b host h counter 9 uptime_ms 30 at 2026-11-26T04:49:08Z",
        ] {
            let record = Record::parse(line).unwrap();
            let json = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record, "{json}");
        }
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_no_record() {
        let line = "write generation 3 boot a host host-2 counter 7 uptime_ms 620 at 2026-11-26T04:49:10Z";
        assert!(Record::parse(&line[..line.len() - 1]).is_none());
        assert!(Record::parse(&format!("{line} after b")).is_none());
        assert!(Record::parse("").is_none());
    }
}
