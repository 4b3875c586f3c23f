//! A slot is taken by one machine: none takes it over a claim that stood when it looked, none writes the record of another
//! that is there, and a claim is zeroed only where an operator has spoken of its machine.

use std::collections::{BTreeMap, BTreeSet};

use leasefence_core::format::{HostState, RecordCopy};
use leasefence_core::ids::Slot;

use super::{Happened, Judge};
use crate::time::S;
use crate::world::World;

/// A claim that is acknowledged later than this after the look at an empty slot is given up (PROTOCOL 2: D).
const DEADLINE: u64 = 2 * S + S / 20;

/// Whose claim lies in a slot, since when, and its bytes.
#[derive(Debug)]
struct Standing {
    client: usize,
    at: u64,
    bytes: Vec<u8>,
}

/// Remembers claims, and who wrote each slot's record last.
#[derive(Debug, Default)]
pub(super) struct OneClaim {
    claims: BTreeMap<Slot, Standing>,
    over: BTreeSet<(usize, Slot)>,
    owners: BTreeMap<Slot, (usize, u32)>,
}

impl Judge for OneClaim {
    fn sentence(&self) -> &'static str {
        "A slot is taken by one machine."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Landed { client, offset, len } = *happened else { return None };
        let layout = &world.file.layout;
        if layout.claims().contains(&offset) {
            let slot = layout.slots().find(|slot| layout.claim(*slot).offset == offset)?;
            return self.claimed(world, client, slot, world.file.read(offset, len));
        }
        if !layout.host_records().contains(&offset) || client >= world.hosts.len() {
            return None;
        }
        let mine = |slot: &Slot| {
            RecordCopy::BOTH.map(|copy| layout.host_record(*slot, copy).offset).contains(&offset)
        };
        let slot = layout.slots().find(mine)?;
        self.recorded(world, client, slot, world.file.byte(offset + 92))
    }
}

impl OneClaim {
    fn claimed(&mut self, world: &World, client: usize, slot: Slot, bytes: Vec<u8>) -> Option<String> {
        self.over.remove(&(client, slot));
        let before = self.claims.remove(&slot);
        if bytes.iter().all(|byte| *byte == 0) {
            let before = before?;
            let claimant = world.hosts.get(before.client)?;
            let there = claimant.powered && claimant.agent.member.is_some() && before.client != client;
            return (there && client < world.hosts.len() && !world.freed.contains(&claimant.machine)).then(
                || {
                    format!(
                        "host-{client} zeroes the claim of slot {slot}, which host-{} has made",
                        before.client
                    )
                },
            );
        }
        // A machine's own older claim may land late over its newer one.
        let others = before.filter(|before| before.client != client && before.bytes != bytes);
        let over = others.is_some_and(|before| world.at - before.at > DEADLINE);
        if over {
            self.over.insert((client, slot));
        }
        self.claims.insert(slot, Standing { client, at: world.at, bytes });
        None
    }

    fn recorded(&mut self, world: &World, client: usize, slot: Slot, state: u8) -> Option<String> {
        if state == HostState::Free.code() {
            self.owners.remove(&slot);
            return None;
        }
        if self.over.contains(&(client, slot)) {
            return Some(format!("host-{client} takes slot {slot} over a claim that stood before it looked"));
        }
        let process = world.hosts[client].agent.process;
        let (other, of) = self.owners.insert(slot, (client, process))?;
        let this = world.hosts.get(other).filter(|_| other != client)?;
        let same_machine = this.machine == world.hosts[client].machine;
        let there = this.powered && this.agent.process == of && this.agent.member.is_some();
        let holds = world.holds(other)
            && !world.end_has_passed(other)
            && this.life().is_some_and(|life| life.slot == slot);
        (holds || (there && !same_machine))
            .then(|| format!("host-{client} writes the record of slot {slot}, which host-{other} has taken"))
    }
}
