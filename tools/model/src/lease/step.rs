//! What may happen next in the lease model, and when.

use leasefence_core::format::RecordCopy;
use leasefence_core::lease::DropPasses;

use super::DOMAIN;
use super::host::{Process, Waits};
use super::world::World;

/// One thing that happens; the number is a host's slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    /// A recovery round asks for the lease, and its read of the page passes that host's sector first.
    Recover(u16, u16),
    /// A user starts the domain here; as before.
    UserStarts(u16, u16),
    /// The interval between drops passes; as before.
    DropIsDue(u16, u16),
    /// The outstanding write lands and is acknowledged.
    Lands(u16),
    /// The outstanding write's call fails; it may land later.
    Fails(u16),
    /// The read of the page passes the other host's sector.
    Reads(u16, u16),
    /// A write of unknown outcome lands: its place in the list.
    LandsLate(usize),
    /// No write of this host can land late any more: the hold has passed.
    HoldPasses(u16),
    /// The permitted start shows as running.
    Runs(u16),
    /// The permitted start fails.
    StartFails(u16),
    /// A user stops the domain: libvirt says so, its process is there still.
    UserStops(u16),
    /// The process of a stopped domain is gone.
    Exits(u16),
    /// The guest crashes.
    Crashes(u16),
    /// The machine dies.
    Dies(u16),
    /// It has booted, `write_drain` has passed, and it begins to rewrite its own sector for its next generation.
    Rejoins(u16),
    /// Its agent dies and comes back.
    AgentRestarts(u16),
    /// Libvirt answers and the fencer scans, for a restarted agent.
    Settles(u16),
    /// A copy of this host's sector is damaged.
    Damaged(u16, RecordCopy),
}

impl World {
    /// All that may happen next.
    pub(super) fn steps(&self, steps: &mut Vec<Step>) {
        for at in 0..self.late.len() {
            steps.push(Step::LandsLate(at));
        }
        for host in &self.hosts {
            self.storage_steps(host.slot, steps);
            self.people_steps(host.slot, steps);
            self.fault_steps(host.slot, steps);
        }
    }

    fn others(&self, slot: u16) -> impl Iterator<Item = u16> + use<> {
        (0..self.count()).filter(move |other| *other != slot)
    }

    /// Of how many sectors any may be read next: all, or only the first of the page.
    fn width(&self) -> usize {
        if self.in_order { 1 } else { self.hosts.len() }
    }

    fn storage_steps(&self, slot: u16, steps: &mut Vec<Step>) {
        let host = self.host(slot);
        match &host.waits {
            Waits::Write(..) => {
                steps.push(Step::Lands(slot));
                if self.left.failures > 0 {
                    steps.push(Step::Fails(slot));
                }
            }
            Waits::Scan(seen) => {
                let left = |other: &u16| seen.get(usize::from(*other)).is_some_and(Option::is_none);
                steps.extend(
                    self.others(slot).filter(left).take(self.width()).map(|other| Step::Reads(slot, other)),
                );
            }
            Waits::Nothing => {}
        }
        if host.unknown.any() && !matches!(host.waits, Waits::Write(..)) && host.is_up() {
            steps.push(Step::HoldPasses(slot));
        }
    }

    /// What the recovery, users and libvirt do.
    fn people_steps(&self, slot: u16, steps: &mut Vec<Step>) {
        let host = self.host(slot);
        let Some(leases) = host.leases() else { return };
        let first = || self.others(slot).take(self.width());
        let ready = host.is_idle() && leases.page(0).is_some() && !leases.is_acquiring(DOMAIN);
        if ready && !host.owns() && host.process == Process::None {
            steps.extend(first().map(|other| Step::Recover(slot, other)));
            if self.left.starts > 0 {
                steps.extend(first().map(|other| Step::UserStarts(slot, other)));
            }
        }
        if ready && self.left.drops > 0 && leases.page(0).is_some_and(DropPasses::worthwhile) {
            steps.extend(first().map(|other| Step::DropIsDue(slot, other)));
        }
        if host.unsettled && leases.page(0).is_some() {
            steps.push(Step::Settles(slot));
            return;
        }
        match host.process {
            Process::None => {}
            Process::Permitted => {
                steps.push(Step::Runs(slot));
                if self.left.failed_starts > 0 {
                    steps.push(Step::StartFails(slot));
                }
            }
            Process::Running => {
                if self.left.stops > 0 {
                    steps.push(Step::UserStops(slot));
                }
                if self.left.crashes > 0 {
                    steps.push(Step::Crashes(slot));
                }
            }
            Process::Ending => steps.push(Step::Exits(slot)),
        }
    }

    fn fault_steps(&self, slot: u16, steps: &mut Vec<Step>) {
        let host = self.host(slot);
        if host.dead {
            if self.left.rejoins > 0 {
                steps.push(Step::Rejoins(slot));
            }
        } else if self.left.deaths > 0 {
            steps.push(Step::Dies(slot));
        }
        if host.is_up() && self.left.restarts > 0 && host.process != Process::Ending && !host.unsettled {
            steps.push(Step::AgentRestarts(slot));
        }
        if self.left.damages > 0 {
            steps.extend(RecordCopy::BOTH.map(|copy| Step::Damaged(slot, copy)));
        }
    }
}
