//! An old entry is dropped only after two looks that both show that nobody needs it.

use std::collections::BTreeMap;

use leasefence_core::format::{LeaseEntry, LeaseState};
use leasefence_core::ids::Term;

use super::{Happened, Judge};
use crate::world::{World, Writing};

/// Remembers the orphans and stopped entries that a process has last written into its sector of a page (PROTOCOL 4, Drop).
/// A drop is judged when the first write that leaves the entry out is issued: the last two looks are its passes then.
#[derive(Debug, Default)]
pub(super) struct Drops {
    said: BTreeMap<(usize, u8), (u32, Vec<LeaseEntry>)>,
}

impl Judge for Drops {
    fn sentence(&self) -> &'static str {
        "An old entry is dropped only after two looks that both show that nobody needs it."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Issued { client } = *happened else { return None };
        self.issued(world, client, &Writing::of(world, client)?)
    }
}

impl Drops {
    fn issued(&mut self, world: &World, client: usize, writing: &Writing) -> Option<String> {
        let is_old = |entry: &&LeaseEntry| matches!(entry.state, LeaseState::Orphan | LeaseState::Stopped);
        let old = writing.page.entries().filter(is_old).copied().collect();
        let (process, before) = self.said.insert((client, writing.number), (writing.process, old))?;
        let dropped = |old: &&LeaseEntry| {
            let now = writing.page.get(old.domain);
            process == writing.process && now.is_none_or(|entry| entry.state == LeaseState::Empty)
        };
        before.iter().filter(dropped).find_map(|old| {
            let looks = world.looks.others(world, client, writing, old.domain);
            let mut looks = looks.iter().zip(["the look before its last one", "its last look"]);
            let why = looks.find_map(|(others, which)| needs(old, others.as_deref()?, which))?;
            Some(format!("host-{client} drops {} under term {}, though {why}", old.domain, old.term))
        })
    }
}

/// What a look shows against it.
fn needs(old: &LeaseEntry, others: &[LeaseEntry], which: &str) -> Option<String> {
    let wants = |entry: &LeaseEntry| entry.want_term > Term(0) || entry.state == LeaseState::Incoming;
    if others.iter().any(wants) {
        return Some(format!("{which} showed that another wants it"));
    }
    let alone = old.state == LeaseState::Stopped && others.is_empty();
    let overtaken = others.iter().any(|entry| entry.state != LeaseState::Empty && entry.term > old.term);
    (!alone && !overtaken).then(|| format!("{which} showed nothing that stands for it"))
}
