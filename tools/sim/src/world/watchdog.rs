//! What resets a host: the watchdog's device, petted by the core's rule alone, which bites when nobody does; and the trigger that
//! its fencer pulls.

use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::RESET_LATENCY;

use super::World;
use super::event::Event;
use crate::invariants::Happened;
use crate::time::nanos;

impl World {
    /// How long until the last pet that the rule allows, by the faster clock.
    pub(super) fn until_last_pet(&self, host: usize) -> Option<u64> {
        let this = &self.hosts[host];
        let half = this.fencer.fencer.as_ref()?.half();
        let end = half.latched.or(half.armed.then_some(half.lease_end))?;
        let reset = half.terms.watchdog_actual + RESET_LATENCY;
        let before = reset.checked_sub(half.terms.fence_budget);
        let now = this.clock.now(self.at).instant;
        let left = end.left(now);
        Some(match before {
            Some(before) => nanos(left.saturating_sub(before)),
            None => nanos(left + (half.terms.fence_budget - reset)),
        })
    }

    /// Pets by the core's rule. The device is opened at the first arming of a boot.
    pub(super) fn tend_watchdog(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        let Some(fencer) = &this.fencer.fencer else { return };
        if self.plan.hosts[host].watchdog == WatchdogClass::None {
            return;
        }
        this.watchdog.open |= fencer.half().armed_since_boot;
        if !this.watchdog.open {
            return;
        }
        let now = this.clock.now(self.at).instant;
        let last = this.clock.now(this.watchdog.last_pet).instant;
        if fencer.may_pet(now, last) {
            self.pet(host);
        }
        if self.hosts[host].fencer.freezes_at_last_pet && self.until_last_pet(host) == Some(0) {
            self.hosts[host].fencer.freezes_at_last_pet = false;
            self.hosts[host].fencer.paused_until = u64::MAX;
            self.tell_host(host, "fencer", || "frozen at the last pet that the rule allows".to_owned());
        }
    }

    fn pet(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        this.watchdog.last_pet = self.at;
        let left = nanos(this.terms.watchdog_actual) + self.plan.hosts[host].reset_takes;
        self.bites_after(host, left);
        self.happened(&Happened::Petted { host });
    }

    /// It resets the host after so long, unless it is petted. One event is enough, however often it is.
    pub(super) fn bites_after(&mut self, host: usize, left: u64) {
        let this = &mut self.hosts[host];
        this.watchdog.bites_at = self.at + left;
        if !std::mem::replace(&mut this.watchdog.is_looked_at, true) {
            self.queue.at(this.watchdog.bites_at, Event::Bite { host, boot: this.boot });
        }
    }

    pub(crate) fn watchdog_is_due(&mut self, host: usize, boot: u32) {
        let this = &mut self.hosts[host];
        if this.boot != boot {
            return;
        }
        if this.watchdog.bites_at > self.at {
            // It was petted since.
            self.queue.at(this.watchdog.bites_at, Event::Bite { host, boot });
            return;
        }
        this.watchdog.is_looked_at = false;
        if this.watchdog.open && !this.stands_still() {
            self.reset(host, "by the watchdog");
        }
    }

    /// The fencer pulls the trigger: the kernel still says so first.
    pub(super) fn trigger_pulled(&mut self, host: usize) {
        let boot = self.hosts[host].boot;
        let takes = self.plan.hosts[host].reset_takes;
        self.tell_host(host, "trigger", || "pulled".to_owned());
        self.queue.at(self.at + takes, Event::Reset { host, boot });
    }

    pub(crate) fn trigger_acts(&mut self, host: usize, boot: u32) {
        if self.hosts[host].boot == boot && self.hosts[host].powered {
            self.reset(host, "by its fencer");
        }
    }

    fn reset(&mut self, host: usize, by: &'static str) {
        self.counts.resets += 1;
        self.tell_host(host, "reset", || by.to_owned());
        self.power_off(host);
        let back = self.plan.hosts[host].boot_takes;
        self.queue.at(self.at + back, Event::PowerOn { host });
    }
}
