//! Power: on, off, suspended, and the whole host standing still.

use leasefence_core::fencing::FencerHalf;

use super::World;
use super::clock::Clock;
use super::event::Event;
use super::host::{FencerProcess, Watchdog};
use crate::time::{MS, S};

impl World {
    /// A boot: nothing of the boot before is left but the disk.
    pub(crate) fn power_on(&mut self, host: usize) {
        if self.hosts[host].powered {
            return;
        }
        let plan = &self.plan.hosts[host];
        let offset = plan.boot_offset >> self.hosts[host].boot.min(40);
        let clock = Clock::new(self.at, offset, plan.drift_ppm);
        let this = &mut self.hosts[host];
        this.powered = true;
        this.boot += 1;
        this.booted_at = self.at;
        this.clock = clock;
        let boot = this.boot;
        self.tell_host(host, "power", || "on".to_owned());
        self.queue.at(self.at + 10 * MS, Event::StartFencer { host, boot });
        let agent = self.at + 20 * MS + self.below(S);
        self.queue.at(agent, Event::StartAgent { host, boot });
    }

    /// Power is lost, or the host is reset.
    pub(crate) fn power_off(&mut self, host: usize) {
        if !self.hosts[host].powered {
            return;
        }
        self.tell_host(host, "power", || "off".to_owned());
        self.kill_agent(host);
        self.lose_flight(host);
        let this = &mut self.hosts[host];
        this.powered = false;
        this.asking.clear();
        this.starting.clear();
        #[cfg(feature = "planted-bugs")]
        {
            this.member_before = None;
        }
        this.libvirt_starts = 0;
        this.still_since = None;
        (this.page, this.page_before, this.memory) = (None, None, None);
        this.promised = Some((this.fencer.half.clone(), this.fencer.guarded, this.clock.clone()));
        let number = this.fencer.number + 1;
        this.fencer = FencerProcess { number, half: FencerHalf::default(), ..FencerProcess::default() };
        this.watchdog = Watchdog::default();
        self.runs_lose_power(host);
    }

    /// Nothing of the host moves.
    pub(crate) fn stand_still(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        if this.powered && this.still_since.is_none() {
            this.still_since = Some(self.at);
            self.tell_host(host, "still", || "the whole host stands still".to_owned());
        }
    }

    /// It moves again; after a suspend one clock has stood still.
    pub(crate) fn move_on(&mut self, host: usize, suspended: bool) {
        let Some(since) = self.hosts[host].still_since.take() else { return };
        if suspended {
            self.hosts[host].clock.slept(since, self.at);
        }
        self.tell_host(host, "still", || "moves again".to_owned());
        self.hosts[host].fencer.next_beat = u64::MAX;
        self.hosts[host].agent.wanted_at = u64::MAX;
        self.want_beat(host, self.at);
        self.want_agent(host, self.at);
        // The watchdog's counter went on from where it was.
        if self.hosts[host].watchdog.open {
            let left = crate::time::nanos(self.hosts[host].terms.watchdog_actual);
            self.bites_after(host, left);
        }
    }
}
