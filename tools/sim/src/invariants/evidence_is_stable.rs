//! What an observer has called gone stays gone.

use std::collections::BTreeMap;

use leasefence_core::ids::Incarnation;

use super::{Happened, Judge};
use crate::world::World;

/// Remembers what each process has said.
#[derive(Debug, Default)]
pub(super) struct EvidenceIsStable {
    said: BTreeMap<usize, Said>,
}

/// What an observer's process has said, of whom.
#[derive(Debug, Default)]
struct Said {
    process: u32,
    of: Vec<(Incarnation, &'static str)>,
}

impl Judge for EvidenceIsStable {
    fn sentence(&self) -> &'static str {
        "What an observer has called gone stays gone."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Scanned { host } = *happened else { return None };
        let process = world.process_of(host);
        let said = self.said.entry(host).or_default();
        if said.process != process {
            *said = Said { process, of: Vec::new() };
        }
        for incarnation in world.lives() {
            let evidence = world.evidence_of(host, incarnation);
            let before = said.of.iter().find(|(of, _)| *of == incarnation);
            match (before, evidence) {
                (None, Some(evidence)) => said.of.push((incarnation, evidence)),
                (Some((_, before)), None) => {
                    return Some(format!(
                        "{} has called {incarnation} {before}, and says so no more",
                        world.name_of(host)
                    ));
                }
                _ => {}
            }
        }
        None
    }
}
