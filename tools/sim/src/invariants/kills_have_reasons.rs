//! Nothing is killed in maintenance, nor before a lease was ever armed.

use std::collections::BTreeMap;

use leasefence_core::fencing::{Marker, MarkerFound, Wish};

use super::{Happened, Judge};
use crate::world::World;

/// Looks at each kill. A host is in maintenance from the moment at which its fencer lets go until its agent asks for a
/// further arming; what a fencer that is started meanwhile writes into its marker does not end it (ARCHITECTURE 5, R12).
#[derive(Debug, Default)]
pub(super) struct KillsHaveReasons {
    /// Of each host the boot, and the arming that was let go last.
    let_go: BTreeMap<usize, (u32, u32)>,
}

impl Judge for KillsHaveReasons {
    fn sentence(&self) -> &'static str {
        "Nothing is killed in maintenance."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::LetGo { host } => {
                let this = &world.hosts[host];
                if let Some(MarkerFound::Marker(Marker::Disarmed { arm_count, .. })) = this.fencer.marker {
                    self.let_go.insert(host, (this.boot, arm_count));
                }
                None
            }
            Happened::Killed { run } => {
                let run = &world.runs[run];
                // A source whose domain has run on its destination is no guest of this host any more, nor is what waits there in vain.
                let old = world.has_run_since(run) || run.comes_in && run.ran_at.is_none();
                (!old && self.in_maintenance(world, run.host)).then(|| {
                    format!("domain {} is killed on host-{}, which is disarmed", run.domain, run.host)
                })
            }
            _ => None,
        }
    }
}

impl KillsHaveReasons {
    fn in_maintenance(&self, world: &World, host: usize) -> bool {
        let this = &world.hosts[host];
        let marked = matches!(this.fencer.marker, Some(MarkerFound::Marker(Marker::Disarmed { .. })));
        let stays = |(boot, arm_count): &(u32, u32)| {
            let asked_for = this
                .page
                .as_ref()
                .is_some_and(|page| page.wish == Wish::Disarm && page.arm_count == *arm_count);
            *boot == this.boot && asked_for
        };
        marked || self.let_go.get(&host).is_some_and(stays)
    }
}
