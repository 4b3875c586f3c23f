//! The end of the faults: all ways are whole, all machines on, all processes run, an operator tends what needs one. Then
//! the cluster has to be well again by itself.

use leasefence_core::fencing::{Marker, MarkerFound, Wish};
use leasefence_core::member::Request;

use super::World;
use super::event::Event;
use super::run::Ended;
use crate::time::{MS, S};

const TEND: u64 = 10 * S;
/// How long an operator waits for a host in maintenance to be armed again.
const PATIENCE: u64 = 60 * S;

impl World {
    pub(crate) fn mend(&mut self) {
        self.mended = true;
        self.tell_storage("mended", || "all faults are over".to_owned());
        for client in 0..self.clients.len() {
            let path = &mut self.clients[client].path;
            *path = super::path::Path { latency: path.latency, ..super::path::Path::default() };
            self.path_heals(client);
        }
        for storage in &mut self.storages {
            storage.stalled_until = storage.stalled_until.min(self.at);
        }
        for host in 0..self.hosts.len() {
            self.mend_host(host);
        }
        self.queue.at(self.at + TEND, Event::Tend);
    }

    fn mend_host(&mut self, host: usize) {
        if self.plan.begins_off(host) {
            self.power_off(host);
            return;
        }
        let at = self.at;
        self.move_on(host, false);
        let this = &mut self.hosts[host];
        this.clock.slew(at, 0);
        (this.data_cut, this.unkillable, this.libvirt_hung, this.image_locked) = (0, 0, 0, 0);
        (this.starts_fail, this.start_hangs) = (0, None);
        this.barriers_refused.clear();
        this.fencer.paused_until = at;
        this.fencer.freezes_at_last_pet = false;
        this.agent.paused_until = this.agent.paused_until.min(at);
        (this.agent.pause_at, this.agent.dies_writing, this.moment) = (None, None, None);
        self.data_path_heals(host);
        if !self.hosts[host].powered {
            self.power_on(host);
            return;
        }
        let boot = self.hosts[host].boot;
        self.queue.at(at + 10 * MS, Event::StartFencer { host, boot });
        self.queue.at(at + 20 * MS, Event::StartAgent { host, boot });
        self.hosts[host].fencer.next_beat = u64::MAX;
        self.want_beat(host, at);
        self.hosts[host].agent.wanted_at = u64::MAX;
        self.want_agent(host, at);
    }

    /// Agent and page were both lost in maintenance: a new agent waits for a proof that a disarmed fencer never gives. Its page is a new
    /// one, and knows nothing of the arming that was let go.
    fn lost_in_maintenance(&self, host: usize) -> bool {
        let this = &self.hosts[host];
        let Some(MarkerFound::Marker(Marker::Disarmed { arm_count, .. })) = this.fencer.marker else {
            return false;
        };
        let lost = this.page.as_ref().is_none_or(|page| page.arm_count != arm_count);
        lost && self.at > self.plan.mended_at + PATIENCE && !self.plan.hosts[host].spare
    }

    /// The host says that it waits for its domains to be stopped: they run without a lease, and nobody knows whose they are.
    fn asks_to_stop_domains(&self, host: usize) -> bool {
        let this = &self.hosts[host];
        let now = this.clock.now(self.at);
        let says = this.agent.member.as_ref().map(|member| member.status(&now).summary);
        self.at > self.plan.mended_at + PATIENCE && says.is_some_and(|says| says.contains("exempt"))
    }

    fn stop_domains_without_lease(&mut self, host: usize) {
        let owns = |run: &usize| self.owns_on_storage(host, self.domains[self.runs[*run].domain].id);
        let runs: Vec<usize> = self.hosts[host].guests.iter().filter(|run| !owns(run)).copied().collect();
        for run in runs {
            self.tell_host(host, "operator", || "stops a domain that runs without a lease".to_owned());
            self.end_run(run, Ended::Stopped);
        }
    }

    /// What an operator does every now and then until all is well.
    pub(crate) fn tend(&mut self) {
        for host in 0..self.hosts.len() {
            let disarmed = self.hosts[host].page.as_ref().is_some_and(|page| page.wish == Wish::Disarm);
            if disarmed {
                self.ask(host, Request::Arm);
            }
            if self.asks_to_stop_domains(host) {
                self.stop_domains_without_lease(host);
            }
            if self.hosts[host].fencer.half.unproven || self.lost_in_maintenance(host) {
                self.tell_host(host, "operator", || "reboots it: nothing else helps".to_owned());
                self.power_off(host);
                self.queue.at(self.at + S, Event::PowerOn { host });
            }
        }
        for domain in 0..self.domains.len() {
            if self.should_run(domain) && !self.runs_now(domain) {
                let id = self.domains[domain].id;
                self.tell_storage("idle", || format!("domain {domain}"));
                for (slot, entry) in self.entries_of(domain) {
                    self.tell_storage("entry", || format!("slot {slot}: {entry:?}"));
                }
                (0..self.hosts.len()).for_each(|host| self.ask(host, Request::Resume { domain: id }));
            }
        }
        self.queue.at(self.at + TEND, Event::Tend);
    }
}
