//! Whose a slot is: the host key and boot of its highest generation, and whether two machines claim it at once.
//!
//! It never decides that somebody is gone; it says when nobody may say so.

use crate::format::{HostRecord, HostState};
use crate::ids::{BootId, Generation, HostKey};
use crate::planted::planted;

/// The highest generation seen in a slot, and a conflict if there was one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Identity {
    pub(super) highest: Option<Life>,
    pub(super) freed: Generation,
    pub(super) conflict: Option<Generation>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Life {
    pub(super) generation: Generation,
    host_key: HostKey,
    boot_id: BootId,
}

impl Identity {
    /// Takes the valid copies of one reading.
    pub(super) fn observe<'a>(&mut self, valid: impl Iterator<Item = &'a HostRecord>) {
        let mut records: Vec<_> = valid.collect();
        records.sort_by_key(|record| (record.incarnation.generation, record.sequence));
        for record in records {
            self.freed = self.freed.max(record.freed_generation);
            if record.state != HostState::Free {
                self.observe_life(record);
            }
        }
        if self.conflict.is_some_and(|generation| generation <= self.freed) {
            self.conflict = None;
        }
    }

    /// The highest generation that was seen.
    pub(super) fn highest(&self) -> Option<Generation> {
        self.highest.map(|life| life.generation)
    }

    /// All generations up to this one were freed by an operator; zero when none.
    pub(super) fn freed(&self) -> Generation {
        self.freed
    }

    /// The highest generation that two machines, or two boots, claimed: of it, and of those below, nothing is known.
    pub(super) fn conflict(&self) -> Option<Generation> {
        self.conflict
    }

    fn observe_life(&mut self, record: &HostRecord) {
        let life = Life {
            generation: record.incarnation.generation,
            host_key: record.host_key,
            boot_id: record.boot_id,
        };
        let Some(known) = self.highest else {
            self.highest = Some(life);
            return;
        };
        if life.generation == known.generation && life != known {
            self.conflict = self.conflict.max(Some(known.generation));
        } else if life.generation > known.generation {
            // A new machine in the slot is in order only after the old one's lives were freed.
            let other_machine = life.host_key != known.host_key && !planted!(ConflictIsReboot);
            if other_machine && record.freed_generation < known.generation {
                self.conflict = self.conflict.max(Some(life.generation));
            }
            self.highest = Some(life);
        }
    }
}
