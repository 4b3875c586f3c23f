//! Stores the definitions of this host's domains beside the lease file: by a thread of its own, since shared storage may
//! hang, and that must hold up neither libvirt's questions nor the main loop.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use leasefence_config::Config;
use leasefence_core::ids::DomainId;
use leasefence_hypervisor::{Definition, Definitions, Hypervisor, Loaded, StoredDefinition};

use crate::domains::Nudge;
use crate::event::{Event, Events, send};

/// What is stored of a domain: the chain's hash and the version.
type Stored = HashMap<DomainId, (u64, u32)>;

/// What is to be stored.
#[derive(Debug)]
enum Wanted {
    /// As libvirt says.
    Asked(DomainId),
    /// As libvirt gave it to its hook: without secrets, so that it does not count as stored. True where one that is stored already
    /// is the better: of a domain that comes in, by its source.
    Given(DomainId, Definition, bool),
}

/// The handle of the thread.
#[derive(Clone, Debug)]
pub(crate) struct DefinitionStore {
    queue: Sender<Wanted>,
    stored: Arc<Mutex<Stored>>,
    place: Place,
}

/// The directory, opened once it can be.
#[derive(Clone, Debug)]
struct Place {
    config: Arc<Config>,
    host: String,
    opened: Arc<Mutex<Option<Arc<Definitions>>>>,
}

impl DefinitionStore {
    /// Starts the thread. Where the directory is shows when it is first needed: asking may block behind dead storage.
    /// Without a directory nothing is stored, and nothing can be restarted elsewhere.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        config: Config,
        host: String,
        hypervisor: Arc<dyn Hypervisor>,
        nudge: Nudge,
        events: Events,
    ) -> io::Result<Self> {
        let (queue, wanted) = mpsc::channel();
        let stored = Arc::new(Mutex::new(Stored::new()));
        let place = Place { config: Arc::new(config), host, opened: Arc::default() };
        let worker = Worker { hypervisor, place: place.clone(), stored: Arc::clone(&stored), nudge, events };
        thread::Builder::new().name("definitions".to_owned()).spawn(move || worker.run(&wanted))?;
        Ok(Self { queue, stored, place })
    }

    /// Stores the domain's definition soon. A listing follows, which shows the version.
    pub(crate) fn store(&self, domain: DomainId) {
        // The worker ends with the process only.
        self.queue.send(Wanted::Asked(domain)).ok();
    }

    /// Stores what libvirt gave its hook of a domain that is about to run, if no other chain of it is stored, until a listing shows the domain and all of it is
    /// stored. The caller has the domain's lease. `keeps`: also one of this chain stays, as its source has stored it.
    pub(crate) fn store_given(&self, domain: DomainId, definition: Definition, keeps: bool) {
        self.queue.send(Wanted::Given(domain, definition, keeps)).ok();
    }

    /// The same, for a domain whose definition this host has stored before: only the owner of a domain's lease stores it.
    pub(crate) fn refresh(&self, domain: DomainId) {
        if lock(&self.stored).contains_key(&domain) {
            self.store(domain);
        }
    }

    /// The version that is stored of this disk chain; 0 when there is none.
    pub(crate) fn version(&self, domain: DomainId, chain_hash: u64) -> u32 {
        match lock(&self.stored).get(&domain) {
            Some((stored, version)) if *stored == chain_hash => *version,
            _ => 0,
        }
    }

    /// Reads the stored definition of this disk chain. May block for as long as the storage does.
    ///
    /// # Errors
    /// In words: there is none, it is damaged, it is of another chain, or the directory cannot be read.
    pub(crate) fn load(&self, domain: DomainId, chain_hash: u64) -> Result<StoredDefinition, String> {
        let found = self.place.open()?.load(domain, chain_hash).map_err(|error| error.to_string())?;
        match found {
            Loaded::Found(stored) => Ok(stored),
            Loaded::Missing => Err(format!("no definition of {domain} is stored")),
            Loaded::HashMismatch { found, version } => Err(format!(
                "the stored definition of {domain} (version {version}) is of disk chain {found:016x}, and {chain_hash:016x} ran last"
            )),
            Loaded::Damaged(what) => Err(format!("the stored definition of {domain} is damaged: {what}")),
        }
    }
}

impl Place {
    fn open(&self) -> Result<Arc<Definitions>, String> {
        let mut opened = lock(&self.opened);
        if let Some(definitions) = opened.as_ref() {
            return Ok(Arc::clone(definitions));
        }
        let lease = fs::metadata(&self.config.lease)
            .map_err(|error| format!("looking at the lease file: {error}"))?;
        let directory = self.config.definitions_dir(lease.file_type().is_block_device()).ok_or(
            "there is no directory for definitions: with a lease on a block device `definitions_dir` must name one on shared storage",
        )?;
        let definitions = Definitions::open(&directory, &self.host).map_err(|error| error.to_string())?;
        Ok(Arc::clone(opened.insert(Arc::new(definitions))))
    }
}

struct Worker {
    hypervisor: Arc<dyn Hypervisor>,
    place: Place,
    stored: Arc<Mutex<Stored>>,
    nudge: Nudge,
    events: Events,
}

impl Worker {
    fn run(&self, wanted: &Receiver<Wanted>) {
        while let Ok(first) = wanted.recv() {
            let mut batch = HashSet::new();
            for wanted in std::iter::once(first).chain(wanted.try_iter()) {
                match wanted {
                    Wanted::Asked(domain) => drop(batch.insert(domain)),
                    Wanted::Given(domain, definition, keeps) => {
                        self.tell(self.put_first(domain, &definition, keeps));
                    }
                }
            }
            for domain in batch {
                let stored = self.store(domain);
                if stored.is_ok() {
                    self.nudge.nudge();
                }
                self.tell(stored);
            }
        }
    }

    /// What stands there of another chain is replaced only once that one runs: a start that comes to nothing must leave what its
    /// lease entry says can be started.
    fn put_first(&self, domain: DomainId, definition: &Definition, keeps: bool) -> Result<(), String> {
        let found =
            self.place.open()?.load(domain, definition.chain_hash).map_err(|error| error.to_string())?;
        match found {
            Loaded::HashMismatch { .. } => Ok(()),
            Loaded::Found(_) if keeps => Ok(()),
            Loaded::Found(_) | Loaded::Missing | Loaded::Damaged(_) => self.put(domain, definition).map(drop),
        }
    }

    fn tell(&self, stored: Result<(), String>) {
        if let Err(why) = stored {
            send(&self.events, Event::Trouble("definition", why));
        }
    }

    fn put(&self, domain: DomainId, definition: &Definition) -> Result<u32, String> {
        self.place.open()?.store(domain, definition).map_err(|error| error.to_string())
    }

    fn store(&self, domain: DomainId) -> Result<(), String> {
        let definition = self.hypervisor.definition(domain).map_err(|error| error.to_string())?;
        let version = self.put(domain, &definition)?;
        lock(&self.stored).insert(domain, (definition.chain_hash, version));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
