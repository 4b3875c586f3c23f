//! Users start domains. Where libvirt asks no hook they look first.

use leasefence_core::format::WatchdogClass;

use super::World;
use super::event::{Event, HookStep};
use crate::invariants::Happened;
use crate::time::{MS, S};

/// From QEMU's first moment until libvirt has set it up.
const SETS_UP: u64 = 400 * MS;

impl World {
    /// A user starts a domain for the first time, or again after a user stopped it; never where it may still run.
    pub(crate) fn user_starts(&mut self, domain: usize) {
        self.user_starts_on(domain, self.plan.domains[domain].host);
    }

    /// The same, on a certain host.
    pub(crate) fn user_starts_on(&mut self, domain: usize, host: usize) {
        let first = self.domains[domain].runs.is_empty();
        let may = first || self.domains[domain].stopped_by_user;
        if self.plan.hook {
            return self.hook_is_asked(host, domain);
        }
        let busy = self.domains[domain].runs.iter().any(|run| self.runs[*run].may_write(self.at));
        // Without the hook nothing keeps a user from starting what may be recovered at any moment: users look first.
        if !may || busy || self.may_be_recovered(domain) {
            return;
        }
        let this = &self.hosts[host];
        // Without the hook a start at the moment of a fence has no token: users start where a lease is held, or before any.
        let ended = this.fencer.half.armed_since_boot && (!self.holds(host) || self.end_has_passed(host));
        // Nor does anything reset a host without a watchdog whose agent is away when it starts: a hook would deny that too.
        let unwatched = self.plan.hosts[host].watchdog == WatchdogClass::None;
        let denied = ended || unwatched && this.agent.paused_until > self.at;
        if this.stands_still() || this.libvirt_hung > 0 || this.agent.member.is_none() || denied {
            if first {
                self.queue.at(self.at + S, Event::UserStart { domain });
            }
            return;
        }
        let chain = self.domains[domain].chain;
        self.begin_run(domain, host, None, chain);
    }

    /// Libvirt runs QEMU for a start that came between a migration's `migrate begin` and its own `prepare`.
    pub(super) fn cold_start_in_its_place(&mut self, host: usize, domain: usize) {
        let run = self.add_process(domain, host, None, self.domains[domain].chain);
        self.hosts[host].starting.remove(&domain);
        self.tell_host(host, "runs", || format!("domain {domain} is set up, in the place of its migration"));
        self.happened(&Happened::SetUp { run });
        self.beat_soon(host);
        self.libvirt_changed(host);
        let (boot, after) = (self.hosts[host].boot, SETS_UP + self.below(SETS_UP));
        let step = HookStep::Cpus { run };
        self.queue.at(self.at + after, Event::HookGoesOn { host, boot, domain, step });
    }

    /// Libvirt has set it up, and lets its CPUs run.
    ///
    /// Left out (ARCHITECTURE 11, Migration): an agent that is held up, or ends, just then. Libvirt takes longer here until the
    /// agent has had its time.
    pub(super) fn cold_start_goes_on(&mut self, host: usize, boot: u32, run: usize) {
        let domain = self.runs[run].domain;
        if !self.is_there(run) {
            return;
        }
        let next = |step| Event::HookGoesOn { host, boot, domain, step };
        if self.reads_since(host) < S || self.hosts[host].agent.member.is_none() {
            return self.queue.at(self.at + SETS_UP, next(HookStep::Cpus { run }));
        }
        self.tell_host(host, "runs", || format!("domain {domain} begins in the place of its migration"));
        self.counts.runs += 1;
        self.cold_start_runs(run);
        self.queue.at(self.at + MS, next(HookStep::Started { run }));
    }
}
