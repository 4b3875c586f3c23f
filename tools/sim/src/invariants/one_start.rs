//! A domain is restarted once for each death: a recovery's term is above all terms that the domain ever ran under.

use std::collections::BTreeMap;

use leasefence_core::ids::Term;

use super::{Happened, Judge};
use crate::world::World;

/// Remembers the highest term of each domain, until no entry of it is left: terms begin anew then.
#[derive(Debug, Default)]
pub(super) struct OneStart {
    highest: BTreeMap<usize, Term>,
}

impl Judge for OneStart {
    fn sentence(&self) -> &'static str {
        "A domain is restarted once for each death."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        if let Happened::Forgotten { domain } = *happened {
            self.highest.remove(&domain);
        }
        let (Happened::Began { run } | Happened::SetUp { run }) = *happened else { return None };
        let run = &world.runs[run];
        // A user's start is no restart.
        let term = run.term?;
        let before = self.highest.insert(run.domain, term)?;
        (term <= before).then(|| {
            format!(
                "domain {} begins on host-{} under term {term}, after it ran under {before}",
                run.domain, run.host
            )
        })
    }
}
