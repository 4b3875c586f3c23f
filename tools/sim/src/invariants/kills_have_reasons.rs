//! Nothing is killed in maintenance, nor before a lease was ever armed.

use leasefence_core::fencing::{Marker, MarkerFound};

use super::{Happened, Judge};
use crate::world::World;

/// Looks at each kill.
#[derive(Debug)]
pub(super) struct KillsHaveReasons;

impl Judge for KillsHaveReasons {
    fn sentence(&self) -> &'static str {
        "Nothing is killed in maintenance."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let Happened::Killed { run } = *happened else { return None };
        let run = &world.runs[run];
        let host = &world.hosts[run.host];
        let disarmed = matches!(host.fencer.marker, Some(MarkerFound::Marker(Marker::Disarmed { .. })));
        disarmed.then(|| format!("domain {} is killed on host-{}, which is disarmed", run.domain, run.host))
    }
}
