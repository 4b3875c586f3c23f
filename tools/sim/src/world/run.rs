//! A run of a domain: from its process's first moment to the last one at which a write of it may land. A guest that runs
//! may write at every instant, so the world keeps intervals and not single writes: what could happen counts.

use leasefence_core::ids::{Incarnation, Term};

/// What a run has left on one storage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writes {
    /// After this no write of it lands there; none: that is not known yet.
    pub landed: Option<u64>,
    /// The same where the storage keeps to its `write_drain`, as is assumed.
    pub landed_as_assumed: u64,
    /// What it had left for it in its host's kernel was dropped by force, with the connection.
    pub forced: bool,
}

/// What the CPUs of a process do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cpus {
    /// They have never run: it waits for a migration, or libvirt still sets it up. It has written nothing.
    Wait,
    /// They run.
    Run,
    /// Libvirt has stopped them in order to migrate it away: all that it wrote has landed.
    HandedOver,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which domain.
    pub domain: usize,
    /// Where.
    pub host: usize,
    /// In which boot of the host.
    pub boot: u32,
    /// Under which incarnation; none while the host has none.
    pub incarnation: Option<Incarnation>,
    /// Under which term Leasefence started it; none: a user did, or it has come in.
    pub term: Option<Term>,
    /// Its disk chain.
    pub chain: u64,
    /// When its process appeared.
    pub began: u64,
    /// When it was killed.
    pub killed: Option<u64>,
    /// When its process was gone.
    pub exited: Option<u64>,
    /// After this no write of it lands anywhere; none: that is not known yet.
    pub quiet: Option<u64>,
    /// The same where every storage keeps to its `write_drain`, as is assumed.
    pub quiet_as_assumed: Option<u64>,
    /// Libvirt has told that it ended, or is about to: it closes its books on a process that the kernel still keeps.
    pub told: bool,
    /// What it has left on each of its domain's storages.
    pub writes: [Writes; 2],
    /// A user or the guest ended it, or it crashed; none: it was killed.
    pub ended_by: Option<Ended>,
    /// It was killed while it was ending by itself.
    pub cut_short: bool,
    /// Its command line says that it waits for a migration (`-incoming`).
    pub comes_in: bool,
    /// What its CPUs do.
    pub cpus: Cpus,
    /// When they ran first; none: never.
    pub ran_at: Option<u64>,
    /// When libvirt stopped them last in order to migrate it away.
    pub handed_over: Option<u64>,
    /// Its agent has stopped its process (SIGSTOP), and which process of it did.
    pub halted: Option<u32>,
    /// Since when libvirt has let it go on after it had handed it over, and its agent has not let it go on since.
    pub resumed: Option<u64>,
    /// It has come in and run, and ended before its host's own entry of it had landed.
    pub lost: bool,
}

/// Why a run ended by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ended {
    /// A user's stop.
    Stopped,
    /// A crash.
    Crashed,
    /// Libvirt, once it had moved.
    Migrated,
    /// A user, by ending its process.
    Destroyed,
}

impl Run {
    /// True while a write of it may still land, or it has a process that may be let write.
    #[must_use]
    pub fn may_write(&self, at: u64) -> bool {
        self.quiet.is_none_or(|quiet| quiet > at)
    }

    /// The same where every storage keeps to its `write_drain`.
    #[must_use]
    pub fn may_write_as_assumed(&self, at: u64) -> bool {
        self.quiet_as_assumed.is_none_or(|quiet| quiet > at)
    }

    /// True while a write of it may still land as things are: not of one that waits for a migration, or has been handed over.
    #[must_use]
    pub fn writes_now(&self, at: u64) -> bool {
        self.may_write(at) && self.cpus == Cpus::Run
    }

    /// True while its guest runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.killed.is_none() && self.cpus == Cpus::Run && self.halted.is_none()
    }
}
