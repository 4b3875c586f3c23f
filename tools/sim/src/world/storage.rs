//! Requests to the lease storage on their way: there, held, applied, and back; cut, late, lost, torn, or done twice.

use leasefence_core::storage::{IoError, IoOp, IoRequest};

use super::World;
use super::event::Event;
use super::lease_file::LateWrite;
use super::path::{Flight, Stage};
use crate::invariants::Happened;
use crate::plan::Sector;
use crate::time::{MS, S};

/// A write that waits in its client lands at most so long after its way is whole again.
const LATEST: u64 = 12 * S;
/// What can be torn: more than a sector of the disk.
const SECTOR: usize = 512;

impl World {
    /// A client issues a request.
    pub(crate) fn submit(&mut self, client: usize, request: IoRequest) {
        let issued = self.clock_of(client);
        self.moment_of_submit(client, &request.op);
        let to_lease_page = matches!(&request.op, IoOp::Write { offset, .. }
            if self.file.layout.lease_pages().contains(offset));
        let way = self.way(client);
        let this = &mut self.clients[client];
        this.issued += 1;
        let number = this.issued;
        assert!(this.flight.is_none(), "one operation is outstanding at a time");
        this.flight = Some(Flight { number, request, issued, stage: Stage::Going });
        self.queue.at(self.at + way, Event::Io { client, number });
        if let Some(after) = self.clients[client].path.times_out {
            self.queue.at(self.at + after, Event::TimeOut { client, number });
        }
        if to_lease_page {
            self.happened(&Happened::Issued { client });
        }
    }

    fn way(&mut self, client: usize) -> u64 {
        let path = &self.clients[client].path;
        let most = path.latency + path.slow;
        1_000 + self.below(most)
    }

    /// A request goes one stage on.
    pub(crate) fn io_moves(&mut self, client: usize, number: u32) {
        let Some(flight) = self.clients[client].flight.take_if(|flight| flight.number == number) else {
            return;
        };
        match flight.stage {
            Stage::Going if self.clients[client].path.requests_cut > 0 => {
                self.clients[client].flight = Some(flight);
            }
            Stage::Going => self.arrives(client, flight),
            Stage::Held => {
                if let IoOp::Write { offset, data } = &flight.request.op {
                    self.land(client, *offset, data);
                }
                self.answer(client, flight, Ok(Vec::new()), 0);
            }
            Stage::Answering(_) if self.clients[client].path.answers_cut > 0 => {
                self.clients[client].flight = Some(flight);
            }
            Stage::Answering(result) => {
                self.comes_back(client, flight.request, flight.issued, result);
            }
        }
    }

    fn arrives(&mut self, client: usize, flight: Flight) {
        match flight.request.op.clone() {
            IoOp::Write { offset, data } => self.write_arrives(client, flight, offset, data),
            IoOp::Read { offset, len } => self.read_arrives(client, flight, offset, len),
        }
    }

    /// How long a write to this place is on its way, and whether its call returns an error at once.
    fn slow_write(&mut self, client: usize, offset: u64) -> Option<(u64, bool)> {
        let layout = &self.file.layout;
        let area = |sector| match sector {
            Sector::Record => layout.host_records(),
            Sector::LeasePage => layout.lease_pages(),
            Sector::Claim => layout.claims(),
            Sector::Header => 0..0,
        };
        let slow = &mut self.clients[client].path.slow_writes;
        let at = slow.iter().position(|(sector, ..)| area(*sector).contains(&offset))?;
        let (_, takes, fails) = slow.remove(at);
        Some((takes, fails))
    }

    /// Whoever issued it has its answer; what it wrote lands so much later.
    pub(super) fn lands_later(&mut self, write: LateWrite, after: u64) {
        let write = self.file.keep(write);
        self.queue.at(self.at + after, Event::Land { write });
    }

    fn write_arrives(&mut self, client: usize, mut flight: Flight, offset: u64, data: Vec<u8>) {
        let failed = || Err(IoError::Failed("input/output error".to_owned()));
        match self.slow_write(client, offset) {
            Some((takes, true)) => {
                self.lands_later(LateWrite { client, offset, data, parked: false }, takes);
                return self.answer(client, flight, failed(), 0);
            }
            Some((takes, false)) => {
                let number = flight.number;
                self.clients[client].flight = Some(flight);
                // Nothing else is asked for meanwhile.
                let until = self.at + takes;
                if let Some(host) = self.hosts.get_mut(client) {
                    host.hinder(until);
                }
                self.queue.at(until, Event::Io { client, number });
                return;
            }
            None => {}
        }
        if self.keeps_back(client, offset, &data) {
            return self.answer(client, flight, failed(), 0);
        }
        if self.goes_astray(client, offset, &data) {
            return self.answer(client, flight, Ok(Vec::new()), 0);
        }
        let path = &mut self.clients[client].path;
        if path.lands_late.0 > 0 {
            path.lands_late.0 -= 1;
            let after = path.lands_late.1;
            self.lands_later(LateWrite { client, offset, data, parked: false }, after);
            return self.answer(client, flight, failed(), 0);
        }
        if let Some(after) = path.twice.take() {
            self.lands_later(LateWrite { client, offset, data: data.clone(), parked: false }, after);
        }
        let path = &mut self.clients[client].path;
        if path.ack_lost > 0 {
            path.ack_lost -= 1;
            self.land(client, offset, &data);
            return self.answer(client, flight, failed(), 0);
        }
        if data.len() > SECTOR
            && let Some(lasts) = path.torn.take()
        {
            let (first, rest) = data.split_at(data.len() / 2);
            // Its agent has one request on its way at a time.
            let until = self.at + lasts;
            self.hosts.get_mut(client).into_iter().for_each(|host| host.hinder(until));
            self.land(client, offset, first);
            let at = offset + u64::try_from(first.len()).unwrap_or_default();
            let rest = LateWrite { client, offset: at, data: rest.to_vec(), parked: false };
            self.lands_later(rest, lasts);
            return self.answer(client, flight, Ok(Vec::new()), lasts + MS);
        }
        let hold = self.below(self.plan.cluster.hold);
        let number = flight.number;
        flight.stage = Stage::Held;
        self.clients[client].flight = Some(flight);
        self.queue.at(self.at + hold, Event::Io { client, number });
    }

    /// True for a write that does not reach what the others read, and is acknowledged all the same.
    fn goes_astray(&mut self, client: usize, offset: u64, data: &[u8]) -> bool {
        let record = self.file.layout.host_records().contains(&offset);
        let path = &mut self.clients[client].path;
        if let Some(picture) = &mut path.picture {
            let start = usize::try_from(offset).unwrap_or_default();
            picture[start..start + data.len()].copy_from_slice(data);
            return true;
        }
        path.made_anew > 0 || (path.renewals_lost > 0 && record)
    }

    fn read_arrives(&mut self, client: usize, flight: Flight, offset: u64, len: usize) {
        self.moment_of_read(client, offset, len);
        let path = &mut self.clients[client].path;
        if path.replaced + path.made_anew > 0 {
            let result = Err(IoError::Replaced("another inode".to_owned()));
            return self.answer(client, flight, result, 0);
        }
        if path.reads_fail > 0 {
            path.reads_fail -= 1;
            return self.answer(client, flight, Err(IoError::Failed("input/output error".to_owned())), 0);
        }
        let mut late = 0;
        if path.reads_late.0 > 0 {
            path.reads_late.0 -= 1;
            late = path.reads_late.1;
        }
        let bytes = match path.stale {
            _ if path.picture.is_some() => path.pictured(offset, len),
            Some(age) => self.file.read_as_of(self.at.saturating_sub(age), offset, len),
            None => self.file.read(offset, len),
        };
        self.note_look(client, offset, &bytes);
        let records = self.file.layout.host_records();
        if offset <= records.start && records.end <= offset + u64::try_from(len).unwrap_or_default() {
            self.clients[client].records_read = self.at;
        }
        self.answer(client, flight, Ok(bytes), late);
    }

    fn answer(&mut self, client: usize, mut flight: Flight, result: Result<Vec<u8>, IoError>, late: u64) {
        let number = flight.number;
        flight.stage = Stage::Answering(result);
        let way = self.way(client);
        self.clients[client].flight = Some(flight);
        self.queue.at(self.at + way + late, Event::Io { client, number });
    }

    fn comes_back(
        &mut self,
        client: usize,
        request: IoRequest,
        issued: leasefence_core::time::Now,
        result: Result<Vec<u8>, IoError>,
    ) {
        self.clients[client].back = Some((request, issued, result));
        if client < self.hosts.len() {
            self.want_agent(client, self.at);
        } else {
            self.observer_takes();
        }
    }

    /// The call of a soft mount returns an error; a write goes on without its caller.
    pub(crate) fn io_times_out(&mut self, client: usize, number: u32) {
        let Some(flight) = self.clients[client].flight.take_if(|flight| flight.number == number) else {
            return;
        };
        let (request, issued) = (flight.request.clone(), flight.issued);
        self.goes_on_alone(client, flight);
        let result = Err(IoError::Failed("the mount has timed out".to_owned()));
        self.comes_back(client, request, issued, result);
    }

    fn goes_on_alone(&mut self, client: usize, flight: Flight) {
        let IoOp::Write { offset, data } = flight.request.op else { return };
        let parked = match flight.stage {
            Stage::Going => true,
            Stage::Held => false,
            Stage::Answering(_) => return,
        };
        let write = self.file.keep(LateWrite { client, offset, data, parked });
        if !parked || self.clients[client].path.requests_cut == 0 {
            let after = self.below(if parked { LATEST } else { self.plan.cluster.hold });
            self.queue.at(self.at + after, Event::Land { write });
        }
    }

    /// The process that issued what is in flight is gone.
    pub(crate) fn abandon_flight(&mut self, client: usize) {
        self.clients[client].back = None;
        if let Some(flight) = self.clients[client].flight.take() {
            self.goes_on_alone(client, flight);
        }
    }

    /// The machine that issued what is in flight is off: what it had not sent is gone, what the storage has received it
    /// applies within its hold.
    pub(crate) fn lose_flight(&mut self, client: usize) {
        self.abandon_flight(client);
        let mine: Vec<u32> = self
            .file
            .late
            .iter()
            .filter(|(_, write)| write.client == client)
            .map(|(number, _)| *number)
            .collect();
        for number in mine {
            let received = self.rng.u8(..3) == 0;
            let Some(mut write) = self.file.late.remove(&number) else { continue };
            if received {
                write.parked = false;
                let within = self.below(self.plan.cluster.hold);
                let number = self.file.keep(write);
                self.queue.at(self.at + within, Event::Land { write: number });
            }
        }
    }

    pub(crate) fn late_write_lands(&mut self, number: u32) {
        let Some(write) = self.file.late.remove(&number) else { return };
        if write.parked && self.clients[write.client].path.requests_cut > 0 {
            self.file.late.insert(number, write);
            return;
        }
        self.story.tell(self.at, super::Lane::Storage, "late", || {
            format!("a write of client {} at offset {} lands late", write.client, write.offset)
        });
        if self.file.layout.lease_pages().contains(&write.offset)
            && let Some(host) = self.hosts.get_mut(write.client)
        {
            host.late_page_at = Some(self.at);
        }
        self.land(write.client, write.offset, &write.data);
    }

    /// The way is whole again: what waited goes on.
    pub(crate) fn path_heals(&mut self, client: usize) {
        if let Some(flight) = &self.clients[client].flight {
            let number = flight.number;
            let way = self.way(client);
            self.queue.at(self.at + way, Event::Io { client, number });
        }
        let waiting = self.file.late.iter().filter(|(_, write)| write.client == client && write.parked);
        let waiting: Vec<u32> = waiting.map(|(number, _)| *number).collect();
        for write in waiting {
            let after = self.below(LATEST);
            self.queue.at(self.at + after, Event::Land { write });
        }
    }

    /// Bytes reach the medium.
    pub(crate) fn land(&mut self, client: usize, offset: u64, data: &[u8]) {
        self.file.write(self.at, offset, data);
        if client < self.hosts.len() {
            self.recorded.extend(self.file.recorded_at(offset, data.len()));
        }
        self.note_protected(offset);
        self.moment_of_landing(client, offset);
        self.happened(&Happened::Landed { client, offset, len: data.len() });
        for domain in self.left_without_entry(offset) {
            self.happened(&Happened::Forgotten { domain });
        }
    }
}
