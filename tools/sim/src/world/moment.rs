//! Faults that wait for the most unlucky moment: a host stops right after a renewal of which the storage, or another host,
//! has seen less, or sooner, than usual. They only choose when; what happens then are faults like the others.

use leasefence_core::fencing::{AgentHalf, Wish};
use leasefence_core::format::{HostRecord, HostState, LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::HostKey;
use leasefence_core::storage::IoOp;

use super::World;
use super::lease_file::LateWrite;
use crate::plan::{Direction, Sector};
use crate::time::{S, nanos};

/// What a host waits for before it stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// The next renewal that counts: its copy is damaged.
    Damage { renewed_at: Option<u64> },
    /// A renewal is kept back, its successor in the same copy has landed, and counts.
    OldRecord { kept: Option<(u32, u64)>, covered: bool, ahead: u64 },
    /// A renewal that counts was read at once by another host.
    Seen { issued: u64, landed: Option<u64>, seen: bool, within: u64 },
    /// Its first `held`: its path is cut.
    FirstHeld,
    /// Its next want of a lease: its agent stops for so long.
    Want { lasts: u64 },
    /// Its page asks the fencer to let go: its agent stops for so long.
    LettingGo { lasts: u64 },
    /// Its next write that takes a lease: the call of this copy returns an error, and it lands so much later.
    Own { copy: RecordCopy, after: u64 },
}

impl World {
    pub(crate) fn waits_for(&mut self, host: usize, moment: Moment) {
        self.hosts[host].moment = Some(moment);
    }

    fn is_record(&self, offset: u64) -> bool {
        self.file.layout.host_records().contains(&offset)
    }

    /// A client issues a request.
    pub(super) fn moment_of_submit(&mut self, client: usize, op: &IoOp) {
        let (at, IoOp::Write { offset, .. }) = (self.at, op) else { return };
        let record = self.is_record(*offset);
        if let Some(Moment::Seen { issued, landed, seen, .. }) = self.moment(client)
            && record
        {
            (*issued, *landed, *seen) = (at, None, false);
        }
    }

    /// True for a write of this copy of a lease page's sector that owns what the copy did not own before.
    fn takes_at(&self, offset: u64, data: &[u8], copy: RecordCopy) -> bool {
        let Some((number, slot, _)) = self.file.sector_at(offset).filter(|at| at.2 == copy) else {
            return false;
        };
        let before = self.file.lease_page(number, slot, copy);
        let owned = |domain| {
            let entry = before.as_ref().and_then(|page| page.get(domain));
            entry.is_some_and(|entry| entry.state == LeaseState::Own)
        };
        let place = self.file.layout.lease_page(number, slot, copy);
        LeasePage::decode(&place, data).is_ok_and(|page| {
            page.entries().any(|entry| entry.state == LeaseState::Own && !owned(entry.domain))
        })
    }

    fn moment(&mut self, client: usize) -> Option<&mut Moment> {
        self.hosts.get_mut(client).and_then(|host| host.moment.as_mut())
    }

    /// True for a write that is kept back, and returns an error.
    pub(super) fn keeps_back(&mut self, client: usize, offset: u64, data: &[u8]) -> bool {
        if let Some(Moment::Own { copy, after }) = self.moment(client).copied()
            && self.takes_at(offset, data, copy)
        {
            self.hosts[client].moment = None;
            self.lands_later(LateWrite { client, offset, data: data.to_vec(), parked: false }, after);
            return true;
        }
        let record = self.is_record(offset);
        let ahead = match self.moment(client) {
            Some(Moment::OldRecord { kept: None, ahead, .. }) if record => Some(*ahead),
            _ => None,
        };
        if let Some(ahead) = ahead {
            let write = LateWrite { client, offset, data: data.to_vec(), parked: false };
            let kept = Some((self.file.keep(write), offset));
            self.waits_for(client, Moment::OldRecord { kept, covered: false, ahead });
        }
        ahead.is_some()
    }

    /// Bytes reached the medium.
    pub(super) fn moment_of_landing(&mut self, client: usize, place: u64) {
        let (at, record) = (self.at, self.is_record(place));
        let held = record && self.file.state_at(place) == HostState::Held.code();
        match self.moment(client) {
            Some(Moment::Damage { renewed_at }) if record => *renewed_at = Some(place),
            Some(Moment::OldRecord { kept: Some((_, offset)), covered, .. }) => *covered |= *offset == place,
            Some(Moment::Seen { landed, .. }) if record => *landed = Some(at),
            Some(Moment::FirstHeld) if record && held => {
                self.hosts[client].moment = None;
                self.cut(client, Direction::Both);
            }
            Some(Moment::Want { lasts }) => {
                let lasts = *lasts;
                if self.wants_at(place) {
                    self.hosts[client].moment = None;
                    self.hosts[client].agent.pause_at = Some((0, lasts));
                }
            }
            _ => {}
        }
    }

    /// True when the second copy of a sector that begins here says that a lease is wanted.
    fn wants_at(&self, place: u64) -> bool {
        let Some((page, slot, RecordCopy::B)) = self.file.sector_at(place) else { return false };
        let page = self.file.lease_page(page, slot, RecordCopy::B);
        page.is_some_and(|page| page.entries().any(|entry| entry.want_term.0 > 0))
    }

    /// A read is served.
    pub(super) fn moment_of_read(&mut self, client: usize, offset: u64, len: usize) {
        let at = self.at;
        let covers = self.file.layout.host_records().start < offset + len as u64
            && offset < self.file.layout.host_records().end;
        for host in (0..self.hosts.len()).filter(|host| *host != client && covers) {
            if let Some(Moment::Seen { issued, landed: Some(_), seen, within }) = self.moment(host) {
                *seen |= at - *issued < *within;
            }
        }
    }

    /// The agent's half is written anew.
    pub(super) fn moment_of_page(&mut self, host: usize, half: &AgentHalf) {
        let Some(moment) = self.hosts[host].moment else { return };
        let Some(before) = &self.hosts[host].page else { return };
        if let Moment::LettingGo { lasts } = moment {
            if half.wish == Wish::Disarm && before.wish != Wish::Disarm {
                self.hosts[host].moment = None;
                self.hosts[host].agent.pause_at = Some((0, lasts));
            }
            return;
        }
        if half.lease_end.0.boot_ns <= before.lease_end.0.boot_ns || half.incarnation != before.incarnation {
            return;
        }
        let left = half.lease_end.left(self.hosts[host].clock.now(self.at).instant);
        match moment {
            Moment::Damage { renewed_at: Some(offset) } => self.damage_record(offset),
            Moment::OldRecord { kept: Some((kept, _)), covered: true, ahead } if nanos(left) >= ahead => {
                self.late_write_lands(kept);
            }
            Moment::Seen { seen: true, .. } => {}
            _ => return,
        }
        self.hosts.iter_mut().for_each(|host| host.moment = None);
        self.tell_host(host, "moment", || format!("{moment:?}: it stops"));
        self.hosts[host].agent.pause_at = Some((0, 3600 * S));
        self.hosts[host].fencer.freezes_at_last_pet = true;
        self.beat_soon(host);
    }

    fn damage_record(&mut self, offset: u64) {
        let mut bytes = self.file.read(offset, 512);
        bytes[200] ^= 1;
        let medium = self.clients.len();
        self.land(medium, offset, &bytes);
    }

    /// Another machine's record, of a generation above, comes to lie in a copy of the host's.
    pub(super) fn foreign_record(&mut self, host: usize) {
        let layout = self.file.layout;
        let Some(life) = self.hosts[host].life() else { return };
        let records = RecordCopy::BOTH.into_iter().filter_map(|copy| self.file.record(life.slot, copy));
        let Some(newest) = records.max_by_key(|record| record.sequence) else { return };
        let mut foreign =
            HostRecord { host_key: HostKey([0x77; 16]), sequence: newest.sequence.next(), ..newest };
        foreign.incarnation.generation = foreign.incarnation.generation.next();
        let place = layout.host_record(life.slot, RecordCopy::of_sequence(foreign.sequence));
        let medium = self.clients.len();
        self.land(medium, place.offset, &foreign.encode(&place));
    }

    /// Both copies of a sector are lost.
    pub(super) fn damage_both(&mut self, host: usize, sector: Sector) {
        let layout = self.file.layout;
        let Some(slot) = self.hosts[host].lives.last().map(|life| life.slot) else { return };
        let medium = self.clients.len();
        for copy in RecordCopy::BOTH {
            let place = match sector {
                Sector::Record => layout.host_record(slot, copy),
                _ => layout.lease_page(0, slot, copy),
            };
            let mut bytes = self.file.read(place.offset, place.len);
            bytes[100] ^= 1;
            self.land(medium, place.offset, &bytes);
        }
        self.damaged_at.get_or_insert(self.at);
    }

    /// An agent gone mad asks for a further generation, with an end of its own, though the one before is not proven over.
    pub(super) fn agent_goes_on(&mut self, host: usize) {
        let now = self.hosts[host].clock.now(self.at).instant;
        let ttl = self.hosts[host].terms.lease_ttl;
        let half = &self.hosts[host].fencer.half;
        let latched = half.latched.is_some() && half.clean.is_none();
        if let Some(page) = self.hosts[host].page.as_mut().filter(|_| latched) {
            page.incarnation.generation = page.incarnation.generation.next();
            page.arm_count += 1;
            page.wish = Wish::Armed;
            page.lease_end = leasefence_core::time::HolderDeadline(now.plus(ttl));
            page.tokens.clear();
            self.page_changed(host);
            self.beat_soon(host);
        }
    }
}
