//! The agent's process: inputs to the member, its commands executed one by one, stopped between any two of them.

use leasefence_core::ids::{HostKey, Nonce};
use leasefence_core::member::{
    ClusterAsk, Command, Input, LeaseMedium, Member, MemberConfig, Note, Reply, Request, RequestId,
};
use leasefence_core::recovery::RecoveryPolicy;
use leasefence_core::storage::IoDone;
use leasefence_core::time::{HolderDeadline, Instant};
use std::time::Duration;

use super::event::{Event, Start};
use super::host::Agent;
use super::{Lane, World};
use crate::invariants::Happened;
use crate::plan::Reset;
use crate::time::{MS, S, nanos};

/// Between two looks at the fencer's half while nothing in it changes; what changes is seen within 50 ms.
const LOOK: u64 = 500 * MS;
const LOOK_SOON: u64 = 50 * MS;
/// No timer comes sooner.
const SOONEST: u64 = MS;
/// The service manager starts an agent again that has ended.
const RESTART: u64 = 5 * S;
/// More than a host has processes.
const PROCESSES: u64 = 100_000;
/// How long a write stays unknown.
const UNKNOWN_HOLD: Duration = Duration::from_secs(20);

impl World {
    /// A new agent's process; it finds the page of the one before.
    pub(crate) fn start_agent(&mut self, host: usize, boot: u32) {
        let this = &mut self.hosts[host];
        if !this.powered || this.boot != boot || this.agent.member.is_some() {
            return;
        }
        // An agent begins with the page that a fencer hands out, after its first beat.
        let fencer = &this.fencer;
        let half = if fencer.page_lost { &fencer.unseen } else { &fencer.half };
        if fencer.fencer.is_none() || half.beat == Instant::default() || fencer.paused_until > self.at {
            self.queue.at(self.at + 200 * MS, Event::StartAgent { host, boot });
            return;
        }
        if std::mem::take(&mut this.fencer.page_lost) {
            // The process that had a copy is gone.
            (this.page, this.page_before, this.memory) = (None, None, None);
            this.fencer.half = std::mem::take(&mut this.fencer.unseen);
        }
        if let Some(memory) = &mut this.memory {
            this.page = memory.agent_starts();
        }
        let process = this.agent.process + 1;
        let index = u64::try_from(host).unwrap_or_default();
        let config = MemberConfig {
            host_key: HostKey([this.machine + 1; 16]),
            boot_id: this.boot_id(host),
            process_nonce: Nonce(index * PROCESSES + u64::from(process)),
            host_name: this.name.clone(),
            cluster_name: "sim".to_owned(),
            terms: this.terms,
            watchdog_class: self.plan.hosts[host].watchdog.code(),
            // As the fencer has answered: what cannot be opened is on in no record.
            reset_on: self.plan.hosts[host].reset == Reset::On,
            expire_without_hardware: true,
            unknown_hold: UNKNOWN_HOLD,
            has_machine_uuid: self.plan.hosts[host].has_machine_uuid,
            uptime: Duration::from_nanos(self.at - this.booted_at),
            seed: self.plan.seed ^ (index << 32) ^ u64::from(process),
            page: this.page.clone(),
            recovery: RecoveryPolicy {
                lock_patience: Duration::from_secs(120),
                rank_delay: Duration::from_nanos(self.plan.cluster.rank_delay),
                ..RecoveryPolicy::default()
            },
        };
        let number = this.agent.number;
        let member = Member::new(config);
        #[cfg(feature = "planted-bugs")]
        let member = {
            let mut member = member;
            this.member_before.iter().for_each(|before| member.keep_stall_clocks_of(before));
            member
        };
        this.agent = Agent { member: Some(member), process, number, ..Agent::default() };
        this.agent.wanted_at = u64::MAX;
        this.hinder(self.at);
        this.agent.inbox.push_back(Input::Fencer(this.fencer.half.clone()));
        self.tell_host(host, "agent", || format!("process {process} starts"));
        self.queue.at(self.at + MS, Event::Open { host, process });
        self.queue.at(self.at + LOOK_SOON, Event::Look { host, process });
        let first = self.at + 10 * MS + self.below(500 * MS);
        self.queue.at(first, Event::Listing { host, process });
    }

    /// The lease path opens, as soon as the storage answers.
    pub(crate) fn lease_opens(&mut self, host: usize, process: u32) {
        if self.hosts[host].agent.process != process {
            return;
        }
        let path = &self.clients[host].path;
        if path.requests_cut + path.answers_cut > 0 {
            self.queue.at(self.at + 500 * MS, Event::Open { host, process });
            return;
        }
        let sector_size = self.plan.cluster.unit;
        let size = self.file.layout.total_size();
        let medium = LeaseMedium { size, block_device: sector_size == 512, sector_size };
        self.give(host, Input::Opened(medium));
    }

    /// The host and its process that write this nonce.
    pub(crate) fn process_of_nonce(nonce: Nonce) -> (usize, u32) {
        let (host, process) = (nonce.0 / PROCESSES, nonce.0 % PROCESSES);
        (usize::try_from(host).unwrap_or(usize::MAX), u32::try_from(process).unwrap_or(u32::MAX))
    }

    /// Puts an input before the agent; it is taken as soon as the agent runs.
    pub(crate) fn give(&mut self, host: usize, input: Input) {
        if self.hosts[host].agent.member.is_some() {
            self.hosts[host].agent.inbox.push_back(input);
            self.want_agent(host, self.at);
        }
    }

    /// The agent is to run at this time, or sooner.
    pub(crate) fn want_agent(&mut self, host: usize, at: u64) {
        let agent = &mut self.hosts[host].agent;
        if agent.wanted_at > at {
            agent.wanted_at = at;
            agent.number += 1;
            self.queue.at(at, Event::Agent { host, number: agent.number });
        }
    }

    pub(crate) fn agent_wakes(&mut self, host: usize, number: u32) {
        if self.hosts[host].agent.number == number {
            self.hosts[host].agent.wanted_at = u64::MAX;
            self.end_clone_without_original(host);
            self.run_agent(host);
        }
    }

    /// What is promised is that a clone finds its original alive. Where no firmware tells them apart, one that is booted
    /// while the original is down, or in maintenance without an agent, is that machine: no watching helps (ARCHITECTURE 11).
    fn end_clone_without_original(&mut self, host: usize) {
        if !self.plan.hosts[host].spare {
            return;
        }
        let machine = self.plan.hosts[host].machine;
        let original = self.plan.hosts.iter().position(|plan| plan.machine == machine && !plan.spare);
        let renews = |original: usize| {
            let path = &self.clients[original].path;
            self.holds(original) && self.agent_runs(original) && path.requests_cut + path.answers_cut == 0
        };
        if !original.is_some_and(renews) {
            self.power_off(host);
        }
    }

    /// True when the agent's process is there and may run now.
    fn agent_runs(&self, host: usize) -> bool {
        let this = &self.hosts[host];
        this.agent.member.is_some() && !this.stands_still() && this.agent.paused_until <= self.at
    }

    fn run_agent(&mut self, host: usize) {
        if !self.agent_runs(host) {
            return;
        }
        if let Some(command) = self.hosts[host].agent.held.take() {
            self.hosts[host].agent.resumes = true;
            self.execute(host, command);
            self.execute_all(host);
            self.hosts[host].agent.resumes = false;
        }
        let mut told = false;
        if self.agent_runs(host)
            && let Some((request, issued, result)) = self.clients[host].back.take()
        {
            let ended = self.hosts[host].clock.now(self.at);
            let done = IoDone { id: request.id, issued, ended, result };
            self.input(host, Input::Io(done));
            self.happened(&Happened::Scanned { host });
            told = true;
        }
        while self.agent_runs(host)
            && let Some(input) = self.hosts[host].agent.inbox.pop_front()
        {
            self.input(host, input);
            told = true;
        }
        // The daemon's tick comes when nothing else has come by then.
        if !told && self.agent_runs(host) {
            self.input(host, Input::Tick);
        }
        self.want_next_turn(host);
    }

    fn want_next_turn(&mut self, host: usize) {
        if !self.agent_runs(host) {
            return;
        }
        let this = &self.hosts[host];
        let wake = this.agent.member.as_ref().and_then(Member::wake_at);
        if let Some(wake) = wake {
            let left = HolderDeadline(wake).left(this.clock.now(self.at).instant);
            self.want_agent(host, self.at + nanos(left).max(SOONEST));
        }
    }

    fn input(&mut self, host: usize, input: Input) {
        if let Input::Request(id, Request::Cluster(ask)) = input {
            self.happened(&Happened::Asked { host, id, ask });
        }
        let this = &mut self.hosts[host];
        let now = this.clock.now(self.at);
        if let Some(member) = &mut this.agent.member {
            member.handle(&now, input);
        }
        self.execute_all(host);
    }

    fn execute_all(&mut self, host: usize) {
        let now = self.hosts[host].clock.now(self.at);
        while let Some(command) = self.hosts[host].agent.member.as_mut().and_then(|m| m.poll_command(&now)) {
            if self.stops_before(host, &command) {
                self.hosts[host].agent.held = Some(command);
                return;
            }
            self.execute(host, command);
        }
    }

    /// A pause that was set to strike before a certain command: the process is stopped there.
    fn stops_before(&mut self, host: usize, command: &Command) -> bool {
        if matches!(command, Command::Note(_)) {
            return false;
        }
        let agent = &mut self.hosts[host].agent;
        match agent.pause_at {
            Some((0, lasts)) => {
                agent.pause_at = None;
                self.pause_agent(host, lasts);
                true
            }
            Some((left, lasts)) => {
                agent.pause_at = Some((left - 1, lasts));
                false
            }
            None => false,
        }
    }

    /// Stops the agent's process until `lasts` is over.
    pub(crate) fn pause_agent(&mut self, host: usize, lasts: u64) {
        let until = self.at + lasts;
        let agent = &mut self.hosts[host].agent;
        agent.paused_until = agent.paused_until.max(until);
        agent.wanted_at = u64::MAX;
        self.tell_host(host, "agent-stopped", || format!("for {} ms", lasts / MS));
        self.want_agent(host, until);
    }

    fn execute(&mut self, host: usize, command: Command) {
        match command {
            Command::Io(request) => self.submit(host, request),
            Command::Page(half) => self.page_written(host, *half),
            Command::Barrier { domain, asked, definition_hash } => {
                self.barrier_asked(host, domain, asked, definition_hash);
            }
            Command::Start { domain, term, definition_hash } => {
                let process = self.hosts[host].agent.process;
                self.start_permitted(host, Start { process, domain, term, hash: definition_hash });
            }
            Command::StoreDefinition { domain } => self.store_definition(host, domain),
            Command::Destroy { domain, reason } => {
                self.tell_host(host, "destroy", || reason);
                self.agent_kills(host, Some(domain));
            }
            Command::KillAll => {
                self.tell_host(host, "kill-all", || "the fencer is silent".to_owned());
                self.agent_kills(host, None);
            }
            Command::PermitStart { id, domain, opened, token_is_new } => {
                self.start_of_a_user(host, id, domain, opened, token_is_new);
            }
            Command::AskActivity { domain, opened } => self.activity_asked(host, domain, opened),
            Command::Migration { domain, step } => self.migration_step(host, domain, step),
            Command::Reply(id, reply) if self.hosts[host].asking.contains_key(&id) => {
                self.hook_is_answered(host, id, &reply);
            }
            Command::Reply(id, reply) => self.replied(host, id, &reply),
            Command::Note(note) => {
                if let Some((by, ask)) = self.followed(&note) {
                    self.happened(&Happened::Followed { host, by, ask });
                }
                self.counts.verdicts += u64::from(note.event == "verdict");
                self.story.tell(self.at, Lane::Host(host), note.event, || note.text);
            }
            Command::Fatal(why) => self.agent_ends(host, why),
        }
    }

    /// Whom a host says that it follows, and in what.
    fn followed(&self, note: &Note) -> Option<(usize, ClusterAsk)> {
        let text = Some(&note.text).filter(|_| note.event == "cluster-obeyed")?;
        let (by, verb) = text.split_once(" asks the whole cluster to ")?;
        let ask = if verb == "arm" { ClusterAsk::Arm } else { ClusterAsk::Disarm };
        Some((self.hosts.iter().position(|host| host.name == by)?, ask))
    }

    fn replied(&mut self, host: usize, id: RequestId, reply: &Reply) {
        self.happened(&Happened::Answered { host, id, done: reply.ok });
        self.tell_host(host, "reply", || {
            format!("{}: {}", if reply.ok { "done" } else { "refused" }, reply.text)
        });
    }

    fn agent_ends(&mut self, host: usize, why: String) {
        self.tell_host(host, "exit", || why.clone());
        self.hosts[host].refused = Some(why);
        self.kill_agent(host);
        let boot = self.hosts[host].boot;
        self.queue.at(self.at + RESTART, Event::StartAgent { host, boot });
    }

    /// The agent's process is gone; what it had in flight may land or not.
    pub(crate) fn kill_agent(&mut self, host: usize) {
        #[cfg(feature = "planted-bugs")]
        {
            self.hosts[host].member_before = self.hosts[host].agent.member.take();
        }
        let agent = &mut self.hosts[host].agent;
        *agent = Agent { process: agent.process + 1, number: agent.number + 1, ..Agent::default() };
        self.abandon_flight(host);
    }

    /// A look at the fencer's half.
    pub(crate) fn agent_looks(&mut self, host: usize, process: u32) {
        let agent = &mut self.hosts[host].agent;
        if agent.process != process || agent.member.is_none() {
            return;
        }
        let regular = !std::mem::take(&mut agent.look_soon);
        if self.agent_runs(host) {
            let half = self.hosts[host].fencer.half.clone();
            self.give(host, Input::Fencer(half));
        }
        if regular {
            self.queue.at(self.at + LOOK, Event::Look { host, process });
        }
    }

    /// Something in the fencer's half has changed: it is seen within the agent's interval.
    pub(crate) fn look_soon(&mut self, host: usize) {
        let wait = self.below(LOOK_SOON);
        let agent = &mut self.hosts[host].agent;
        if agent.member.is_some() && !agent.look_soon {
            agent.look_soon = true;
            self.queue.at(self.at + wait, Event::Look { host, process: agent.process });
        }
    }

    pub(crate) fn tell_host(&mut self, host: usize, event: &'static str, text: impl FnOnce() -> String) {
        self.story.tell(self.at, Lane::Host(host), event, text);
    }
}
