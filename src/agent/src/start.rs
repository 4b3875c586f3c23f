//! Start barriers, starts and ends of domains, each on a thread of its own: shared storage and libvirt may take their time.
//! The member's deadlines count, whatever these threads wait for.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use leasefence_core::ids::{DomainId, Term};
use leasefence_core::member::StartFailure;
use leasefence_hypervisor::{Activity, Hypervisor, HypervisorError, StartError, barrier};

use crate::definitions::DefinitionStore;
use crate::event::{Event, Events, send};
use crate::lease_end::LeaseEnd;

/// Between two questions whether a start of unknown outcome came to something.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The barriers under way; of a domain whose barrier was asked for again meanwhile, the chain it is to be of.
type Barriers = HashMap<DomainId, Option<u64>>;

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
    pub(crate) lease: LeaseEnd,
    /// At most one a domain: storage that hangs must not collect threads.
    pub(crate) barriers: Arc<Mutex<Barriers>>,
    /// The main loop.
    pub(crate) events: Events,
}

impl Starter {
    /// Writes the barrier and answers with [`Event::Barrier`]. While an earlier one of the domain still waits for its storage
    /// this one waits for that, and the earlier one is no answer: it was issued too early.
    pub(crate) fn barrier(&self, domain: DomainId, chain_hash: u64) {
        {
            let mut under_way = lock(&self.barriers);
            if let Some(again) = under_way.get_mut(&domain) {
                *again = Some(chain_hash);
                return;
            }
            under_way.insert(domain, None);
        }
        let this = self.clone();
        if let Err(error) = spawn("barrier", move || this.write_barriers(domain, chain_hash)) {
            lock(&self.barriers).remove(&domain);
            send(&self.events, Event::Barrier(domain, Err(format!("starting a thread: {error}"))));
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

    fn write_barriers(&self, domain: DomainId, mut chain_hash: u64) {
        loop {
            let result = self.write_barrier(domain, chain_hash);
            let mut under_way = lock(&self.barriers);
            match under_way.get_mut(&domain).and_then(Option::take) {
                Some(again) => chain_hash = again,
                None => {
                    under_way.remove(&domain);
                    drop(under_way);
                    send(&self.events, Event::Barrier(domain, result));
                    return;
                }
            }
        }
    }

    fn write_barrier(&self, domain: DomainId, chain_hash: u64) -> Result<Duration, String> {
        let stored = self.store.load(domain, chain_hash)?;
        let disks = stored.definition.disks().map_err(|error| error.to_string())?;
        barrier(&disks, &self.host).map_err(|error| error.to_string())
    }

    fn start_now(&self, domain: DomainId, chain_hash: u64) -> Result<(), StartFailure> {
        let stored = self.store.load(domain, chain_hash).map_err(StartFailure::Definition)?;
        // The storage may have hung for longer than the lease lasted.
        if self.lease.is_over(leasefence_clock::instant()) {
            return Err(StartFailure::Failed("the lease ended before the start".to_owned()));
        }
        match self.hypervisor.start(domain, &stored.definition.xml) {
            Ok(()) => Ok(()),
            Err(StartError::Failed(failure)) => Err(failure),
            Err(StartError::Unknown(why)) => self.settle(domain, &why),
        }
    }

    /// A start of unknown outcome is no failure: it may still come up. So libvirt is asked until it says.
    fn settle(&self, domain: DomainId, why: &str) -> Result<(), StartFailure> {
        loop {
            match self.hypervisor.activity(domain) {
                Ok(Activity::Running { .. }) => return Ok(()),
                Ok(Activity::OffNoJob { .. }) | Err(HypervisorError::NoSuchDomain(_)) => {
                    return Err(StartFailure::Failed(why.to_owned()));
                }
                Ok(Activity::Off { .. }) | Err(_) if self.events.is_closed() => {
                    return Err(StartFailure::Failed(why.to_owned()));
                }
                Ok(Activity::Off { .. }) | Err(_) => thread::sleep(ASK_AGAIN),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests;
