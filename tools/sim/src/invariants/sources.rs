//! A source that libvirt has resumed is stopped, or killed, as soon as its host can see that its destination may run it.

use std::collections::BTreeMap;

use super::{Happened, Judge};
use crate::time::S;
use crate::world::World;

/// Libvirt's event, a read of the page and a signal, for an agent that nothing hinders all the while.
const BY_EVENT: u64 = 2 * S;
/// A list after the agent or libvirt was away, a question for libvirt's job, a read, a signal.
const BY_LIST: u64 = 8 * S;

/// Remembers since when each host's agent has been free to see it, and which process of it.
#[derive(Debug, Default)]
pub(super) struct Sources {
    free: BTreeMap<usize, (u32, u64)>,
}

impl Judge for Sources {
    fn sentence(&self) -> &'static str {
        "A source that libvirt resumes beside its destination is stopped."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        let source = match *happened {
            Happened::Scanned { host } => {
                self.note(world, host);
                let guests = world.hosts.get(host)?.guests.iter().copied();
                guests
                    .into_iter()
                    .find(|run| world.has_run_since(&world.runs[*run]) && self.is_late(world, *run))
            }
            // The destination's CPUs run only now.
            Happened::Resumed { run, .. } => {
                let moving = world.moves.iter().rev().find(|moving| moving.waiting == Some(run))?;
                // What hinders its host now may do so only since that host's last scan.
                self.note(world, world.runs[moving.source].host);
                Some(moving.source).filter(|source| self.is_late(world, *source))
            }
            _ => None,
        }?;
        let source = &world.runs[source];
        Some(format!("host-{} lets domain {} run on, which has moved", source.host, source.domain))
    }
}

impl Sources {
    fn note(&mut self, world: &World, host: usize) {
        let Some(this) = world.hosts.get(host) else { return };
        let free = world.clients[host].path.is_whole()
            && this.libvirt_hung == 0
            && this.agent.held.is_none()
            && world.holds(host)
            && world.reads_since(host) > S;
        let process = this.agent.process;
        let since =
            self.free.get(&host).filter(|(of, _)| *of == process).map_or(world.at, |(_, since)| *since);
        if free {
            // What hindered it may have come and gone between two of its scans.
            let hindered = world.at - world.reads_since(host);
            self.free.insert(host, (process, since.max(hindered)));
        } else {
            self.free.remove(&host);
        }
    }

    fn is_late(&self, world: &World, run: usize) -> bool {
        let run = &world.runs[run];
        let process = world.hosts[run.host].agent.process;
        let free = self.free.get(&run.host).filter(|(of, _)| *of == process);
        let (Some(resumed), Some((_, free))) = (run.resumed, free) else { return false };
        let path = &world.clients[run.host].path;
        // What hindered it right before may have cost it the event.
        let seen = *free + S < resumed;
        let within = if seen { BY_EVENT } else { BY_LIST } + 16 * (path.slow + path.latency);
        run.runs() && world.at > within + resumed.max(*free)
    }
}
