//! A slot has one holder: no two hosts are armed for the same slot before the end of their leases.

use super::{Happened, Judge};
use crate::world::World;

/// Looks when a fencer has written its half.
#[derive(Debug)]
pub(super) struct OneHolder;

impl Judge for OneHolder {
    fn sentence(&self) -> &'static str {
        "A slot has one holder."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Published { host } = *happened else { return None };
        let mine = &world.hosts[host].fencer.half;
        if !mine.armed || mine.latched.is_some() {
            return None;
        }
        let same_slot = |other: &usize| {
            let half = &world.hosts[*other].fencer.half;
            *other != host && half.incarnation.slot == mine.incarnation.slot && world.holds(*other)
        };
        let other = (0..world.hosts.len()).find(same_slot)?;
        if world.end_has_passed(other) || world.end_has_passed(host) {
            return None;
        }
        let theirs = world.hosts[other].fencer.half.incarnation;
        Some(format!("host-{host} holds {} and host-{other} holds {theirs}", mine.incarnation))
    }
}
