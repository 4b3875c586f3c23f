//! No two runs of a domain write its disks in overlapping or reversed order.

use super::{By, Happened, Judge};
use crate::time::MS;
use crate::world::World;

/// When a run begins, or its CPUs go on, no write of another may land any more. A guest may write at every instant of its run;
/// what waits for a migration, or was handed over, does not. And none goes on with a memory from before another has run.
#[derive(Debug)]
pub(super) struct OneWriter;

impl Judge for OneWriter {
    fn sentence(&self) -> &'static str {
        "No two runs of a domain write its disks in overlapping or reversed order."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let (run, does) = match *happened {
            Happened::Began { run } => (run, "begins"),
            Happened::Resumed { run, .. } => (run, "goes on"),
            _ => return None,
        };
        let new = &world.runs[run];
        let by_agent = matches!(*happened, Happened::Resumed { by: By::Agent, .. });
        if by_agent && world.has_run_since(new) {
            return Some(format!(
                "domain {} goes on on host-{}, and has run elsewhere since",
                new.domain, new.host
            ));
        }
        let others = world.domains[new.domain].runs.iter().filter(|other| **other != run);
        let writes = |other: &&usize| {
            world.runs[**other].writes_now(world.at) && !world.are_source_and_destination(run, **other)
        };
        let writer = others.into_iter().find(writes).map(|writer| &world.runs[*writer])?;
        let until = writer.quiet.map_or_else(
            || "nobody knows until when".to_owned(),
            |quiet| format!("for {} ms more", (quiet - world.at).div_ceil(MS)),
        );
        Some(format!(
            "domain {} {does} on host-{} while its run on host-{} may still write ({until})",
            new.domain, new.host, writer.host
        ))
    }
}
