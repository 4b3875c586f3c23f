//! Follows one life of the guest on its disk: which of its writes have newly arrived.

use crate::disk::Disk;
use crate::layout::{Content, LANES, Place, burst_of, counter_of};
use crate::record::{Deed, Record};

/// A life, and how far it is known.
#[derive(Debug)]
pub(crate) struct Follow {
    life: u32,
    claim: Record,
    burst: u32,
    /// Which lanes of the burst have arrived.
    arrived: u32,
}

impl Follow {
    pub(crate) fn new(life: u32, claim: Record) -> Self {
        Self { life, claim, burst: 0, arrived: 0 }
    }

    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    pub(crate) fn generation(&self) -> u32 {
        self.claim.generation
    }

    /// What has arrived since the last look, in the order of counters: burst by burst, until one is not complete.
    pub(crate) fn news(&mut self, disk: &Disk) -> Vec<Record> {
        let mut news = Vec::new();
        while self.look(disk, &mut news) {
            self.burst += 1;
            self.arrived = 0;
        }
        news
    }

    /// Notes what is new of the burst, and says whether it is complete.
    fn look(&mut self, disk: &Disk, news: &mut Vec<Record>) -> bool {
        for lane in (0..LANES).filter(|lane| self.arrived & 1 << lane == 0).collect::<Vec<_>>() {
            let counter = counter_of(self.burst, lane);
            let Ok(Content::Record(record)) = disk.at(self.life, Place::in_journal(counter)) else {
                continue;
            };
            if record.deed != Deed::Write || record.boot != self.claim.boot || record.counter < counter {
                continue;
            }
            // A round or more later: it was looked away for too long, and goes on from there.
            if record.counter > counter {
                (self.burst, self.arrived) = (burst_of(record.counter), 0);
            }
            self.arrived |= 1 << lane;
            news.push(record);
        }
        self.arrived == (1 << LANES) - 1
    }
}
