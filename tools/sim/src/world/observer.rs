//! An observer without a slot: `leasefence verdict --lease` on some machine.

use leasefence_core::ids::{BootId, Incarnation};
use leasefence_core::storage::{IoDone, Step};
use leasefence_core::time::Now;
use leasefence_core::watch::{Observer, ObserverConfig, Watch};

use super::World;
use super::clock::Clock;
use super::event::Event;
use crate::invariants::Happened;
use crate::time::MS;

/// Its process.
#[derive(Debug)]
pub(crate) struct ObserverProcess {
    observer: Option<Observer>,
    clock: Clock,
    number: u32,
    seed: u64,
}

impl ObserverProcess {
    pub(crate) fn new(seed: u64) -> Self {
        let drift = if seed.is_multiple_of(2) { 500 } else { -500 };
        Self { observer: None, clock: Clock::new(0, 77_000_000_000, drift), number: 0, seed }
    }

    pub(crate) fn evidence(&self, incarnation: Incarnation) -> Option<&'static str> {
        let watch = self.observer.as_ref().and_then(Observer::watch)?;
        Watch::evidence(watch, incarnation).map(|(evidence, _)| evidence.as_str())
    }
}

impl World {
    pub(crate) fn clock_of(&self, client: usize) -> Now {
        match self.hosts.get(client) {
            Some(host) => host.clock.now(self.at),
            None => self.observer.as_ref().map(|observer| observer.clock.now(self.at)).unwrap_or_default(),
        }
    }

    pub(crate) fn observer_wakes(&mut self, number: u32) {
        let size = self.file.layout.total_size();
        let Some(this) = self.observer.as_mut().filter(|this| this.number == number) else { return };
        let seed = this.seed;
        this.observer.get_or_insert_with(|| {
            Observer::new(ObserverConfig {
                size,
                cluster_name: None,
                name: "observer".to_owned(),
                boot_id: BootId([0xaa; 16]),
                seed,
            })
        });
        self.observer_goes_on();
    }

    pub(crate) fn observer_takes(&mut self) {
        let client = self.hosts.len();
        let ended = self.clock_of(client);
        let Some((request, issued, result)) = self.clients[client].back.take() else { return };
        if let Some(observer) = self.observer.as_mut().and_then(|this| this.observer.as_mut()) {
            observer.handle_io(&IoDone { id: request.id, issued, ended, result });
        }
        self.happened(&Happened::Scanned { host: client });
        self.observer_goes_on();
    }

    fn observer_goes_on(&mut self) {
        let client = self.hosts.len();
        let now = self.clock_of(client);
        let Some(this) = &mut self.observer else { return };
        let Some(observer) = &mut this.observer else { return };
        if let Some(request) = observer.poll_request(&now) {
            self.submit(client, request);
            return;
        }
        if let Step::Wait(until) = observer.poll(&now) {
            let left = leasefence_core::time::ObserverDeadline(until).left(now.instant);
            this.number += 1;
            let number = this.number;
            self.queue.at(self.at + crate::time::nanos(left).max(MS), Event::Observer { number });
        }
    }
}
