//! When a slot of the page may be trusted. Each half is two slots, which its only writer fills in turn, word by word: a reader
//! may come, and the writer die, between any two words. `leasefence-page` moves the words and asks here.

use crate::planted::planted;

/// What a reader has found of one slot, whose contents it has copied out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotLook {
    /// The sequence in its head, read before its contents: 0 while these are being written, and before they ever were.
    pub sequence: u64,
    /// Its head was the same when they had been copied out.
    pub unchanged: bool,
    /// They fit the CRC, which covers place, sequence and length too.
    pub crc_fits: bool,
}

impl SlotLook {
    /// True when it is one that its writer has finished. No other is ever trusted: the half's other slot counts.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.sequence != 0 && self.unchanged && (self.crc_fits || planted!(TornSlotTrusted))
    }
}

/// What a writer puts into a slot's head before it changes a word of its contents; the sequence under which these are written
/// follows when all of them are there.
#[must_use]
pub fn head_under_way(sequence: u64) -> u64 {
    if planted!(TornSlotTrusted) { sequence } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_under_way_one_that_changed_and_one_whose_crc_is_wrong_are_torn() {
        let whole = SlotLook { sequence: 7, unchanged: true, crc_fits: true };
        assert!(whole.is_whole());
        assert!(!SlotLook { sequence: head_under_way(7), ..whole }.is_whole());
        assert!(!SlotLook { unchanged: false, ..whole }.is_whole());
        assert!(!SlotLook { crc_fits: false, ..whole }.is_whole());
    }
}
