//! A name is used once: an incarnation by one boot of one host, a sequence by one record, and the next generation only
//! after the end of the one before is proven.

use std::collections::BTreeMap;

use leasefence_core::ids::Incarnation;

use super::{Happened, Judge};
use crate::world::World;

/// Remembers what each fencer guarded last: its boot and its pages, the incarnation, and whether its end waits for a proof.
#[derive(Debug, Default)]
pub(super) struct OneLife {
    guarded: BTreeMap<usize, (u32, u32, Incarnation, bool)>,
}

impl Judge for OneLife {
    fn sentence(&self) -> &'static str {
        "A name is used once."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::Named { host, incarnation } => {
                let others = world.hosts.iter().enumerate().filter(|(other, _)| *other != host);
                let mut lives = others.map(|(_, other)| &other.lives);
                let used = lives.any(|lives| lives.boot_of(incarnation).is_some());
                (used || world.recorded.contains(&incarnation))
                    .then(|| format!("host-{host} calls itself {incarnation}, which was used before"))
            }
            Happened::WentBack { host } => {
                Some(format!("host-{host} goes back to a sequence that it has issued before"))
            }
            Happened::Published { host } => {
                let this = &world.hosts[host];
                let half = &this.fencer.half;
                let owes = half.armed && half.latched.is_some() && half.clean.is_none();
                let now = (this.boot, this.fencer.pages_lost, half.incarnation, owes);
                let before = self.guarded.insert(host, now)?;
                let went_on = before.3 && before.0 == now.0 && before.1 == now.1 && before.2 != now.2;
                went_on
                    .then(|| format!("host-{host} guards {} though {} is not proven over", now.2, before.2))
            }
            _ => None,
        }
    }
}
