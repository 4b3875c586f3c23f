//! A domain is restarted once for each death: a recovery's term is above all terms that the domain ever ran under.

use std::collections::BTreeMap;

use leasefence_core::ids::Term;

use super::{Happened, Judge};
use crate::world::World;

/// Remembers the highest term of each domain.
#[derive(Debug, Default)]
pub(super) struct OneStart {
    highest: BTreeMap<usize, Term>,
}

impl Judge for OneStart {
    fn sentence(&self) -> &'static str {
        "A domain is restarted once for each death."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let (Happened::Began { run } | Happened::SetUp { run }) = *happened else { return None };
        let run = &world.runs[run];
        let Some(term) = run.term else {
            // A user's start of a domain of which no entry is left begins with the first term.
            self.highest.remove(&run.domain);
            return None;
        };
        let before = self.highest.insert(run.domain, term)?;
        (term <= before).then(|| {
            format!(
                "domain {} begins on host-{} under term {term}, after it ran under {before}",
                run.domain, run.host
            )
        })
    }
}
