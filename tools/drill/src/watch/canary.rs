//! Looks at the canary: its counter on the shared disk, and its process on this host.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use leasefence_api::Client;
use leasefence_core::ids::DomainId;

use super::{Eye, LOOK, Sight, Watch, agent, lease};
use crate::canary;
use crate::process::Process;

/// Keeps the drill's hands off the canary's disk: a file that is open keeps the fencer from unmounting what carries it.
#[derive(Clone, Debug, Default)]
pub struct Pause(Arc<AtomicBool>);

impl Pause {
    /// No look from now on, or looks again.
    pub fn set(&self, paused: bool) {
        self.0.store(paused, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What is looked at.
#[derive(Debug)]
pub struct Witness<'a> {
    /// The agent.
    pub client: &'a Client,
    /// The lease file.
    pub lease: &'a Path,
    /// The canary.
    pub domain: DomainId,
    /// Its disk.
    pub disk: &'a Path,
}

impl Witness<'_> {
    /// Starts to look at the lease file, the agent and the canary's disk.
    ///
    /// # Errors
    /// When the lease file cannot be read, or there are no threads to be had.
    pub fn start(&self, watch: &Watch) -> Result<Pause, String> {
        let pause = Pause::default();
        lease::start(self.lease, self.domain, watch.sender())?;
        agent::start(self.client, watch.sender()).map_err(|error| error.to_string())?;
        let (disk, eye, paused) = (self.disk.to_owned(), watch.sender(), pause.clone());
        spawn("canary", move || look_at_disk(&disk, &paused, &eye))?;
        Ok(pause)
    }

    /// Starts to look at the canary's process.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn follow(process: Process, watch: &Watch) -> Result<(), String> {
        let eye = watch.sender();
        spawn("process", move || {
            if process.wait_gone() {
                let _is_heard = eye.sees(Sight::Gone);
            }
        })
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(|error| error.to_string())
}

fn look_at_disk(disk: &Path, pause: &Pause, eye: &Eye) {
    let mut shown = None;
    loop {
        // What cannot be read just now is unmounted, or about to be made.
        if !pause.is_set()
            && let Ok(Some(beat)) = canary::read(disk)
            && shown != Some(beat)
        {
            shown = Some(beat);
            if !eye.sees(Sight::Beat(beat)) {
                return;
            }
        }
        if eye.is_blind() {
            return;
        }
        thread::sleep(LOOK);
    }
}
