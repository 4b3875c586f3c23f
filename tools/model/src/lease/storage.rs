//! What the storage does to the lease model's hosts, and what they do at once when an operation has ended.

use leasefence_core::format::{LeasePage, LeaseState, RecordCopy};
use leasefence_core::ids::{Incarnation, Slot};
use leasefence_core::lease::{Leases, for_next_generation};
use leasefence_core::storage::{IoOp, Step};

use super::host::{Asked, Host, Process, Waits};
use super::sectors::{Sector, newest, top_of};
use super::world::{Late, Wish, World};
use super::{DOMAIN, boot_of, layout};

impl World {
    pub(super) fn put(&mut self, slot: u16, copy: RecordCopy, sector: Sector) {
        let [a, b] = &mut self.disk[usize::from(slot)];
        *(if copy == RecordCopy::A { a } else { b }) = sector;
    }

    /// What a host was writing when it stopped waiting for it.
    pub(super) fn may_land_late(&mut self, slot: u16) {
        if let Waits::Write(copy, sector) = self.host(slot).waits {
            self.late.push(Late { slot, copy, sector });
        }
    }

    pub(super) fn lands(&mut self, slot: u16) {
        let Waits::Write(copy, sector) = self.host(slot).waits else { return };
        self.put(slot, copy, sector);
        self.write_ends(slot, copy, sector, true);
    }

    pub(super) fn fails(&mut self, slot: u16) {
        let Waits::Write(copy, sector) = self.host(slot).waits else { return };
        self.left.failures -= 1;
        self.may_land_late(slot);
        self.write_ends(slot, copy, sector, false);
    }

    fn write_ends(&mut self, slot: u16, copy: RecordCopy, sector: Sector, landed: bool) {
        let place = layout(self.count()).lease_page(0, Slot(slot), copy);
        self.on(slot, |host, gone, count| {
            host.unknown.ended(place.offset, landed);
            host.waits = Waits::Nothing;
            if let Some(page) = host.rejoining {
                // The same bytes again after a failed write.
                match (landed, copy) {
                    (true, RecordCopy::B) => {
                        host.rejoining = None;
                        host.joined(count, sector.page().unwrap_or_default());
                    }
                    (true, RecordCopy::A) => write(host, RecordCopy::B, page, count),
                    (false, _) => write(host, copy, page, count),
                }
                return;
            }
            let done = host.done(if landed { Ok(Vec::new()) } else { Err(()) });
            host.call(gone, count, |leases, context| leases.handle_io(context, &done));
        });
    }

    pub(super) fn reads(&mut self, slot: u16, other: u16) {
        let now = self.disk[usize::from(other)];
        let host = &mut self.hosts[usize::from(slot)];
        let Waits::Scan(seen) = &mut host.waits else { return };
        seen[usize::from(other)] = Some(now);
        let whole = (0_u16..).zip(seen.iter()).all(|(each, seen)| each == slot || seen.is_some());
        if !whole {
            return;
        }
        let seen: Vec<[Sector; 2]> =
            self.disk.iter().zip(seen.iter()).map(|(own, seen)| seen.unwrap_or(*own)).collect();
        let layout = layout(self.count());
        let copies = RecordCopy::BOTH.into_iter().flat_map(|copy| {
            let slots = (0_u16..).map(Slot).zip(&seen);
            slots.map(move |(slot, [a, b])| (slot, copy, if copy == RecordCopy::A { *a } else { *b }))
        });
        let bytes: Vec<_> = copies.map(|(slot, copy, sector)| sector.bytes(&layout, slot, copy)).collect();
        let bytes = bytes.concat();
        let others = (0_u16..).zip(&seen).filter(|(each, _)| *each != slot);
        let top = others.filter_map(|(_, copies)| top_of(newest(*copies))).map(|entry| entry.term).max();
        self.on(slot, |host, gone, count| {
            let own = host
                .leases()
                .and_then(|leases| leases.entry(DOMAIN))
                .filter(|entry| entry.state != LeaseState::Empty);
            host.seen_top = top.max(own.map(|entry| entry.term)).unwrap_or_default();
            host.waits = Waits::Nothing;
            let done = host.done(Ok(bytes));
            host.call(gone, count, |leases, context| leases.handle_io(context, &done));
        });
    }

    pub(super) fn rejoins(&mut self, slot: u16) {
        self.left.rejoins -= 1;
        self.late.retain(|late| late.slot != slot);
        let copies = self.disk[usize::from(slot)];
        self.on(slot, |host, _, count| {
            host.generation += 1;
            host.dead = false;
            let (me, boot_id) = (host.me(), boot_of(host.me()));
            let highest = copies.iter().filter_map(|copy| copy.version()).map(|(_, sequence)| sequence).max();
            let sequence = highest.unwrap_or_default().next();
            let blank = LeasePage::new(me, boot_id, sequence);
            let found = newest(copies).page();
            let next = for_next_generation(found.as_ref().unwrap_or(&blank), me, boot_id, sequence);
            let sector = Sector::of(next);
            host.rejoining = Some(sector);
            write(host, RecordCopy::A, sector, count);
        });
    }

    /// Everything that a host does at once: takes its events, and issues its next operation.
    pub(super) fn follow(&mut self, slot: u16, gone: &dyn Fn(Incarnation) -> bool) {
        let count = self.count();
        for _ in 0..16 {
            self.take_events(slot, gone);
            let host = &mut self.hosts[usize::from(slot)];
            if !host.is_idle() {
                return;
            }
            let polled = host.call(gone, count, Leases::poll);
            match polled {
                Some(Step::Io(IoOp::Write { offset, data })) => {
                    self.issued(slot, offset, &data);
                }
                Some(Step::Io(IoOp::Read { offset, len })) => {
                    self.reading(slot, offset, len, gone);
                }
                _ => return self.take_events(slot, gone),
            }
        }
    }

    fn take_events(&mut self, slot: u16, gone: &dyn Fn(Incarnation) -> bool) {
        let count = self.count();
        while let Some(Some(event)) =
            self.hosts[usize::from(slot)].call(gone, count, |leases, _| leases.poll_event())
        {
            self.event(slot, &event);
        }
    }

    fn issued(&mut self, slot: u16, offset: u64, data: &[u8]) {
        let layout = layout(self.count());
        let place = RecordCopy::BOTH.map(|copy| (copy, layout.lease_page(0, Slot(slot), copy)));
        let Some((copy, place)) = place.into_iter().find(|(_, place)| place.offset == offset) else {
            self.wrong = Some("a host wrote into another's sector");
            return;
        };
        let Ok(page) = LeasePage::decode(&place, data) else {
            self.wrong = Some("a host wrote a sector that nobody can read");
            return;
        };
        let host = &mut self.hosts[usize::from(slot)];
        let own = page.get(DOMAIN).is_some_and(|entry| entry.state == LeaseState::Own);
        if own && !host.owns() && host.asked == Asked::User && host.process == Process::None {
            // A user's start takes the lease: what was stopped may run again, and what was recovered is past.
            if self.wish != Wish::Runs {
                self.wish = Wish::Starting;
            }
            self.recovered.clear();
        }
        host.unknown.issue(offset, data.len(), host.now().instant);
        host.waits = Waits::Write(copy, Sector::of(page));
    }

    /// Own sectors and single ones are read at once: only the large read of a page is as slow as the adversary likes.
    fn reading(&mut self, slot: u16, offset: u64, len: usize, gone: &dyn Fn(Incarnation) -> bool) {
        let (layout, count) = (layout(self.count()), self.count());
        if len != layout.lease_page(0, Slot(0), RecordCopy::A).len {
            self.hosts[usize::from(slot)].waits = Waits::Scan(vec![None; self.hosts.len()]);
            return;
        }
        let copies = layout
            .slots()
            .zip(&self.disk)
            .flat_map(|(owner, [a, b])| [(owner, RecordCopy::A, *a), (owner, RecordCopy::B, *b)]);
        let found = copies
            .into_iter()
            .find(|(owner, copy, _)| layout.lease_page(0, *owner, *copy).offset == offset)
            .map(|(owner, copy, sector)| sector.bytes(&layout, owner, copy).to_vec());
        let host = &mut self.hosts[usize::from(slot)];
        let done = host.done(Ok(found.unwrap_or_default()));
        host.call(gone, count, |leases, context| leases.handle_io(context, &done));
    }
}

fn write(host: &mut Host, copy: RecordCopy, sector: Sector, count: u16) {
    let place = layout(count).lease_page(0, Slot(host.slot), copy);
    host.unknown.issue(place.offset, place.len, host.now().instant);
    host.waits = Waits::Write(copy, sector);
}
