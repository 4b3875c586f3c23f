//! Live migration as both libvirts play it for whoever asked (`virDomainMigrateVersion3Full`): the destination prepares a process that
//! waits, the memory is copied, the source's CPUs stop, the destination's run, the source's process ends. Each step waits for a
//! libvirt that hangs; what fails is cleaned up as libvirt does it.

use super::World;
use super::event::{Event, HookStep};
use super::run::{Cpus, Ended};
use crate::plan::{Move, MoveEnd};
use crate::time::MS;

/// Between two steps of libvirt.
const STEP: u64 = 300 * MS;
/// Between two looks whether what a step waits for is there.
const AGAIN: u64 = 200 * MS;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The destination's libvirt asks its hook, and runs QEMU.
    Prepares,
    /// The guest runs on, while its memory is copied.
    Copies,
    /// Its CPUs are stopped on the source.
    HandedOver,
    /// They run on the destination.
    Runs,
    /// They are to run again on the source.
    Resumes,
    /// Libvirt has resumed the source, and has lost the destination.
    Lost,
    /// It stands still on its destination alone.
    Paused,
    /// Libvirt has no job any more.
    Over,
}

/// A migration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moving {
    pub(crate) domain: usize,
    pub(crate) to: usize,
    /// The run that is to be moved.
    pub(crate) source: usize,
    /// The run that waits for it.
    pub(crate) waiting: Option<usize>,
    pub(crate) how: Move,
    pub(crate) phase: Phase,
}

/// Libvirt's steps on the destination, for each of which its hook is asked but for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// `migrate begin`.
    Begin,
    Prepare,
    Start,
    /// QEMU is run.
    Runs,
    Started,
}

impl Arrival {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Begin => Self::Prepare,
            Self::Prepare => Self::Start,
            _ => Self::Runs,
        }
    }
}

impl World {
    /// A user, or an orchestrator, asks for a migration to this host. Libvirt has one job of a domain at a time.
    pub(crate) fn migration_asked(&mut self, to: usize, domain: usize, how: Move) {
        // It knows nothing of a signal. Left out (ARCHITECTURE 11, Migration): one that stands still, and whose agent has been started
        // again since, so that nobody knows on whose account; it stands still in that migration too, until that is given up.
        let runs = |run: &usize| {
            let this = &self.runs[*run];
            let known = this.halted.is_none_or(|by| by == self.hosts[this.host].agent.process);
            self.is_there(*run) && this.cpus == Cpus::Run && known
        };
        let Some(source) = self.domains[domain].runs.iter().rev().copied().find(runs) else { return };
        let from = self.runs[source].host;
        let answer = [from, to].iter().all(|host| self.libvirt_answers(*host));
        if from == to || !answer || self.has_job(domain) || self.plan.begins_off(to) {
            return;
        }
        let number = self.moves.len();
        self.moves.push(Moving { domain, to, source, waiting: None, how, phase: Phase::Prepares });
        self.tell_host(to, "migration", || {
            format!("domain {domain} is to come here from host-{from}: {how:?}")
        });
        self.ask_hook(to, domain, HookStep::Arrives { number, step: Arrival::Begin });
    }

    /// True while libvirt migrates it, or has not told the source yet how that ended.
    pub(super) fn has_job(&self, domain: usize) -> bool {
        self.moves.iter().any(|moving| moving.domain == domain && moving.phase != Phase::Over)
    }

    /// What the source's libvirt says of its job. It has forgotten it once whoever asked is gone.
    pub(super) fn migrates_away(&self, host: usize, domain: usize) -> bool {
        self.moves.iter().any(|moving| {
            let left = moving.how.end == MoveEnd::LeftPaused && moving.phase == Phase::Runs;
            let over = matches!(moving.phase, Phase::Lost | Phase::Paused | Phase::Over);
            moving.domain == domain && self.runs[moving.source].host == host && !over && !left
        })
    }

    /// True when a migration of it to this host was asked for, and libvirt has not run QEMU for that: a start may stand in its place.
    pub(super) fn may_be_in_the_place_of_a_migration(&self, host: usize, domain: usize) -> bool {
        self.moves
            .iter()
            .any(|moving| moving.to == host && moving.domain == domain && moving.waiting.is_none())
    }

    fn libvirt_answers(&self, host: usize) -> bool {
        !self.hosts[host].stands_still() && self.hosts[host].libvirt_hung == 0
    }

    fn moves_after(&mut self, number: usize, phase: Phase, after: u64) {
        self.moves[number].phase = phase;
        self.queue.at(self.at + after.max(MS), Event::Moves { number });
    }

    /// The next step on the destination, before the memory comes.
    pub(super) fn arrival_goes_on(&mut self, number: usize, step: Arrival) {
        let Moving { domain, to, waiting, .. } = self.moves[number];
        match step {
            // Libvirt knows it already: a start of it was first. Nothing is cleaned up, and no hook is told.
            Arrival::Prepare if self.runs_there(to, domain) || !self.hosts[to].starting.insert(domain) => {
                self.moves[number].phase = Phase::Over;
            }
            Arrival::Runs if self.hosts[to].starts_fail > 0 => {
                self.hosts[to].starts_fail -= 1;
                self.arrival_denied(number, step);
            }
            Arrival::Runs => {
                let run = self.add_process(domain, to, None, self.domains[domain].chain);
                self.runs[run].comes_in = true;
                self.moves[number].waiting = Some(run);
                self.hosts[to].starting.remove(&domain);
                self.tell_host(to, "migration", || format!("a process waits for domain {domain}"));
                self.beat_soon(to);
                self.libvirt_changed(to);
                let (boot, after) = (self.hosts[to].boot, MS + self.below(STEP));
                let step = HookStep::Arrives { number, step: Arrival::Started };
                self.queue.at(self.at + after, Event::HookGoesOn { host: to, boot, domain, step });
            }
            Arrival::Started if waiting.is_some_and(|run| !self.is_there(run)) => {
                self.moves[number].phase = Phase::Over;
            }
            step => self.ask_hook(to, domain, HookStep::Arrives { number, step }),
        }
    }

    /// The destination does not take it: it runs on where it is. What was set up is cleaned up; before the list of domains knows
    /// it, there is nothing, and its hook hears nothing more.
    pub(super) fn arrival_denied(&mut self, number: usize, step: Arrival) {
        let Moving { domain, to, waiting, .. } = self.moves[number];
        self.moves[number].phase = Phase::Over;
        match (step, waiting) {
            (Arrival::Begin, _) => {}
            (_, Some(run)) => self.kill_run(run, "by libvirt, whose hook denied it"),
            (_, None) => self.start_is_over(to, domain),
        }
    }

    /// The destination is ready: the memory is copied.
    pub(super) fn arrival_is_ready(&mut self, number: usize) {
        let copies = self.moves[number].how.copies;
        self.moves_after(number, Phase::Copies, copies);
    }

    /// The next step of a migration whose destination waits.
    pub(crate) fn migration_moves(&mut self, number: usize) {
        let Moving { to, source, waiting, how, phase, .. } = self.moves[number];
        let Some(waiting) = waiting else { return };
        let hangs = |host: usize| self.hosts[host].powered && !self.libvirt_answers(host);
        if hangs(self.runs[source].host) || hangs(to) {
            return self.moves_after(number, phase, AGAIN);
        }
        let both = self.is_there(source) && self.is_there(waiting);
        match phase {
            Phase::Copies if !both || how.end == MoveEnd::FailsCopying => self.gives_up(number, Phase::Over),
            // QEMU has all that its guest wrote acknowledged first.
            Phase::Copies if self.waits_for_storage(source) || self.runs[source].halted.is_some() => {
                self.moves_after(number, phase, AGAIN);
            }
            Phase::Copies => {
                self.hand_over(source);
                self.moves_after(number, Phase::HandedOver, how.hands_over);
            }
            Phase::HandedOver => self.is_to_be_run(number, waiting),
            Phase::Runs => self.has_run(number, waiting),
            // Left out: see `has_died`. It was lost while libvirt waited for a process that its agent had stopped.
            Phase::Resumes if self.runs[waiting].lost => {
                self.source_ends(source);
                self.moves[number].phase = Phase::Over;
            }
            Phase::Resumes if !self.resume(source) => self.moves_after(number, phase, AGAIN),
            Phase::Lost if how.end == MoveEnd::ResumedFirst => self.gives_up(number, Phase::Over),
            Phase::Lost | Phase::Paused => {
                self.moves[number].phase = Phase::Over;
                self.let_run(waiting);
            }
            Phase::Prepares | Phase::Resumes | Phase::Over => self.moves[number].phase = Phase::Over,
        }
    }

    /// All of its memory is there: it may run.
    fn is_to_be_run(&mut self, number: usize, waiting: usize) {
        let Moving { source, how, .. } = self.moves[number];
        let soon = self.below(STEP);
        match how.end {
            _ if !self.is_there(waiting) => self.moves_after(number, Phase::Resumes, soon),
            MoveEnd::FailsStopped => self.gives_up(number, Phase::Resumes),
            MoveEnd::ResumedFirst | MoveEnd::RunsLate => {
                if self.resume(source) {
                    self.moves_after(number, Phase::Lost, how.hands_over);
                } else {
                    self.moves_after(number, Phase::HandedOver, AGAIN);
                }
            }
            MoveEnd::ComesInPaused => {
                self.source_ends(source);
                self.moves_after(number, Phase::Paused, 2 * how.hands_over);
            }
            end => {
                self.let_run(waiting);
                let after = match end {
                    MoveEnd::PostCopy => how.copies,
                    MoveEnd::LeftPaused => how.hands_over,
                    _ => soon,
                };
                self.moves_after(number, Phase::Runs, after);
            }
        }
    }

    /// It runs on the destination, or has: what becomes of the source.
    fn has_run(&mut self, number: usize, waiting: usize) {
        let Moving { source, how, .. } = self.moves[number];
        let (sends, runs) = (self.is_there(source), self.is_there(waiting));
        match how.end {
            // Its memory is not all there, and will never be.
            MoveEnd::PostCopy if !sends => self.end_run(waiting, Ended::Crashed),
            // The rest of it is of no use: its user destroys it.
            MoveEnd::PostCopy if !runs => self.end_run(source, Ended::Destroyed),
            // Left out: see `has_died`. That reply comes after all.
            MoveEnd::ReplyLost | MoveEnd::LeftPaused if !self.runs[waiting].lost => {
                return self.moves_after(number, Phase::Resumes, 0);
            }
            _ => self.source_ends(source),
        }
        self.moves[number].phase = Phase::Over;
    }

    fn source_ends(&mut self, source: usize) {
        if self.runs[source].cpus == Cpus::HandedOver {
            self.end_run(source, Ended::Migrated);
        }
    }

    /// The destination's libvirt ends the process that waits, as soon as it has lost who asked for it.
    fn gives_up(&mut self, number: usize, then: Phase) {
        if let Some(run) = self.moves[number].waiting.filter(|run| self.runs[*run].cpus == Cpus::Wait) {
            self.kill_run(run, "by libvirt: its migration has failed");
        }
        let soon = self.below(STEP);
        self.moves_after(number, then, soon);
    }
}
