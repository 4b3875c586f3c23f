//! The lease model's traces, for people: what happened, and what lies on storage after it.

use leasefence_core::format::LeaseState;
use leasefence_core::ids::Term;

use super::host::{Process, Waits};
use super::sectors::Sector;
use super::step::Step;
use super::world::World;

/// One line.
pub(super) fn line(before: &World, step: Step, after: &World) -> String {
    let what = match step {
        Step::Recover(host, other) => {
            format!("host {host}: a recovery asks for the lease, and reads {}", shown(after, other))
        }
        Step::UserStarts(host, other) => {
            format!("host {host}: a user starts the domain; it reads {}", shown(after, other))
        }
        Step::DropIsDue(host, other) => {
            format!("host {host}: looks for entries to drop, and reads {}", shown(after, other))
        }
        Step::Lands(host) => format!("host {host}: its write lands, {}", written(before, host)),
        Step::Fails(host) => {
            format!("host {host}: its write FAILS and may land later, {}", written(before, host))
        }
        Step::Reads(host, other) => format!("host {host}: reads {}", shown(after, other)),
        Step::LandsLate(at) => before
            .late
            .get(at)
            .map(|late| {
                format!("host {}'s write LANDS LATE, copy {:?}: {}", late.slot, late.copy, one(late.sector))
            })
            .unwrap_or_default(),
        Step::HoldPasses(host) => format!("host {host}: nothing unknown can land any more"),
        Step::Runs(host) => format!("host {host}: the domain RUNS"),
        Step::StartFails(host) => format!("host {host}: the start fails"),
        Step::UserStops(host) => format!("host {host}: a user stops the domain, its process is there still"),
        Step::Exits(host) => format!("host {host}: the process is gone"),
        Step::Crashes(host) => format!("host {host}: the guest crashes"),
        Step::Dies(host) => format!("host {host}: DIES"),
        Step::Rejoins(host) => format!("host {host}: boots and rejoins"),
        Step::AgentRestarts(host) => format!("host {host}: its agent is restarted"),
        Step::Settles(host) => format!("host {host}: libvirt and the fencer have answered"),
        Step::Damaged(host, copy) => format!("copy {copy:?} of host {host}'s sector is DAMAGED"),
    };
    let follows = follow_up(before, step, after);
    format!("{what}{follows}")
}

fn shown(world: &World, other: u16) -> String {
    let copies = world.disk.get(usize::from(other)).map(|copies| both(*copies)).unwrap_or_default();
    format!("host {other}'s sector: {copies}")
}

/// What the host does next, where the step has changed that.
fn follow_up(before: &World, step: Step, after: &World) -> String {
    let (Step::Recover(slot, _)
    | Step::UserStarts(slot, _)
    | Step::DropIsDue(slot, _)
    | Step::Lands(slot)
    | Step::Fails(slot)
    | Step::Reads(slot, _)
    | Step::HoldPasses(slot)
    | Step::StartFails(slot)
    | Step::Exits(slot)
    | Step::Crashes(slot)
    | Step::Rejoins(slot)
    | Step::Settles(slot)) = step
    else {
        return String::new();
    };
    let (old, host) = (before.host(slot), after.host(slot));
    if host.process == Process::Permitted && old.process != Process::Permitted {
        return "; it HAS THE LEASE".to_owned();
    }
    match (&old.waits, &host.waits) {
        (Waits::Scan(_), Waits::Scan(seen)) if seen.iter().any(Option::is_some) => String::new(),
        (_, Waits::Scan(_)) => "; it begins to read the page".to_owned(),
        (_, Waits::Write(copy, sector)) => format!("; it writes {} (copy {copy:?})", one(*sector)),
        (Waits::Nothing, Waits::Nothing) => String::new(),
        (_, Waits::Nothing) => "; it is done".to_owned(),
    }
}

fn written(world: &World, slot: u16) -> String {
    match &world.host(slot).waits {
        Waits::Write(copy, sector) => format!("copy {copy:?}: {}", one(*sector)),
        _ => String::new(),
    }
}

fn both([a, b]: [Sector; 2]) -> String {
    if a == b { one(a) } else { format!("{} | {}", one(a), one(b)) }
}

fn one(sector: Sector) -> String {
    let Some((generation, sequence)) = sector.version() else { return "damaged".to_owned() };
    let said = match sector.entry() {
        None => "nothing".to_owned(),
        Some(entry) => {
            let state = if entry.state == LeaseState::Empty {
                String::new()
            } else {
                format!("{}({})", entry.state.as_str(), entry.term)
            };
            let want =
                if entry.want_term > Term(0) { format!(" want({})", entry.want_term) } else { String::new() };
            format!("{state}{want}").trim().to_owned()
        }
    };
    format!("[{said}] g{generation} #{sequence}")
}
