//! No two runs of a domain write its disks in overlapping or reversed order.

use super::{Happened, Judge};
use crate::time::MS;
use crate::world::World;

/// When a run begins, no write of an earlier one may land any more. A guest may write at every instant of its run.
#[derive(Debug)]
pub(super) struct OneWriter;

impl Judge for OneWriter {
    fn sentence(&self) -> &'static str {
        "No two runs of a domain write its disks in overlapping or reversed order."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Began { run } = *happened else { return None };
        let new = &world.runs[run];
        let earlier = world.domains[new.domain].runs.iter().filter(|earlier| **earlier != run);
        let writer =
            earlier.map(|earlier| &world.runs[*earlier]).find(|earlier| earlier.may_write(world.at))?;
        let until = writer.quiet.map_or_else(
            || "nobody knows until when".to_owned(),
            |quiet| format!("for {} ms more", (quiet - world.at).div_ceil(MS)),
        );
        Some(format!(
            "domain {} begins on host-{} while its run on host-{} may still write ({until})",
            new.domain, new.host, writer.host
        ))
    }
}
