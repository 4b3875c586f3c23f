//! `slot free`, as the member drives it: only under a valid own lease, one at a time. Its rules are the slot module's.

use super::phase::Phase;
use super::{LogLevel, Member, RequestId};
use crate::evidence::Evidence;
use crate::format::RecordCopy;
use crate::ids::{Incarnation, Slot};
use crate::slot::{Freer, SlotFree};
use crate::storage::{IoDone, IoOp, Step};
use crate::time::Now;

/// A slot that is being freed, and who asked.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Freeing {
    id: RequestId,
    slot: Slot,
    machine: String,
    procedure: SlotFree,
}

impl Member {
    /// Begins to free a slot.
    pub(super) fn free_slot(
        &mut self,
        now: &Now,
        id: RequestId,
        slot: Slot,
        machine: String,
    ) -> Result<(), String> {
        if !matches!(self.phase, Phase::Held) || !self.lease_is_live(now.instant) {
            return Err("this host does not hold its own lease: ask on a host that does".to_owned());
        }
        if self.freeing.is_some() {
            return Err("a slot is being freed already: wait for it to end".to_owned());
        }
        let layout =
            self.header.as_ref().map(|header| header.layout).ok_or("the lease file has not been read yet")?;
        if slot.0 >= layout.max_hosts() {
            return Err(format!("slot {slot} does not exist: this lease file has {}", layout.max_hosts()));
        }
        if self.incarnation().is_some_and(|own| own.slot == slot) {
            return Err("this is this host's own slot".to_owned());
        }
        if self.is_slot_unknown(slot) {
            return Err(format!(
                "a write of this host into slot {slot} has an unknown outcome: wait until it is over"
            ));
        }
        let freer = Freer {
            boot_id: self.config.boot_id,
            process_nonce: self.config.process_nonce,
            write_drain: self.longest_drain(),
            evidence: self.evidence_of(slot),
        };
        let procedure = SlotFree::new(layout, slot, machine.clone(), freer);
        self.freeing = Some(Freeing { id, slot, machine, procedure });
        Ok(())
    }

    /// The evidence that counts, of all generations of the slot that this process saw the end of.
    fn evidence_of(&self, slot: Slot) -> Vec<(Incarnation, Evidence)> {
        let incarnation = self.watch.as_ref().and_then(|watch| watch.slot(slot)?.incarnation());
        let counted = incarnation.filter(|incarnation| self.counts_as_gone(*incarnation));
        counted.and_then(|found| Some((found, self.evidence(found)?.0))).into_iter().collect()
    }

    fn is_slot_unknown(&self, slot: Slot) -> bool {
        let Some(header) = &self.header else { return true };
        let layout = &header.layout;
        let records = RecordCopy::BOTH.map(|copy| layout.host_record(slot, copy));
        let pages = (0..layout.pages())
            .flat_map(|page| RecordCopy::BOTH.map(|copy| layout.lease_page(page, slot, copy)));
        records
            .into_iter()
            .chain([layout.claim(slot)])
            .chain(pages)
            .any(|place| self.unknown.covers(place.offset, place.len))
    }

    /// The next operation of the slot that is being freed.
    pub(super) fn free_slot_operation(&mut self, now: &Now) -> Option<IoOp> {
        let live = self.lease_is_live(now.instant);
        let freeing = self.freeing.as_mut()?;
        if !live {
            let id = freeing.id;
            self.freeing = None;
            self.desk.reply(
                id,
                false,
                "this host's own lease ended first: look at `leasefence slot list`, then ask again",
            );
            return None;
        }
        match freeing.procedure.poll(now) {
            Step::Io(op) => Some(op),
            Step::Wait(_) => None,
            Step::Done(result) => {
                let Freeing { id, slot, machine, .. } = self.freeing.take()?;
                match result {
                    Ok(()) => {
                        let text =
                            format!("slot {slot} is free: an operator said that '{machine}' is off for good");
                        self.desk.note(LogLevel::Warn, "slot-freed", text.clone());
                        self.desk.reply(id, true, text);
                    }
                    Err(error) => self.desk.reply(id, false, error.to_string()),
                }
                None
            }
        }
    }

    /// An operation of it ended.
    pub(super) fn free_slot_done(&mut self, done: &IoDone) {
        if let Some(freeing) = &mut self.freeing {
            freeing.procedure.handle_io(done);
        }
    }
}
