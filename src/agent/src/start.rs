//! Start barriers, starts and ends of domains, each on a thread of its own: shared storage and libvirt may take their time.
//! The member's deadlines count, whatever these threads wait for; what a start does next the core says (`Starting`).

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use leasefence_core::ids::{DomainId, Term};
use leasefence_core::member::{Barriers, StartActivity, StartFailure, StartOutcome, StartStep, Starting};
use leasefence_core::time::Instant;
use leasefence_hook::take_later;
use leasefence_hypervisor::{
    Activity, Definition, Hypervisor, HypervisorError, StartError, StoredDefinition, barrier,
};

use crate::definitions::DefinitionStore;
use crate::event::{Event, Events, send};
use crate::shared_gate::SharedGate;

/// What a start needs.
#[derive(Clone)]
pub(crate) struct Starter {
    /// Libvirt.
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    /// Definitions.
    pub(crate) store: DefinitionStore,
    /// This host's name: it names the barrier's files.
    pub(crate) host: String,
    /// Until when anything may be started.
    pub(crate) gate: SharedGate,
    /// Those under way.
    pub(crate) barriers: Arc<Mutex<Barriers>>,
    /// What libvirt gave its hook of domains that wait to be permitted: their disks, for a barrier.
    pub(crate) given: Arc<Mutex<HashMap<DomainId, Definition>>>,
    /// True while the disks' file systems are not mounted again after a fence.
    pub(crate) disks_are_away: Arc<AtomicBool>,
    /// The main loop.
    pub(crate) events: Events,
}

impl Starter {
    /// Writes the barrier, now or after one that still waits for its storage, and answers with [`Event::Barrier`].
    pub(crate) fn barrier(&self, domain: DomainId, asked: Instant, chain_hash: u64) {
        if !lock(&self.barriers).asked(domain, asked, chain_hash) {
            return;
        }
        let this = self.clone();
        if let Err(error) = spawn("barrier", move || this.write_barriers(domain, asked, chain_hash)) {
            lock(&self.barriers).given_up(domain);
            send(&self.events, Event::Barrier(domain, asked, Err(format!("starting a thread: {error}"))));
        }
    }

    /// Starts the domain and answers with [`Event::StartEnded`].
    pub(crate) fn start(&self, domain: DomainId, term: Term, chain_hash: u64) {
        let this = self.clone();
        let begun = spawn("start", move || {
            send(&this.events, Event::StartEnded(domain, term, this.start_now(domain, chain_hash)));
        });
        if let Err(error) = begun {
            let failure = StartFailure::Failed(format!("starting a thread: {error}"));
            send(&self.events, Event::StartEnded(domain, term, Err(failure)));
        }
    }

    /// Ends the domain through libvirt, where the fencer's list shows no process of it: slow, and the second line only.
    pub(crate) fn destroy(&self, domain: DomainId) {
        let this = self.clone();
        let begun = spawn("destroy", move || {
            if let Err(error) = this.hypervisor.destroy(domain) {
                send(&this.events, Event::Trouble("destroy", format!("destroying {domain}: {error}")));
            }
        });
        if let Err(error) = begun {
            send(
                &self.events,
                Event::Trouble("destroy", format!("destroying {domain}: starting a thread: {error}")),
            );
        }
    }

    /// Asks libvirt, which may take its time, whether a start is over, and answers with [`Event::Activity`].
    pub(crate) fn ask_activity(&self, domain: DomainId, opened: Instant) {
        let this = self.clone();
        // Without a thread it is asked again later.
        drop(spawn("activity", move || {
            send(&this.events, Event::Activity(domain, opened, this.activity(domain)));
        }));
    }

    /// Starts what starts by itself and was denied while this host did not hold its lease: through libvirt and its hook, one
    /// after the other.
    pub(crate) fn start_denied(&self, run_dir: PathBuf) {
        let this = self.clone();
        let work = move || {
            let denied = match take_later(&run_dir) {
                Ok(denied) => denied,
                Err(error) => {
                    let text = format!("which starts were denied at boot cannot be read: {error}");
                    return send(&this.events, Event::Trouble("autostart", text));
                }
            };
            for domain in denied.iter().filter_map(|uuid| uuid.parse().ok()) {
                match this.hypervisor.autostart(domain) {
                    Ok(true) => tracing::info!("{domain} starts by itself, and was started again"),
                    Ok(false) => {}
                    Err(error) => send(&this.events, Event::Trouble("autostart", error.to_string())),
                }
            }
        };
        drop(spawn("autostart", work));
    }

    fn write_barriers(&self, domain: DomainId, mut asked: Instant, mut chain_hash: u64) {
        loop {
            let result = self.write_barrier(domain, chain_hash);
            let again = lock(&self.barriers).ended(domain);
            match again {
                Some(again) => (asked, chain_hash) = again,
                None => return send(&self.events, Event::Barrier(domain, asked, result)),
            }
        }
    }

    fn write_barrier(&self, domain: DomainId, chain_hash: u64) -> Result<Duration, String> {
        if self.disks_are_away.load(Ordering::Acquire) {
            return Err("the disks' file systems are not mounted again yet after the fence".to_owned());
        }
        let given = lock(&self.given).get(&domain).filter(|given| given.chain_hash == chain_hash).cloned();
        let definition = match given {
            Some(given) => given,
            None => self.store.load(domain, chain_hash)?.definition,
        };
        let disks = definition.disks().map_err(|error| error.to_string())?;
        barrier(&disks, &self.host).map_err(|error| error.to_string())
    }

    fn start_now(&self, domain: DomainId, chain_hash: u64) -> Result<(), StartFailure> {
        let (mut start, mut step) = Starting::begin(chain_hash);
        let mut definition = None;
        loop {
            step = match step {
                StartStep::LoadDefinition => {
                    let loaded = self.store.load(domain, chain_hash);
                    let loaded = loaded.map(|stored| definition.insert(stored).definition.chain_hash);
                    start.loaded(leasefence_clock::instant(), self.gate.get(), loaded)
                }
                StartStep::AskLibvirt => start.asked(self.ask_libvirt(domain, definition.as_ref())),
                // The process is about to end: nobody waits for the answer.
                StartStep::AskActivity { after } if !after.is_zero() && self.events.is_closed() => {
                    start.activity(StartActivity::OffNoJob)
                }
                StartStep::AskActivity { after } => {
                    thread::sleep(after);
                    start.activity(self.activity(domain))
                }
                StartStep::Ended(result) => return result,
            };
        }
    }

    fn ask_libvirt(&self, domain: DomainId, stored: Option<&StoredDefinition>) -> StartOutcome {
        let xml = stored.map(|stored| stored.definition.xml.as_str()).unwrap_or_default();
        match self.hypervisor.start(domain, xml) {
            Ok(()) => StartOutcome::Running,
            Err(StartError::Failed(failure)) => StartOutcome::Failed(failure),
            Err(StartError::Unknown(why)) => StartOutcome::Unknown(why),
        }
    }

    fn activity(&self, domain: DomainId) -> StartActivity {
        match self.hypervisor.activity(domain) {
            Ok(Activity::Running { .. }) => StartActivity::Running,
            Ok(Activity::OffNoJob { .. }) | Err(HypervisorError::NoSuchDomain(_)) => StartActivity::OffNoJob,
            Ok(Activity::Off { .. }) | Err(_) => StartActivity::Unsettled,
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests;
