//! What the model check renumbers in own leases. It decides nothing.

use super::OwnedDomains;
use super::owned::Phase;
use crate::marks::{Mark, Marks};

impl Marks for OwnedDomains {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        for owned in self.domains.values_mut() {
            owned.term.each_mark(f);
            owned.running_since.each_mark(f);
            match &mut owned.phase {
                Phase::Recovering | Phase::Starting | Phase::Departed => {}
                Phase::Held { missing } => missing.each_mark(f),
                Phase::Settling { proof, .. } | Phase::Ending { proof, .. } => proof.each_mark(f),
                Phase::Quieting { quiet, .. } => quiet.each_mark(f),
            }
        }
    }
}
