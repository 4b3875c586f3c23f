//! The CPUs of guests that move: who lets them run and who stops them, and what agents are told and asked of that.

use leasefence_core::fencing::HalfReading;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{Input, MigrationNews, MigrationStep};

use super::World;
use super::event::{Event, Word};
use super::fencer::run_of;
use super::run::{Cpus, Ended};
use crate::invariants::{By, Happened};
use crate::time::{MS, S};

/// How long libvirt takes to tell of CPUs that run or are stopped, and an agent to read a command line.
const TELL: u64 = 20 * MS;
/// A libvirt that hangs is waited for so long.
const NO_ANSWER: u64 = 3 * S;

impl World {
    /// The run of a domain whose guest runs, if one does.
    pub(crate) fn running(&self, domain: usize) -> Option<usize> {
        self.domains[domain].runs.iter().rev().copied().find(|run| self.runs[*run].runs())
    }

    /// True while nothing has ended its process.
    pub(super) fn is_there(&self, run: usize) -> bool {
        self.runs[run].killed.is_none() && self.runs[run].exited.is_none()
    }

    /// QEMU stops its guest for its migration, and has written all of it: its images are inactive from here on.
    pub(super) fn hand_over(&mut self, run: usize) {
        let at = self.at;
        (self.runs[run].cpus, self.runs[run].handed_over) = (Cpus::HandedOver, Some(at));
        self.tell_moved(run, "stops, and is handed over");
        self.say(run, Word::Suspended);
    }

    /// The destination's libvirt lets a domain run that has come in.
    pub(super) fn let_run(&mut self, run: usize) {
        if !self.is_there(run) || self.runs[run].cpus != Cpus::Wait {
            return;
        }
        let at = self.at;
        (self.runs[run].cpus, self.runs[run].ran_at) = (Cpus::Run, Some(at));
        self.counts.moves += 1;
        self.tell_moved(run, "has come in, and runs");
        self.happened(&Happened::Resumed { run, by: By::Libvirt });
        self.say(run, Word::Resumed);
    }

    /// The source's libvirt lets a domain go on that was handed over. False while its process is stopped, and libvirt waits for it.
    pub(super) fn resume(&mut self, run: usize) -> bool {
        if !self.is_there(run) || self.runs[run].cpus != Cpus::HandedOver {
            return true;
        }
        if self.runs[run].halted.is_some() {
            return false;
        }
        let at = self.at;
        (self.runs[run].cpus, self.runs[run].resumed) = (Cpus::Run, Some(at));
        self.tell_moved(run, "is resumed by libvirt");
        self.happened(&Happened::Resumed { run, by: By::Libvirt });
        self.say(run, Word::Resumed);
        true
    }

    fn tell_moved(&mut self, run: usize, what: &'static str) {
        let (host, domain) = (self.runs[run].host, self.runs[run].domain);
        self.tell_host(host, "cpus", || format!("domain {domain} {what}"));
    }

    /// A step that the agent asks for.
    pub(crate) fn migration_step(&mut self, host: usize, id: DomainId, step: MigrationStep) {
        let Some(domain) = self.domain(id) else { return };
        match step {
            MigrationStep::LookAt(process) => {
                let run = run_of(&process).filter(|run| self.hosts[host].guests.contains(run));
                let incoming = run.map(|run| self.runs[run].comes_in);
                self.answer_agent(host, domain, MigrationNews::Process { process, incoming }, 0);
            }
            MigrationStep::AskJob { beside } if self.hosts[host].libvirt_hung > 0 => {
                let news = MigrationNews::Job { beside, migrates: None };
                self.answer_agent(host, domain, news, NO_ANSWER);
            }
            MigrationStep::AskJob { beside } => {
                let migrates = Some(self.migrates_away(host, domain));
                // Now and then the thread that has asked is not run for a while: by then it may be otherwise.
                let later = if self.rng.u8(..6) == 0 { self.below(4 * S) } else { 0 };
                self.answer_agent(host, domain, MigrationNews::Job { beside, migrates }, later);
            }
            MigrationStep::Halt => {
                let process = self.hosts[host].agent.process;
                for run in self.signalled(host, id) {
                    if self.runs[run].halted.replace(process).is_none() {
                        self.tell_moved(run, "is stopped by the agent");
                    }
                }
            }
            MigrationStep::GoOn => self.signalled(host, id).into_iter().for_each(|run| self.goes_on(run)),
        }
    }

    /// The processes that a signal for a domain reaches: those that the fencer has found.
    fn signalled(&self, host: usize, id: DomainId) -> Vec<usize> {
        let found = HalfReading::Good(self.hosts[host].fencer.half.clone());
        let mut seen = self.page_seen(host);
        let runs = seen.to_kill(Some(id), found).filter_map(run_of);
        runs.filter(|run| self.is_there(*run) && self.runs[*run].host == host).collect()
    }

    /// The agent has found that nobody else has it.
    fn goes_on(&mut self, run: usize) {
        let this = &mut self.runs[run];
        let (halted, resumed) = (this.halted.take().is_some(), this.resumed.take());
        if (halted || resumed.is_some()) && this.cpus == Cpus::Run {
            self.tell_moved(run, "goes on, its agent says");
            self.happened(&Happened::Resumed { run, by: By::Agent });
        }
    }

    /// Libvirt tells the agent that is connected now.
    fn say(&mut self, run: usize, word: Word) {
        let (host, domain) = (self.runs[run].host, self.runs[run].domain);
        let process = self.hosts[host].agent.process;
        let after = MS + self.below(TELL);
        self.queue.at(self.at + after, Event::Word { host, process, domain, word });
    }

    fn answer_agent(&mut self, host: usize, domain: usize, news: MigrationNews, later: u64) {
        let process = self.hosts[host].agent.process;
        let after = MS + self.below(TELL) + later;
        self.queue.at(self.at + after, Event::Word { host, process, domain, word: Word::Answer(news) });
    }

    pub(crate) fn word_comes(&mut self, host: usize, process: u32, domain: usize, word: Word) {
        let this = &self.hosts[host];
        if this.agent.process != process || this.agent.member.is_none() || !this.powered {
            return;
        }
        let (away, hung) = (!this.agent.libvirt_answers, this.libvirt_hung > 0);
        let id = self.domains[domain].id;
        if let Word::Answer(news) = word {
            return self.give(host, Input::Migration { domain: id, news });
        }
        if hung || this.still_since.is_some() {
            // Once the agent has given the connection up, nobody tells it what happened meanwhile.
            if !hung || !away || self.rng.bool() {
                self.queue.at(self.at + S, Event::Word { host, process, domain, word });
            }
            return;
        }
        self.give(
            host,
            match word {
                Word::Resumed => Input::Resumed(id),
                _ => Input::Migration { domain: id, news: MigrationNews::Suspended },
            },
        );
        self.libvirt_changed(host);
    }

    /// A process has been ended, or its host has lost its power.
    ///
    /// Left out (ARCHITECTURE 11, Migration): a destination that lets the CPUs run and ends before its own entry has landed has
    /// written the disk, and nothing tells its source that. Where libvirt resumes that source, its operator, who has seen both
    /// run, destroys it here. And a guest that ends so on a host that lives on is recovered only if its source has seen it there.
    pub(super) fn has_died(&mut self, run: usize) {
        let this = &self.runs[run];
        let (domain, host) = (this.domain, this.host);
        if !this.comes_in || self.own_has_landed(run) {
            return;
        }
        let moving = self.moves.iter().rev().find(|moving| moving.waiting == Some(run));
        let source = moving.map(|moving| moving.source).filter(|source| self.is_there(*source));
        let ran = this.ran_at.is_some();
        // A source that ends later may see a destination that has joined anew.
        let seen = if ran {
            source.is_none() && !self.hosts[host].powered
        } else {
            source.is_some() || !self.hosts[host].powered
        };
        self.domains[domain].leased &= seen;
        self.runs[run].lost = ran;
        if let Some(source) = source.filter(|source| ran && self.runs[*source].resumed.is_some()) {
            self.domains[domain].stopped_by_user = true;
            self.end_run(source, Ended::Destroyed);
        }
    }
}
