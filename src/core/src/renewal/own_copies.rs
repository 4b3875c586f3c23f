//! What a read-back of the own record shows: mine, damaged, or foreign. It decides nothing but that.

use crate::format::{Copies, DecodeError, HostRecord, RecordCopy};
use crate::ids::{BootId, HostKey, Incarnation, Sequence};

/// By what a record in the own sector is known to be one's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OwnMark {
    /// This machine.
    pub host_key: HostKey,
    /// This boot.
    pub boot_id: BootId,
    /// The incarnation that holds (or is joining).
    pub incarnation: Incarnation,
    /// The highest sequence that was issued, by this process or one before it: up to it a record is mine, whatever its
    /// nonce.
    pub issued: Sequence,
}

/// One copy of the own record, as read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnCopy {
    /// A record of this incarnation with a sequence that was issued.
    Mine(Sequence),
    /// A valid record of an earlier life of this host: it is written over by the next renewal of its parity.
    Older,
    /// Unreadable: it is written over as well.
    Damaged(DecodeError),
    /// Somebody else writes this sector: fence.
    Foreign(String),
}

impl OwnMark {
    /// What one copy is.
    #[must_use]
    pub fn judge(&self, copy: &Result<HostRecord, DecodeError>) -> OwnCopy {
        match copy {
            Ok(record) => self.judge_record(record),
            // Whole sectors that this program would never have written here: somebody else's.
            Err(error @ (DecodeError::ForeignFile(_) | DecodeError::WrongVersion(_))) => {
                OwnCopy::Foreign(error.to_string())
            }
            Err(error) => OwnCopy::Damaged(error.clone()),
        }
    }

    /// Both copies, A first.
    #[must_use]
    pub fn judge_both(&self, copies: &Copies<HostRecord>) -> [OwnCopy; 2] {
        RecordCopy::BOTH.map(|copy| self.judge(copies.get(copy)))
    }

    fn judge_record(&self, record: &HostRecord) -> OwnCopy {
        let (mine, found) = (self.incarnation.generation, record.incarnation.generation);
        if record.host_key != self.host_key {
            return OwnCopy::Foreign(format!(
                "a record of another machine ('{}')",
                record.host_name.as_str()
            ));
        }
        if found > mine {
            return OwnCopy::Foreign(format!("generation {found}, above the own {mine}"));
        }
        if found < mine {
            return OwnCopy::Older;
        }
        if record.boot_id != self.boot_id {
            return OwnCopy::Foreign(format!("generation {found} of another boot"));
        }
        if record.sequence > self.issued {
            return OwnCopy::Foreign(format!(
                "sequence {}, above the highest issued, {}",
                record.sequence, self.issued
            ));
        }
        OwnCopy::Mine(record.sequence)
    }
}
