//! No host fences itself while its storage stalls stay within the stated tolerance.

use super::{Happened, Judge};
use crate::world::World;

/// In plans with nothing but such stalls: no end is ever latched.
#[derive(Debug)]
pub(super) struct Tolerance;

impl Judge for Tolerance {
    fn sentence(&self) -> &'static str {
        "No host fences itself while its storage stalls stay within the stated tolerance."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Published { host } = *happened else { return None };
        let half = &world.hosts[host].fencer.half;
        half.latched.map(|_| format!("host-{host} has latched the end of {}", half.incarnation))
    }
}
