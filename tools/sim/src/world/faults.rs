//! Faults strike, and end.

use leasefence_core::format::{Claim, HostRecord, LeasePage, RecordCopy};
use leasefence_core::ids::Slot;
use leasefence_core::member::{Input, Request, RequestId};
use leasefence_core::terms::Timing;
use leasefence_core::time::HolderDeadline;
use std::time::Duration;

use super::World;
use super::event::Event;
use super::memory::PageMemory;
use super::moment::Moment;
use super::run::Ended;
use crate::plan::{Damage, Direction, FaultKind, HostIndex, LETS_GO_WITHIN, MAD, Operator, Sector};
use crate::time::{MS, S};

impl World {
    pub(crate) fn fault_strikes(&mut self, number: usize) {
        let fault = self.plan.faults[number];
        let host = fault.host;
        self.hinder(host, fault.kind);
        self.tell_host(host, "fault", || format!("#{number} {:?}", fault.kind));
        if let Some(lasts) = self.strike(host, fault.kind) {
            self.queue.at(self.at + lasts, Event::Over { number });
        }
    }

    /// A fault begins or ends: of a storage that is lost for all, each host's.
    fn hinder(&mut self, host: HostIndex, kind: FaultKind) {
        let of_all = matches!(kind, FaultKind::CutAll { .. });
        let struck = self.hosts.iter_mut().enumerate().filter(|(index, _)| of_all || *index == host);
        struck.for_each(|(_, struck)| struck.hinder(self.at));
    }

    /// Gives how long it lasts, if it has an end.
    fn strike(&mut self, host: HostIndex, kind: FaultKind) -> Option<u64> {
        let path = &mut self.clients[host].path;
        match kind {
            FaultKind::Cut { direction, lasts, times_out } => {
                self.cut(host, direction);
                self.clients[host].path.times_out = times_out;
                return Some(lasts);
            }
            FaultKind::CutAll { lasts } => {
                (0..self.clients.len()).for_each(|client| self.cut(client, Direction::Both));
                return Some(lasts);
            }
            FaultKind::Slow { latency, lasts } => {
                path.slow = latency;
                return Some(lasts);
            }
            FaultKind::LandsLate { writes, after } => path.lands_late = (writes, after),
            FaultKind::AckLost { writes } => path.ack_lost = writes,
            FaultKind::ReadsFail { reads } => path.reads_fail = reads,
            FaultKind::ReadsLate { reads, after } => path.reads_late = (reads, after),
            FaultKind::Torn { lasts } => path.torn = Some(lasts),
            FaultKind::SlowWrite { sector, takes, fails } => path.slow_writes.push((sector, takes, fails)),
            FaultKind::Damaged { sector, how } => self.damage(host, sector, how),
            FaultKind::Replaced { lasts } => {
                path.replaced += 1;
                return Some(lasts);
            }
            FaultKind::StaleReads { age, lasts } => {
                path.stale = Some(age);
                return Some(lasts);
            }
            FaultKind::DoneTwice { after } => path.twice = Some(after),
            FaultKind::RenewalsLost { lasts } => {
                path.renewals_lost += 1;
                return Some(lasts);
            }
            FaultKind::MadeAnew { lasts } => {
                path.made_anew += 1;
                return Some(lasts);
            }
            FaultKind::DeadPicture => {
                let observer = self.hosts.len();
                self.clients[observer].path.picture = Some(self.file.bytes.clone());
            }
            FaultKind::ForeignRecord => self.foreign_record(host),
            FaultKind::BothDamaged { sector } => self.damage_both(host, sector),
            FaultKind::StopsAfterDamage => self.waits_for(host, Moment::Damage { renewed_at: None }),
            FaultKind::StopsAfterOldRecord { ahead } => {
                self.waits_for(host, Moment::OldRecord { kept: None, covered: false, ahead });
            }
            FaultKind::StopsWhenSeen { within } => {
                self.waits_for(host, Moment::Seen { issued: 0, landed: None, seen: false, within });
            }
            FaultKind::StopsAtWant { lasts } => self.waits_for(host, Moment::Want { lasts }),
            FaultKind::StopsAtLettingGo { lasts } => {
                self.waits_for(host, Moment::LettingGo { lasts });
                return Some(LETS_GO_WITHIN);
            }
            FaultKind::FailsAtOwn { second, after } => {
                let copy = if second { RecordCopy::B } else { RecordCopy::A };
                self.waits_for(host, Moment::Own { copy, after });
            }
            FaultKind::CutAtFirstHeld => self.waits_for(host, Moment::FirstHeld),
            _ => return self.strike_host(host, kind),
        }
        None
    }

    fn strike_host(&mut self, host: HostIndex, kind: FaultKind) -> Option<u64> {
        let at = self.at;
        match kind {
            FaultKind::Slewed { ppm, lasts } => {
                self.hosts[host].clock.slew(at, ppm);
                return Some(lasts);
            }
            FaultKind::WallStep { seconds } => self.hosts[host].clock.step_wall(seconds),
            FaultKind::AgentPaused { lasts, before_command: 0 } => self.pause_agent(host, lasts),
            FaultKind::AgentPaused { lasts, before_command } => {
                self.hosts[host].agent.pause_at = Some((before_command, lasts));
            }
            FaultKind::FencerPaused { lasts } => self.pause_fencer(host, lasts),
            FaultKind::BothPaused { lasts } => {
                self.pause_agent(host, lasts);
                self.pause_fencer(host, lasts);
            }
            FaultKind::FrozenAtLastPet => {
                self.pause_agent(host, 3600 * S);
                self.hosts[host].fencer.freezes_at_last_pet = true;
                self.want_beat(host, at);
            }
            FaultKind::Suspend { lasts } | FaultKind::HostPaused { lasts } => {
                self.stand_still(host);
                return Some(lasts);
            }
            FaultKind::Unkillable { lasts } => {
                self.hosts[host].unkillable += 1;
                return Some(lasts);
            }
            FaultKind::DataCut { lasts } => {
                self.hosts[host].data_cut += 1;
                return Some(lasts);
            }
            FaultKind::BarriersRefused { domain, lasts } => {
                *self.hosts[host].barriers_refused.entry(domain).or_default() += 1;
                return Some(lasts);
            }
            FaultKind::DataStall { storage, lasts } => {
                let until = &mut self.storages[storage].stalled_until;
                *until = (*until).max(at + lasts);
            }
            FaultKind::LibvirtHung { lasts } => {
                self.hosts[host].libvirt_hung += 1;
                return Some(lasts);
            }
            FaultKind::ImageLocked { lasts } => {
                self.hosts.iter_mut().for_each(|host| host.image_locked += 1);
                return Some(lasts);
            }
            FaultKind::StartHangs { lasts } => self.hosts[host].start_hangs = Some(lasts),
            FaultKind::StartsFail { starts } => self.hosts[host].starts_fail = starts,
            _ => self.strike_process(host, kind),
        }
        None
    }

    fn strike_process(&mut self, host: HostIndex, kind: FaultKind) {
        match kind {
            FaultKind::AgentCrash { back_after } => self.restart_agent(host, back_after),
            FaultKind::FencerCrash { back_after, page_kept } => {
                self.kill_fencer(host, page_kept);
                let boot = self.hosts[host].boot;
                self.queue.at(self.at + back_after, Event::StartFencer { host, boot });
            }
            FaultKind::PowerLoss { back_after } => self.power_cycle(host, back_after),
            FaultKind::MassPowerLoss { back_after, stagger } => {
                for host in 0..self.hosts.len() {
                    let later = stagger * u64::try_from(host).unwrap_or_default();
                    self.power_cycle(host, back_after + later);
                }
            }
            FaultKind::GuestCrash { domain } => {
                if let Some(run) = self.running(domain) {
                    self.end_run(run, Ended::Crashed);
                }
            }
            FaultKind::NewTerms { ttl } => {
                let timing = Timing::derive(Duration::from_nanos(ttl));
                let before = self.hosts[host].terms;
                // The storages hold writes as long as before.
                let write_drain = before.write_drain.max(timing.terms.write_drain);
                let watchdog_actual = before.watchdog_actual;
                self.hosts[host].terms =
                    leasefence_core::terms::Terms { watchdog_actual, write_drain, ..timing.terms };
                self.restart_agent(host, 200 * MS);
            }
            FaultKind::MadAgent => self.agent_goes_mad(host),
            FaultKind::DiesWritingPage { words, back_after } => {
                self.hosts[host].agent.dies_writing = Some((u64::from(words), back_after));
            }
            FaultKind::PageStruck => self.strike_page(host),
            FaultKind::MadAgentGoesOn => self.agent_goes_on(host),
            FaultKind::Clone => self.clone_on(),
            FaultKind::Operator(operator) => self.operator(host, operator),
            _ => {}
        }
    }

    pub(crate) fn fault_is_over(&mut self, number: usize) {
        let fault = self.plan.faults[number];
        let (host, at) = (fault.host, self.at);
        if self.mended {
            return;
        }
        self.hinder(host, fault.kind);
        self.tell_host(host, "over", || format!("#{number}"));
        match fault.kind {
            FaultKind::Cut { direction, .. } => {
                self.clients[host].path.times_out = None;
                self.heal(host, direction);
            }
            FaultKind::CutAll { .. } => {
                (0..self.clients.len()).for_each(|client| self.heal(client, Direction::Both));
            }
            FaultKind::Slow { .. } => self.clients[host].path.slow = 0,
            FaultKind::RenewalsLost { .. } => self.clients[host].path.renewals_lost -= 1,
            FaultKind::MadeAnew { .. } => self.clients[host].path.made_anew -= 1,
            FaultKind::Replaced { .. } => self.clients[host].path.replaced -= 1,
            FaultKind::StaleReads { .. } => self.clients[host].path.stale = None,
            FaultKind::Slewed { .. } => self.hosts[host].clock.slew(at, 0),
            FaultKind::Suspend { .. } => self.move_on(host, true),
            FaultKind::HostPaused { .. } => self.move_on(host, false),
            FaultKind::Unkillable { .. } => self.hosts[host].unkillable -= 1,
            FaultKind::DataCut { .. } => {
                self.hosts[host].data_cut -= 1;
                if self.hosts[host].data_cut == 0 {
                    self.data_path_heals(host);
                }
            }
            FaultKind::BarriersRefused { domain, .. } => {
                self.hosts[host].barriers_refused.entry(domain).and_modify(|faults| *faults -= 1);
            }
            FaultKind::LibvirtHung { .. } => self.hosts[host].libvirt_hung -= 1,
            FaultKind::StopsAtLettingGo { .. } => self.hosts[host].moment = None,
            FaultKind::ImageLocked { .. } => self.hosts.iter_mut().for_each(|host| host.image_locked -= 1),
            _ => {}
        }
    }

    pub(super) fn cut(&mut self, client: usize, direction: Direction) {
        let path = &mut self.clients[client].path;
        path.requests_cut += u8::from(direction != Direction::Answers);
        path.answers_cut += u8::from(direction != Direction::Requests);
    }

    fn heal(&mut self, client: usize, direction: Direction) {
        let path = &mut self.clients[client].path;
        path.requests_cut -= u8::from(direction != Direction::Answers);
        path.answers_cut -= u8::from(direction != Direction::Requests);
        self.path_heals(client);
    }

    pub(crate) fn pause_fencer(&mut self, host: HostIndex, lasts: u64) {
        let fencer = &mut self.hosts[host].fencer;
        fencer.paused_until = fencer.paused_until.max(self.at + lasts);
        self.tell_host(host, "fencer-stopped", || format!("for {} ms", lasts / MS));
    }

    pub(super) fn restart_agent(&mut self, host: HostIndex, back_after: u64) {
        if self.hosts[host].agent.member.is_some() {
            self.tell_host(host, "agent", || "its process ends".to_owned());
            self.kill_agent(host);
            let boot = self.hosts[host].boot;
            self.queue.at(self.at + back_after, Event::StartAgent { host, boot });
        }
    }

    fn power_cycle(&mut self, host: HostIndex, back_after: u64) {
        if self.hosts[host].powered {
            self.power_off(host);
            self.queue.at(self.at + back_after, Event::PowerOn { host });
        }
    }

    /// A bug in the agent writes an end that lies far beyond any lease, and the process dies of another.
    fn agent_goes_mad(&mut self, host: HostIndex) {
        let now = self.hosts[host].clock.now(self.at).instant;
        if self.hosts[host].agent.member.is_some()
            && let Some(page) = &mut self.hosts[host].page
        {
            page.lease_end = HolderDeadline(now.plus(Duration::from_secs(3600)));
            self.page_changed(host);
            self.beat_soon(host);
            self.restart_agent(host, MAD);
        }
    }

    /// Words of both slots of the agent's half are not what its agent wrote.
    fn strike_page(&mut self, host: HostIndex) {
        let this = &mut self.hosts[host];
        if this.page.is_some() {
            let written = this.page_before.iter().chain(&this.page);
            this.memory.get_or_insert_with(|| PageMemory::new(written)).strike();
            self.beat_soon(host);
        }
    }

    /// An agent gone mad has changed its half.
    pub(super) fn page_changed(&mut self, host: HostIndex) {
        let this = &mut self.hosts[host];
        if let (Some(memory), Some(page)) = (&mut this.memory, &this.page) {
            memory.write(page);
        }
    }

    /// Its power goes when its original does not renew any more, or when everything is mended.
    fn clone_on(&mut self) {
        if let Some(host) = self.plan.hosts.iter().position(|host| host.spare) {
            self.power_on(host);
        }
    }

    /// A sector of the host's slot, or of the file, is damaged on the medium. What is lost in all its copies needs an
    /// operator (PROTOCOL 3, and 4, S1), so one is damaged at a time.
    fn damage(&mut self, host: HostIndex, sector: Sector, how: Damage) {
        let layout = self.file.layout;
        let Some(slot) = self.hosts[host].lives.last().map(|life| life.slot) else { return };
        let copy = if self.rng.bool() { RecordCopy::A } else { RecordCopy::B };
        let page = self.rng.u8(..layout.pages());
        let other = Slot((slot.0 + 1) % layout.max_hosts());
        let place = |slot| match sector {
            Sector::Record => layout.host_record(slot, copy),
            Sector::LeasePage => layout.lease_page(page, slot, copy),
            Sector::Claim => layout.claim(slot),
            Sector::Header => layout.first_header(),
        };
        let (here, there) = (place(slot), place(other));
        if !self.rest_is_whole(slot, page, copy, sector) {
            return;
        }
        let mut bytes = self.file.read(here.offset, here.len);
        match how {
            Damage::Corrupt => {
                let byte = self.rng.usize(..512);
                bytes[byte] ^= 1 << self.rng.u8(..8);
            }
            Damage::Zeroed => bytes.fill(0),
            Damage::Misdirected => bytes = self.file.read(there.offset, here.len),
        }
        // What comes home after it was misdirected from here.
        let is_of_here = HostRecord::decode(&here, &bytes).is_ok()
            || LeasePage::decode(&here, &bytes).is_ok()
            || Claim::decode(&here, &bytes).is_ok();
        if is_of_here || self.file.covered.get(&here.offset) == Some(&bytes) {
            // That would be no damage, but a storage that shows the past: class `beyond`.
            bytes[0] ^= 1;
        }
        let medium = self.clients.len();
        self.land(medium, here.offset, &bytes);
    }

    /// True when what stands beside the sector would do without it.
    fn rest_is_whole(&self, slot: Slot, page: u8, copy: RecordCopy, sector: Sector) -> bool {
        let record = |copy| self.file.record(slot, copy).is_some();
        match sector {
            Sector::Record => record(copy.other()) && self.file.claim(slot).is_some(),
            // Where a host died between the two writes, only the newer of them has its last entry.
            Sector::LeasePage => {
                let age = |copy| {
                    let page = self.file.lease_page(page, slot, copy)?;
                    Some((page.incarnation.generation, page.sequence))
                };
                age(copy.other()).is_some_and(|other| age(copy).is_none_or(|this| other >= this))
            }
            Sector::Claim => record(RecordCopy::A) && record(RecordCopy::B),
            Sector::Header => true,
        }
    }

    fn operator(&mut self, host: HostIndex, operator: Operator) {
        match operator {
            Operator::Fence { of } => self.ask(host, Request::Fence { host: self.hosts[of].name.clone() }),
            // An operator looks before he speaks.
            Operator::Confirm { of } if !self.hosts[of].powered => {
                let reason = "it is off".to_owned();
                self.ask(host, Request::Confirm { host: self.hosts[of].name.clone(), reason });
            }
            Operator::Confirm { .. } => {}
            Operator::Mistake { of } => {
                let reason = "it is off, I believe".to_owned();
                self.ask(host, Request::Confirm { host: self.hosts[of].name.clone(), reason });
            }
            Operator::Disarm => self.ask(host, Request::Disarm),
            Operator::Arm => self.ask(host, Request::Arm),
            Operator::Cluster(ask) => self.ask(host, Request::Cluster(ask)),
            Operator::Stop { domain } => {
                if let Some(run) = self.running(domain)
                    && self.hosts[self.runs[run].host].libvirt_hung == 0
                {
                    self.end_run(run, Ended::Stopped);
                }
            }
            Operator::Start { domain } => self.user_starts(domain),
            Operator::StartHere { domain } => self.user_starts_on(domain, host),
            Operator::Migrate { domain, how } => self.migration_asked(host, domain, how),
            Operator::Snapshot { domain } if self.has_job(domain) => {}
            Operator::Snapshot { domain } => {
                if let Some(run) = self.running(domain) {
                    self.domains[domain].chain += 1;
                    self.domains[domain].chained_at = self.at;
                    let chain = self.domains[domain].chain;
                    self.hosts[self.runs[run].host].known.insert(domain, chain);
                }
            }
            Operator::SlotFree { of } => self.free_slot(host, of),
        }
    }

    fn free_slot(&mut self, host: HostIndex, of: HostIndex) {
        let off = !self.hosts[of].powered;
        let slot = self.hosts[of].lives.last().map(|life| life.slot.0);
        if let (true, Some(slot)) = (off, slot) {
            self.freed.push(self.hosts[of].machine);
            self.ask(host, Request::SlotFree { slot, machine: self.hosts[of].name.clone() });
        }
    }

    pub(crate) fn ask(&mut self, host: HostIndex, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.tell_host(host, "asked", || format!("{request:?}"));
        self.give(host, Input::Request(id, request));
    }
}
