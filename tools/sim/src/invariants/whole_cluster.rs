//! The whole cluster is asked for maintenance by an operator alone, for as long as that request is open; who reads it follows once,
//! and only while it is asked for (PROTOCOL 6).

use std::collections::{BTreeMap, BTreeSet};

use leasefence_core::format::{HostRecord, RecordCopy, RecordFlags};
use leasefence_core::ids::Slot;
use leasefence_core::member::{ClusterAsk, RequestId};

use super::{Happened, Judge};
use crate::time::S;
use crate::world::{FLAGS_AT, World};

/// How long a request is open, in nanoseconds of its host's clock.
const OPEN_FOR: u64 = 30 * S;

/// What an operator asked of a process, by its own clock.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    /// Host and process.
    of: (usize, u32),
    ask: ClusterAsk,
    from: u64,
    until: u64,
}

/// From a record that asks for it to the next one that does not, as the storage shows them.
#[derive(Debug)]
struct Rise {
    slot: Slot,
    by: Option<usize>,
    ask: ClusterAsk,
    from: u64,
    until: u64,
}

/// Remembers what was asked for, what stood on the storage, and who followed.
#[derive(Debug, Default)]
pub(super) struct WholeCluster {
    asked: Vec<Asked>,
    rises: Vec<Rise>,
    /// When each process had its first answer of the storage: what stood there before that has not risen for it.
    began: BTreeMap<(usize, u32), u64>,
    /// Who followed, and which rise.
    followed: BTreeSet<(usize, usize)>,
}

impl Judge for WholeCluster {
    fn sentence(&self) -> &'static str {
        "The whole cluster is asked by an operator, and follows once, while it is asked."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::Asked { host, id, ask } => {
                let of = (host, world.hosts[host].agent.process);
                let from = raw_clock(world, host);
                self.asked.push(Asked { id, of, ask, from, until: from + OPEN_FOR });
                None
            }
            Happened::Answered { host, id, .. } => {
                let asked = self.asked.iter_mut().find(|asked| asked.id == id)?;
                asked.until = asked.until.min(raw_clock(world, host));
                None
            }
            Happened::Followed { host, by, ask } => self.followed(world, host, by, ask),
            Happened::Scanned { host } if host < world.hosts.len() => {
                self.began.entry((host, world.hosts[host].agent.process)).or_insert(world.at);
                None
            }
            Happened::Landed { client, offset, .. } => self.landed(world, client, offset),
            _ => None,
        }
    }
}

impl WholeCluster {
    fn followed(&mut self, world: &World, host: usize, by: usize, ask: ClusterAsk) -> Option<String> {
        let process = world.hosts[host].agent.process;
        let (began, read) = (self.began.get(&(host, process)).copied()?, world.clients[host].records_read);
        let fits = |rise: &Rise| {
            let is_it = rise.by == Some(by) && rise.ask == ask;
            is_it && (began..=read).contains(&rise.from) && read < rise.until
        };
        let mut rises = self.rises.iter().enumerate().filter(|(_, rise)| fits(rise)).peekable();
        let how = if rises.peek().is_some() {
            "once more"
        } else {
            "which asks for nothing that rose since it looks"
        };
        let fresh = rises.any(|(number, _)| self.followed.insert((host, number)));
        (!fresh).then(|| format!("host-{host} follows host-{by} ({ask:?}), {how}"))
    }

    fn landed(&mut self, world: &World, client: usize, offset: u64) -> Option<String> {
        let slot = world.file.slot_of_record(offset)?;
        let asks_here = world.file.byte(offset + FLAGS_AT) & FLAGS != 0;
        let up = self.rises.iter_mut().rfind(|rise| rise.slot == slot && rise.until == u64::MAX);
        if !asks_here && up.is_none() {
            return None;
        }
        let copies = RecordCopy::BOTH.into_iter().filter_map(|copy| world.file.record(slot, copy));
        let newest = copies.max_by_key(|record| (record.incarnation.generation, record.sequence))?;
        let (ask, by) = (asks(&newest), world.host_of(newest.incarnation));
        match up {
            Some(up) if Some(up.ask) == ask && up.by == by => {}
            up => {
                up.into_iter().for_each(|up| up.until = world.at);
                let rise = |ask| Rise { slot, by, ask, from: world.at, until: u64::MAX };
                self.rises.extend(ask.map(rise));
            }
        }
        let here = |copy: &RecordCopy| world.file.layout.host_record(slot, *copy).offset == offset;
        let record = world.file.record(slot, RecordCopy::BOTH.into_iter().find(here)?)?;
        let ask = asks(&record)?;
        let is_asked = |asked: &Asked| {
            let of = World::process_of_nonce(record.process_nonce);
            asked.ask == ask && asked.of == of && (asked.from..=asked.until).contains(&record.issued_ns)
        };
        (!self.asked.iter().any(is_asked)).then(|| {
            format!("the record of host-{client} asks for {ask:?}, and no request of its operator is open")
        })
    }
}

fn raw_clock(world: &World, host: usize) -> u64 {
    world.hosts[host].clock.now(world.at).instant.raw_ns
}

/// The low byte's bits of both requests.
const FLAGS: u8 = (RecordFlags::ASKS_DISARM.0 | RecordFlags::ASKS_ARM.0).to_le_bytes()[0];

/// What a record asks for.
fn asks(record: &HostRecord) -> Option<ClusterAsk> {
    let says = |flag| record.flags.contains(flag);
    match (says(RecordFlags::ASKS_DISARM), says(RecordFlags::ASKS_ARM)) {
        (true, false) => Some(ClusterAsk::Disarm),
        (false, true) => Some(ClusterAsk::Arm),
        _ => None,
    }
}
