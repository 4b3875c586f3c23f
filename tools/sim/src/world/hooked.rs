//! Libvirt's hook: what users start is asked about at each step, and libvirt goes by the answer. It gives up after four
//! seconds, and an agent that is stopped hears of nothing in time.

use leasefence_core::fencing::HalfReading;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{HookOperation, HookQuestion, Input, Reply, RequestId, StartActivity};
use leasefence_core::time::Instant;

use super::World;
use super::event::{Event, HookStep, OwnStep};
use super::moves::Arrival;
use crate::time::{MS, S};

/// The hook's own deadline.
const DEADLINE: u64 = 4 * S;
/// From an answer to libvirt's next step.
const STEP: u64 = 300 * MS;

/// A question that is not answered yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asking {
    domain: usize,
    step: HookStep,
}

impl World {
    /// A user asks libvirt for a start. Libvirt starts no domain that runs there, or is being started.
    pub(crate) fn hook_is_asked(&mut self, host: usize, domain: usize) {
        let (this, runs) = (&self.hosts[host], self.runs_there(host, domain));
        if this.stands_still() || this.libvirt_hung > 0 || runs || !self.hosts[host].starting.insert(domain) {
            return;
        }
        self.ask_hook(host, domain, HookStep::Prepare);
    }

    pub(super) fn runs_there(&self, host: usize, domain: usize) -> bool {
        self.hosts[host].guests.iter().any(|run| self.runs[*run].domain == domain)
    }

    pub(super) fn ask_hook(&mut self, host: usize, domain: usize, step: HookStep) {
        self.asked += 1;
        // Above those of the operators.
        let id = RequestId((1 << 32) + self.asked);
        let report = || {
            let chain = match step {
                HookStep::Own { start, .. } => start.hash,
                _ => self.domains[domain].chain,
            };
            let mut report = self.report(host, domain, chain);
            (report.running, report.definition_version) = (false, 0);
            Box::new(report)
        };
        let operation = match step {
            HookStep::Arrives { step: Arrival::Begin, .. } => HookOperation::Migrate(report()),
            HookStep::Prepare
            | HookStep::Own { step: OwnStep::Prepare, .. }
            | HookStep::Arrives { step: Arrival::Prepare, .. } => HookOperation::Prepare(report()),
            HookStep::Started { .. } | HookStep::Arrives { step: Arrival::Started, .. } => {
                HookOperation::Started
            }
            HookStep::Start
            | HookStep::Runs
            | HookStep::Cpus { .. }
            | HookStep::Own { .. }
            | HookStep::Arrives { .. } => HookOperation::Start,
        };
        let question = HookQuestion { domain: self.domains[domain].id, exempt: false, operation };
        self.hosts[host].asking.insert(id, Asking { domain, step });
        self.queue.at(self.at + DEADLINE, Event::HookLate { host, id });
        self.give(host, Input::Hook(id, question));
    }

    pub(crate) fn hook_gives_up(&mut self, host: usize, id: RequestId) {
        if let Some(asking) = self.hosts[host].asking.remove(&id) {
            self.denied(host, asking, "no answer");
        }
    }

    pub(crate) fn hook_is_answered(&mut self, host: usize, id: RequestId, reply: &Reply) {
        let Some(asking) = self.hosts[host].asking.remove(&id) else { return };
        match asking.step {
            _ if !reply.ok => self.denied(host, asking, &reply.text),
            HookStep::Arrives { number, step: Arrival::Started } => self.arrival_is_ready(number),
            _ => {}
        }
    }

    fn denied(&mut self, host: usize, Asking { domain, step }: Asking, why: &str) {
        self.tell_host(host, "denied", || format!("domain {domain} at {step:?}: {why}"));
        match step {
            HookStep::Started { run } => self.kill_run(run, "by libvirt, whose hook denied it"),
            HookStep::Arrives { number, step } => self.arrival_denied(number, step),
            HookStep::Own { start, .. } => self.own_start_fails(host, domain, start, "a hook denies it"),
            _ => self.start_is_over(host, domain),
        }
    }

    /// Nothing comes of it: libvirt cleans up, and tells its hook.
    pub(super) fn start_is_over(&mut self, host: usize, domain: usize) {
        self.hosts[host].starting.remove(&domain);
        self.hook_tells_of_release(host, self.domains[domain].id);
    }

    /// An agent that is stopped for longer than the hook waits hears nothing of it.
    pub(crate) fn hook_tells_of_release(&mut self, host: usize, domain: DomainId) {
        let heard = self.hosts[host].agent.paused_until <= self.at;
        // Where nothing else asks it, migrations do.
        let asks = self.plan.hook || self.moves.iter().any(|moving| self.domains[moving.domain].id == domain);
        if asks && heard {
            self.asked += 1;
            let id = RequestId((1 << 32) + self.asked);
            let question = HookQuestion { domain, exempt: false, operation: HookOperation::Release };
            self.give(host, Input::Hook(id, question));
        }
    }

    /// The token is in the page: the fencer's half is read once more, and the hook must still wait.
    pub(crate) fn start_of_a_user(
        &mut self,
        host: usize,
        id: RequestId,
        domain: DomainId,
        opened: Instant,
        token_is_new: bool,
    ) {
        let this = &self.hosts[host];
        let now = this.clock.now(self.at).instant;
        let found = HalfReading::Good(this.fencer.half.clone());
        let permits = self.page_seen(host).permits_start(now, found);
        let asking = self.hosts[host].asking.remove(&id);
        let Some(Asking { domain: number, step }) = asking.filter(|_| permits) else {
            if token_is_new {
                self.give(host, Input::StartRefused { domain, opened });
            }
            asking.into_iter().for_each(|asking| self.denied(host, asking, "the fencer cannot vouch for it"));
            return;
        };
        let boot = self.hosts[host].boot;
        let next = match step {
            HookStep::Prepare => HookStep::Start,
            HookStep::Own { start, step: OwnStep::Prepare } => HookStep::Own { start, step: OwnStep::Start },
            HookStep::Own { start, .. } => HookStep::Own { start, step: OwnStep::Runs },
            HookStep::Arrives { number, step } => HookStep::Arrives { number, step: step.next() },
            _ => HookStep::Runs,
        };
        // Libvirt hangs while it prepares: from the last question on QEMU is run at once.
        let prepares = matches!(
            next,
            HookStep::Start
                | HookStep::Own { step: OwnStep::Start, .. }
                | HookStep::Arrives { step: Arrival::Start, .. }
        );
        let hangs = if prepares { self.hosts[host].start_hangs.take() } else { None };
        let after = hangs.unwrap_or_else(|| MS + self.below(STEP));
        self.queue.at(self.at + after, Event::HookGoesOn { host, boot, domain: number, step: next });
    }

    pub(crate) fn start_goes_on(&mut self, host: usize, boot: u32, domain: usize, step: HookStep) {
        let this = &self.hosts[host];
        if this.boot != boot || !this.powered {
            return;
        }
        if this.still_since.is_some() || this.libvirt_hung > 0 {
            self.queue.at(self.at + 100 * MS, Event::HookGoesOn { host, boot, domain, step });
            return;
        }
        match step {
            // The agent's own start of it was first.
            HookStep::Runs if self.runs_there(host, domain) => self.start_is_over(host, domain),
            HookStep::Runs if self.hosts[host].starts_fail > 0 => {
                self.hosts[host].starts_fail -= 1;
                self.start_is_over(host, domain);
            }
            HookStep::Arrives { number, step } => self.arrival_goes_on(number, step),
            HookStep::Runs if self.may_be_in_the_place_of_a_migration(host, domain) => {
                self.cold_start_in_its_place(host, domain);
            }
            HookStep::Cpus { run } => self.cold_start_goes_on(host, boot, run),
            HookStep::Runs => {
                let chain = self.domains[domain].chain;
                let run = self.begin_run(domain, host, None, chain);
                self.hosts[host].starting.remove(&domain);
                let after = MS + self.below(STEP);
                let step = HookStep::Started { run };
                self.queue.at(self.at + after, Event::HookGoesOn { host, boot, domain, step });
            }
            HookStep::Own { start, step: OwnStep::Runs } => self.own_start_runs(host, boot, domain, start),
            HookStep::Own { start, step: OwnStep::Answered { run } } => {
                self.own_start_is_answered(host, domain, start, run);
            }
            HookStep::Started { run } if self.runs[run].killed.is_some() => {}
            step => self.ask_hook(host, domain, step),
        }
    }

    /// Libvirt's answer about a start: it knows of a job as long as there is one.
    pub(crate) fn activity_asked(&mut self, host: usize, id: DomainId, opened: Instant) {
        let Some(domain) = self.domain(id) else { return };
        let this = &self.hosts[host];
        let runs = self.runs_there(host, domain);
        let activity = match () {
            () if this.libvirt_hung > 0 || this.starting.contains(&domain) => StartActivity::Unsettled,
            () if runs => StartActivity::Running,
            () => StartActivity::OffNoJob,
        };
        self.give(host, Input::Activity { domain: id, opened, activity });
    }
}
