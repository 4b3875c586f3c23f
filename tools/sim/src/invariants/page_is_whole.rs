//! What the fencer reads in the agent's half of the page is what an agent has written to its end, and the last of it.

use super::{Happened, Judge};
use crate::world::World;

/// Looks at each read of a page that a fault has struck.
#[derive(Debug)]
pub(super) struct PageIsWhole;

impl Judge for PageIsWhole {
    fn sentence(&self) -> &'static str {
        "A torn slot of the page is never trusted."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::PageRead { host } = *happened else { return None };
        let memory = world.hosts[host].memory.as_ref()?;
        (!memory.found_what_was_written())
            .then(|| format!("the fencer of host-{host} goes by a half that no agent has finished"))
    }
}
